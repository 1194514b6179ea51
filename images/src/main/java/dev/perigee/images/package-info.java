/**
 * {@code ./perigee images}: the container images, built to tar files without a container engine and
 * the same bit for bit each time.
 *
 * <p>{@link dev.perigee.images.ImagesCommand} is the program; {@link
 * dev.perigee.images.ImageContents} says what each image holds; {@link
 * dev.perigee.images.StagedImage} gathers it in a folder, with a {@link
 * dev.perigee.images.JavaRuntime}; {@link dev.perigee.images.BaseImage} is what lies under it;
 * {@link dev.perigee.images.ImageTar} lays one on the other with Jib.
 */
package dev.perigee.images;

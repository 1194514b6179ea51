package dev.perigee.cli.cluster.api;

import dev.perigee.cli.cluster.api.Admission.FieldValidation;
import java.util.ArrayList;
import java.util.List;

/**
 * How a write is to be done.
 *
 * @param manager who writes, for managedFields
 * @param dryRun whether to check only
 * @param validation what to do about unknown fields
 * @param warnings gets lines for the client to show
 */
public record Write(
    String manager, boolean dryRun, FieldValidation validation, List<String> warnings) {
  /** A write of what a person wrote, where an unknown field is an error. */
  public static Write strictly(String manager) {
    return new Write(manager, false, FieldValidation.Strict, new ArrayList<>());
  }

  /** The same write, checked but not done. */
  public Write dry() {
    return new Write(manager, true, validation, warnings);
  }

  /** A write by a part of the cluster itself. */
  public static Write by(String manager) {
    return new Write(manager, false, FieldValidation.Ignore, new ArrayList<>());
  }

  /** How a request wants to write. */
  static Write of(ApiRequest request) {
    String manager = request.param("fieldManager");
    String dryRun = request.param("dryRun");
    if (!dryRun.isEmpty() && !dryRun.equals("All")) {
      throw ApiError.badRequest("dryRun: " + dryRun + "; expected All");
    }
    FieldValidation validation =
        switch (request.param("fieldValidation")) {
          case "Strict" -> FieldValidation.Strict;
          case "Ignore" -> FieldValidation.Ignore;
          case "Warn", "" -> FieldValidation.Warn;
          default ->
              throw ApiError.badRequest(
                  "fieldValidation: "
                      + request.param("fieldValidation")
                      + "; expected Ignore, Warn or Strict");
        };
    return new Write(
        manager.isEmpty() ? request.userAgent() : manager,
        dryRun.equals("All"),
        validation,
        new ArrayList<>());
  }
}

package dev.perigee.engine;

import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideInAPackage;
import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideOutsideOfPackage;
import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideOutsideOfPackages;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;

import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchRule;

@AnalyzeClasses(
    packages = "dev.perigee.engine",
    importOptions = ImportOption.DoNotIncludeTests.class)
class ArchitectureTest {
  @ArchTest
  static final ArchRule onlyBlasAndTheGpuLayerCallNativeCode =
      noClasses()
          .that()
          .doNotHaveFullyQualifiedName("dev.perigee.engine.backend.Blas")
          .and()
          .resideOutsideOfPackages(
              "dev.perigee.engine.cuda",
              "dev.perigee.engine.cuda.driver",
              "dev.perigee.engine.cuda.nccl")
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage("java.lang.foreign..", "org.bytedeco..", "jcuda..");

  @ArchTest
  static final ArchRule theEngineKnowsOnlyTheContract =
      classes()
          .should()
          .onlyDependOnClassesThat()
          .resideInAnyPackage(
              "dev.perigee.engine..",
              "dev.perigee.plan..",
              "dev.perigee.run..",
              "java..",
              "com.sun.management", // a benchmark counts what a thread allocates
              "com.fasterxml.jackson..",
              "com.knuddels.jtokkit..",
              "org.bytedeco..",
              "jcuda..");

  @ArchTest
  static final ArchRule tensorsKnowNobody =
      noClasses()
          .that()
          .resideInAPackage("dev.perigee.engine.tensor..")
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(
              "dev.perigee.engine.backend..",
              "dev.perigee.engine.model..",
              "dev.perigee.engine.parallel..");

  @ArchTest
  static final ArchRule theGpusDriverLayerKnowsNobody =
      noClasses()
          .that()
          .resideInAPackage("dev.perigee.engine.cuda.driver")
          .should()
          .dependOnClassesThat(
              resideInAPackage("dev.perigee..")
                  .and(resideOutsideOfPackage("dev.perigee.engine.cuda.driver")));

  @ArchTest
  static final ArchRule theGpusKernelsKnowOnlyTheDriverLayer =
      noClasses()
          .that()
          .resideInAPackage("dev.perigee.engine.cuda.kernels")
          .should()
          .dependOnClassesThat(
              resideInAPackage("dev.perigee..")
                  .and(
                      resideOutsideOfPackages(
                          "dev.perigee.engine.cuda.driver", "dev.perigee.engine.cuda.kernels")));

  @ArchTest
  static final ArchRule theGpusBackendKnowsNobodyWhoMovesItsTensors =
      noClasses()
          .that()
          .resideOutsideOfPackages("dev.perigee.engine.cuda.nccl", "dev.perigee.engine.bench")
          .should()
          .dependOnClassesThat()
          .resideInAPackage("dev.perigee.engine.cuda.nccl");

  @ArchTest
  static final ArchRule backendsKnowNoModel =
      noClasses()
          .that()
          .resideInAPackage("dev.perigee.engine.backend..")
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage("dev.perigee.engine.model..", "dev.perigee.run..");
}

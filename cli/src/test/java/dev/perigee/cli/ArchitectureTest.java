package dev.perigee.cli;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;

import com.tngtech.archunit.core.importer.ImportOption.DoNotIncludeTests;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchRule;

/** Who may know whom; see the blueprint in docs/architecture.md. */
@AnalyzeClasses(packages = "dev.perigee", importOptions = DoNotIncludeTests.class)
class ArchitectureTest {
  private static final String CONTRACT = "dev.perigee.run..";
  private static final String PLAN = "dev.perigee.plan..";
  private static final String API = "dev.perigee.api..";
  private static final String ENGINE = "dev.perigee.engine..";
  private static final String OPERATOR = "dev.perigee.operator..";
  private static final String TRAINER = "dev.perigee.trainer..";
  private static final String CLI = "dev.perigee.cli..";

  @ArchTest
  static final ArchRule everyModuleIsLookedAt =
      classes()
          .that()
          .resideInAPackage("dev.perigee..")
          .should()
          .resideInAnyPackage(CONTRACT, PLAN, API, ENGINE, OPERATOR, TRAINER, CLI);

  @ArchTest
  static final ArchRule theContractKnowsNobody =
      noClasses()
          .that()
          .resideInAPackage(CONTRACT)
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(PLAN, API, ENGINE, OPERATOR, TRAINER, CLI);

  @ArchTest
  static final ArchRule plansKnowTheContractOnly =
      noClasses()
          .that()
          .resideInAPackage(PLAN)
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(API, ENGINE, OPERATOR, TRAINER, CLI, "io.fabric8..");

  @ArchTest
  static final ArchRule theResourcesKnowTheContractOnly =
      noClasses()
          .that()
          .resideInAPackage(API)
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(ENGINE, OPERATOR, TRAINER, CLI);

  @ArchTest
  static final ArchRule theEngineKnowsTheContractOnly =
      noClasses()
          .that()
          .resideInAPackage(ENGINE)
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(API, OPERATOR, TRAINER, CLI, "io.fabric8..");

  @ArchTest
  static final ArchRule theOperatorNeverKnowsTheEngine =
      noClasses()
          .that()
          .resideInAPackage(OPERATOR)
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(ENGINE, TRAINER, CLI);

  @ArchTest
  static final ArchRule theTrainerKnowsTheEngineAndTheContract =
      noClasses()
          .that()
          .resideInAPackage(TRAINER)
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(API, OPERATOR, CLI, "io.fabric8..");

  @ArchTest
  static final ArchRule theCommandStartsProgramsAsProcesses =
      noClasses()
          .that()
          .resideInAPackage(CLI)
          .should()
          .dependOnClassesThat()
          .resideInAPackage(TRAINER);

  @ArchTest
  static final ArchRule theClusterKnowsNeitherOperatorNorEngine =
      noClasses()
          .that()
          .resideInAPackage("dev.perigee.cli.cluster..")
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(ENGINE, OPERATOR);

  @ArchTest
  static final ArchRule onlyBlasAndTheGpuLayerCallNativeCode =
      noClasses()
          .that()
          .doNotHaveFullyQualifiedName("dev.perigee.engine.backend.Blas")
          .and()
          .resideOutsideOfPackage("dev.perigee.engine.cuda..")
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage("org.bytedeco..", "jcuda..")
          .orShould()
          .dependOnClassesThat()
          .haveFullyQualifiedName("java.lang.foreign.Linker");

  /** A JDK without java.desktop costs the pictures only: whoever names it fails to load there. */
  @ArchTest
  static final ArchRule onlyPlotsNeedTheDesktop =
      noClasses()
          .that()
          .doNotHaveFullyQualifiedName("dev.perigee.cli.HistoryPlots")
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage("java.awt..", "javax.imageio..", "javax.swing..", "org.knowm..");
}

// Builds the bridge, `jvm-bridge/target/spark-accel.jar`, against the jars of the installed PySpark (or of SPARK_HOME).

import scala.sys.process.Process

val grpcVersion = "1.85.1"
val protobufVersion = "4.31.1"

// The newest that Maven Central has as an executable; code that it makes runs with every later grpc-java.
val grpcGeneratorVersion = "1.74.0"

lazy val python = settingKey[String]("the Python that has PySpark")

// The one that PySpark itself finds: its own folder, or SPARK_HOME.
lazy val sparkHome = settingKey[File]("the installed Spark")

lazy val bridge = (project in file("."))
  .settings(
    name := "spark-accel",
    organization := "org.sparkaccel",
    version := {
      val module = IO.read(baseDirectory.value / "spark_accel" / "__init__.py")
      "(?m)^__version__ = \"(.+)\"".r.findFirstMatchIn(module).get.group(1)
    },
    scalaVersion := "2.13.18",
    scalacOptions ++= Seq(
      "-release",
      "17",
      "-deprecation",
      "-feature",
      "-unchecked",
      "-Xlint",
      "-Wconf:src=src_managed/.*:s"
    ),
    // Not for users: the next Spark may deprecate something.
    scalacOptions ++= (if (insideCI.value) Seq("-Werror") else Nil),
    javacOptions ++= Seq("--release", "17"),
    sourcesInBase := false,
    sourceDirectory := baseDirectory.value / "jvm-bridge" / "src",
    target := baseDirectory.value / "jvm-bridge" / "target",
    python := {
      val ours = baseDirectory.value / ".venv" / "bin" / "python"
      if (ours.exists) ours.getPath else "python3"
    },
    sparkHome := {
      val find = "from pyspark.find_spark_home import _find_spark_home as find; print(find())"
      file(Process(Seq(python.value, "-c", find)).!!.trim)
    },
    Compile / unmanagedJars ++= ((sparkHome.value / "jars") * "*.jar").classpath,
    autoScalaLibrary := false,
    libraryDependencies ++= Seq(
      "io.grpc" % "grpc-netty-shaded" % grpcVersion,
      "io.grpc" % "grpc-protobuf" % grpcVersion,
      "io.grpc" % "grpc-stub" % grpcVersion,
      "com.google.protobuf" % "protobuf-java" % protobufVersion,
      "org.scalatest" %% "scalatest" % "3.2.19" % Test
    ),
    // Annotations, no code; Spark has its own jsr305.
    excludeDependencies ++= Seq(
      "com.google.android" % "annotations",
      "com.google.code.findbugs" % "jsr305",
      "org.codehaus.mojo" % "animal-sniffer-annotations",
      "org.jspecify" % "jspecify"
    ),
    dependencyOverrides += "com.google.protobuf" % "protobuf-java" % protobufVersion
  )
  .settings(protocol)
  .settings(tests)
  .settings(jar)

// Java stubs of the calls that the bridge uses, from its own .proto and from the one that the Python package owns.
lazy val protocol = Seq(
  PB.protocVersion := protobufVersion,
  Compile / PB.protoSources += baseDirectory.value / "spark_accel" / "protocol",
  Compile / unmanagedResourceDirectories --= (Compile / PB.protoSources).value,
  Compile / PB.targets := Seq(
    PB.gens.java(protobufVersion) -> (Compile / sourceManaged).value / "java",
    PB.gens.plugin("grpc-java") -> (Compile / sourceManaged).value / "java"
  ),
  libraryDependencies += ("io.grpc" % "protoc-gen-grpc-java" % grpcGeneratorVersion).asProtocPlugin(),
  // The settings table has one home; the bridge reads it as a resource.
  Compile / resourceGenerators += Def.task {
    val copy = (Compile / resourceManaged).value / "org" / "sparkaccel" / "settings.json"
    IO.copyFile(
      baseDirectory.value / "spark_accel" / "settings.json",
      copy,
      CopyOptions().withPreserveLastModified(true)
    )
    Seq(copy)
  }.taskValue
)

lazy val tests = Seq(
  Test / fork := true,
  Test / parallelExecution := false,
  Test / javaOptions ++= Seq("-Xmx1g", s"-Dorg.sparkaccel.tests.python=${python.value}") ++ moduleOptions(
    sparkHome.value
  ),
  Test / testOptions += Tests.Argument(TestFrameworks.ScalaTest, "-oD")
)

// What Spark's own launcher passes to JDK 17 and newer.
def moduleOptions(sparkHome: File): Seq[String] = {
  val launcher = ((sparkHome / "jars") * "spark-launcher_*.jar").get
  val loader = new java.net.URLClassLoader(launcher.map(_.toURI.toURL).toArray)
  val options = loader.loadClass("org.apache.spark.launcher.JavaModuleOptions").getMethod("defaultModuleOptions")
  options.invoke(null).toString.split(" ").toSeq
}

lazy val jar = Seq(
  assembly / assemblyOutputPath := target.value / "spark-accel.jar",
  assembly / test := {},
  assembly / assemblyExcludedJars := (Compile / unmanagedJars).value,
  // Other people's --jars share Spark's one class loader. Netty's native library is bound to its package's name.
  assembly / assemblyShadeRules := Seq(ShadeRule.rename("com.google.**" -> "org.sparkaccel.shaded.google.@1").inAll),
  assembly / assemblyMergeStrategy := {
    case PathList("META-INF", "native", _*)                               => MergeStrategy.first
    case PathList("META-INF", "services", _*)                             => MergeStrategy.concat
    case PathList("META-INF", "license", _*)                              => MergeStrategy.first
    case PathList("META-INF", name) if name.matches("(LICENSE|NOTICE).*") => MergeStrategy.rename
    case PathList("META-INF", _*)                                         => MergeStrategy.discard
    case path if path.endsWith(".proto")                                  => MergeStrategy.discard
    case _                                                                => MergeStrategy.deduplicate
  }
)

# Included by the Makefile. sbt's launcher comes from Maven Central by the Ivy that PySpark bundles, so that a JDK and
# Python are all that a machine needs.

SBT_VERSION := $(shell sed -n 's/^sbt.version=//p' project/build.properties)
SBT_LAUNCHER := .tools/sbt-launch-$(SBT_VERSION).jar
JAVA := $(if $(JAVA_HOME),$(JAVA_HOME)/bin/)java
# C1 alone: what sbt does once is over before what C2 compiles for it pays, a third more of the processors' time.
SBT := $(JAVA) -XX:TieredStopAtLevel=1 -Xmx1g -Xss4m \
  -Dsbt.server.autostart=false -Dsbt.supershell=false -Dsbt.color=false -jar $(SBT_LAUNCHER)
JAR := jvm-bridge/target/spark-accel.jar
JAR_SOURCES := build.sbt project/build.properties project/plugins.sbt spark_accel/settings.json \
  spark_accel/protocol/accel.proto $(shell find jvm-bridge/src/main -type f)

.PHONY: jar test-scala lint-scala format-scala

jar: $(JAR) ## build the bridge's jar

$(JAR): $(JAR_SOURCES) | $(INSTALLED) $(SBT_LAUNCHER)
	$(SBT) --error assembly
	touch $@

test-scala: $(JAR) | $(SBT_LAUNCHER) ## the Scala tests
	$(SBT) test

lint-scala: | $(SBT_LAUNCHER)
	$(SBT) --error scalafmtCheckAll scalafmtSbtCheck

format-scala: | $(SBT_LAUNCHER)
	$(SBT) --error scalafmtAll scalafmtSbt

$(SBT_LAUNCHER): project/build.properties | $(INSTALLED)
	$(JAVA) -jar $(VENV)/lib/python*/site-packages/pyspark/jars/ivy-*.jar -cache .tools/ivy \
	  -dependency org.scala-sbt sbt-launch $(SBT_VERSION) -retrieve '.tools/[artifact]-[revision].[ext]' -confs default
	touch $@

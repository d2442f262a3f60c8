# Everything runs from here on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Weights beside the checkout are used as they are; elsewhere they are fetched once into the cache.
export PUSHPULL_WEIGHTS_PATH ?= $(abspath $(wildcard ../shared/weights))

# A browser for the tests of the web app; where it cannot be had they are skipped and say so.
BROWSERS := chromium chromium-browser google-chrome
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo -n)

.PHONY: help setup browser demo test check docs serve-docs bench clean
.DEFAULT_GOAL := help

help:  ## List the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: $(STAMP)  ## Make .venv with everything needed (done once, again when a requirement changes)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) || { echo "needs: apt-get install python3-venv python3-pip"; exit 1; }
	@# What is imported is compiled then: all there is takes a minute.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@# Alone: the OpenCV that it asks for would take the place of the one without a display.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps mtcnn-runtime
	@touch $@

demo: setup  ## Attack and audit the shipped detectors, reproduce Push-Pull in small
	$(BIN)/pushpull reproduce --preset demo --out demo-out
	@echo "To look at it, and at videos of your own: $(BIN)/pushpull app --runs demo-out"

browser:
	@command -v $(BROWSERS) >/dev/null || { \
		$(SUDO) apt-get update -qq && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || \
		echo "no browser: tests of the web app's pages are skipped (apt-get install chromium)"

test: setup browser  ## Run all tests
	$(BIN)/python -m pytest -q -n 3 --dist worksteal

check: setup  ## Lint, types, import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup  ## Build the documentation into site/, warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

serve-docs: setup  ## Read the documentation at http://127.0.0.1:8000/ while it is written
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

bench: setup  ## Speed and memory, as ratios, into docs/measurements/benchmarks.md
	$(BIN)/python benchmarks/run.py $(if $(PEERS),--peers $(PEERS),--only detect score)

clean:  ## Remove what the commands above made
	rm -rf $(VENV) demo-out dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

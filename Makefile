# `make demo` and `make test` need Python >= 3.11 and make, nothing else: all is installed into .venv, once.

VENV := .venv
BIN := $(VENV)/bin
PIP := pip==26.3
# The first of these that is Python >= 3.11 makes the environment. Choose another one with `make PYTHON=/path/to/python`.
PYTHON ?= python3 python3.13 python3.12 python3.11 python
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt --build-constraint constraints.txt

WORKERS ?= 2
ARGS ?=

# Of `make mutants`: where faults are planted, how many in each room, and which.
ROOMS ?= data metrics objectives models training evaluation attacks forget report cli worlds
SAMPLE ?= 40
SEED ?= 0
TESTS := test test-slow faults

# Two test workers share the cores; a worker that starts a thread per core as well makes both slower.
$(TESTS): export OMP_NUM_THREADS := 1
# The slow tests of a file share models that take long to make: one worker makes them once.
# Tests make their own models and data; nothing may come from a model hub.
$(TESTS): export HF_HUB_OFFLINE := 1

.PHONY: help demo test test-slow faults mutants lint format clean
.DEFAULT_GOAL := help

help:  ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1\t\2/p' Makefile
	@echo
	@echo '  Options are passed on:  make test ARGS="-k rouge"   make demo ARGS="--seed 7"   make test WORKERS=8'

demo: $(VENV)/installed  ## Unlearn, measure and report on the embedded example.
	$(BIN)/expunge demo $(ARGS)

test: $(VENV)/installed  ## Run the tests, but for those that take long.
	$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist worksteal $(ARGS)

test-slow: $(VENV)/installed  ## Run the tests that take long, but for those of `make faults`.
	$(BIN)/python -m pytest -m "slow and not fault" -n $(WORKERS) --dist loadfile --durations 20 $(ARGS)

faults: $(VENV)/installed  ## Kills, full disks, bad input, edits, planted code: a table.
	$(BIN)/python -m pytest tests/faults --tb short $(ARGS)

mutants: $(VENV)/installed  ## Plant faults in ROOMS of the source, SAMPLE in each: a table.
	$(BIN)/python tests/mutants.py $(ROOMS) --sample $(SAMPLE) --seed $(SEED)

lint: $(VENV)/installed-dev  ## Check style and types.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

format: $(VENV)/installed-dev  ## Fix what can be fixed of the style.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## Remove the environment, the demo's output and all caches of this folder.
	rm -rf $(VENV) demo dist build .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "Installing expunge into $(VENV) (PyTorch included: this takes a few minutes, once) ..."
	@test -x $(BIN)/python || { \
	  for python in $(PYTHON); do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "expunge needs Python 3.11 or newer, and none of these is: $(PYTHON). Give one with make PYTHON=..." >&2; \
	    exit 2; \
	  fi; \
	  $$found -m venv $(VENV) || { \
	    rm -rf $(VENV); \
	    echo "$$found cannot make a virtual environment; on Debian and Ubuntu, install the package python3-venv." >&2; \
	    exit 2; \
	  }; \
	}
	@$(BIN)/python -m pip install --quiet "$(PIP)"
	@$(INSTALL) -e . --group test
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(INSTALL) --group dev
	@touch $@

# The two commands of the README, and what they stand on. `make` alone explains itself.
# A CPU-only torch, some gigabytes smaller: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check $(if $(CI),--quiet)
ARGS ?=

# Small recurrent networks are many times slower when two threads wait for each other.
export OMP_NUM_THREADS ?= 1
export MPLBACKEND ?= Agg

.DEFAULT_GOAL := help
.PHONY: help demo test lint types check clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

demo: $(VENV)/.installed  ## train four mixtures on the embedded corpus; says where runs and pictures are
	$(BIN)/pyro-textvae demo $(ARGS)
	@echo "The command is .venv/bin/pyro-textvae; after '. .venv/bin/activate' it is pyro-textvae."

test: $(VENV)/.installed-dev  ## the tests and doctests (one of them: make test ARGS="-k vmf")
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed-dev  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev  ## pyright
	$(BIN)/pyright --pythonpath $(BIN)/python

check: lint types test  ## all three: what has to pass before a pull request

clean:  ## removes the environment and the caches, never your runs
	rm -rf $(VENV) dist .pytest_cache .ruff_cache .hypothesis

# python3 where it is new enough, else the newest that is. Each one is run: a name on the PATH may be an empty shim.
$(BIN)/python:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "Making $(VENV) with $$("$$python" --version)"; \
	        "$$python" -m venv --clear $(VENV) && exit 0; \
	        echo "$$python cannot make an environment: on Debian and Ubuntu, install its venv package" \
	             "(apt install python3-venv), then try again." >&2; \
	        rm -rf $(VENV); exit 1; \
	    fi; \
	done; \
	echo "Python 3.11 or newer is needed, but python3 is $$(python3 --version 2>&1 || true) and no python3.11" \
	     "to python3.14 runs: install one, or name it (make demo PYTHON=/path/to/python3.12)." >&2; \
	exit 1

# The stamps are written last, so an installation that was cut short is taken up again.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing pyro-textvae and what it needs into $(VENV) (some minutes, once)"
	$(PIP) -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing pyro-textvae and its test tools into $(VENV) (some minutes, once)"
	$(PIP) -c constraints.txt -e '.[dev]'
	@touch $(VENV)/.installed $@

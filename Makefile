# Everything happens in .venv, which is made on first use: nothing but Python 3.11 and make is needed.
#
#   make demo                      serve an echo and drive it for ten seconds (ARGS="--seconds 30 --users 200")
#   make demo UI=1                 leave locust's web UI open, with the server's numbers in it
#   make demo SCENARIO=push        another load test of loadtests/
#   make test                      run the tests (ARGS="-k floors")
#   make check                     lint, format and types
#   make bench                     measure against other servers, for docs/benchmarks.md (QUICK=1: three minutes)
#   make clean                     remove whatever these made

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
COMPARE := loadtests/compare

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test check bench clean

help:
	@sed -n 's/^#  //p' Makefile

demo: $(VENV)/.has-demo
	@$(BIN)/python loadtests/demo.py $(SCENARIO) $(if $(UI),--ui) $(ARGS)

test: $(VENV)/.has-dev $(VENV)/.has-demo
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.has-dev $(VENV)/.has-demo $(VENV)/.has-bench
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

bench: $(VENV)/.has-bench
	@if command -v npm >/dev/null; \
	then npm install --loglevel=error --no-fund --no-audit --prefix $(COMPARE)/peers; \
	else echo 'make bench: npm is not installed, SO BUN IS LEFT OUT of the comparison' >&2; fi
	@$(BIN)/python $(COMPARE)/bench.py $(if $(QUICK),--quick) $(ARGS)

clean:
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache $(COMPARE)/peers/node_modules $(COMPARE)/load/build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The venv and each extra leave a stamp when they are complete, so that a failed one is tried again.
$(VENV)/.made:
	@echo 'making $(VENV)'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.has-%: pyproject.toml | $(VENV)/.made
	@echo 'installing greensock[$*] into $(VENV)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

# Two commands do all set-up: `make demo` and `make test`. Nothing is needed but Python and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint lock clean help

help:  ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(VENV)/.run  ## the main job on the embedded broker and store, about two minutes
	$(BIN)/forewarn demo

# Most of the tests wait for brokers and processes: three at a time keep two cores busy. 0 runs them one by one.
TESTS_AT_ONCE ?= 3

test: $(VENV)/.dev  ## all tests; says at its end what was skipped and why
	$(BIN)/pytest -n $(TESTS_AT_ONCE) --dist loadscope $(PYTEST_ARGS)

lint: $(VENV)/.dev  ## ruff (lint and format) and mypy strict, tests too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The lock files name every package with its hash; --no-deps and no build isolation: nothing else gets in.
$(VENV)/.run: requirements/run.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"forewarn is tested on Python 3.11 to 3.13, this is {v[0]}.{v[1]}; choose one with: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@touch $@

COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command 'make lock' pyproject.toml requirements/build.in

lock:  ## write the lock files anew from pyproject.toml (needs uv)
	$(COMPILE) -o requirements/production.lock
	$(COMPILE) --extra embedded -o requirements/run.lock
	$(COMPILE) --extra embedded --extra dev -o requirements/dev.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

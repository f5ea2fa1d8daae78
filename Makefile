# The two commands for a new machine: 'make demo' and 'make test'. Both make the environment they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo run test test-slow test-faults check audit fmt wheel clean

demo: $(VENV)/.core
	$(BIN)/riskwire demo

run: $(VENV)/.core
	test -f riskwire.toml || $(BIN)/riskwire init
	$(BIN)/riskwire run -c riskwire.toml

# Files side by side, except those that measure time against servers: they come after, one by one.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --ignore tests/contract --ignore tests/fault
	$(BIN)/python -m pytest tests/contract tests/fault

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow --timeout 1800

test-faults: $(VENV)/.dev
	$(BIN)/python -m pytest tests/fault -m "" --timeout 1800

# What CI checks before the tests.
check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit -q -c pyproject.toml -r monitor connectors alerts

# Known vulnerabilities in what is pinned; asks the advisory service of PyPI, so it needs the network.
audit: $(VENV)/.dev
	$(BIN)/pip-audit -r constraints.txt --no-deps --disable-pip --strict

# The documentation as a site, in build/site; a broken link or anchor fails.
docs: $(VENV)/.dev
	$(BIN)/mkdocs build --quiet

fmt: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(VENV)/.dev
	$(BIN)/python -m build --wheel --no-isolation

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Riskwire needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

# The core install: no torch.
$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[slack]'
	touch $@

# torch first and pinned: its CPU build serves every test.
$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.core

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

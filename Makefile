# `make demo` and `make test` are all a newcomer needs; both set up `.venv` first, which is quick when nothing changed.

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
PYTHON ?= python3
JOBS ?= auto
export UV_PROJECT_ENVIRONMENT := $(VENV)
export UV_PYTHON_DOWNLOADS := never

.PHONY: setup demo test soak lint types imports locale bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Pumasi needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv module is missing; install it: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/python || { echo "making $(VENV) …"; $(PYTHON) -m venv $(VENV); }
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.13.8,<0.14'
	@echo "installing what uv.lock names …"
	@$(UV) sync --quiet --locked --inexact --all-extras
	@touch $@

demo: setup
	@$(BIN)/python examples/demo.py

test: setup
	@$(BIN)/pytest -n $(JOBS)

soak: setup
	@$(BIN)/python -m tests.soak $(or $(BROKER),sqlite) $(if $(filter-out auto,$(JOBS)),--jobs $(JOBS)) $(SOAK)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup
	$(BIN)/mypy src

imports: setup
	$(BIN)/lint-imports

locale: setup
	$(BIN)/python tools/catalogues.py update
	$(BIN)/python tools/catalogues.py compile

bench: setup
	$(BIN)/python -m benchmarks $(BENCH)

clean:
	rm -rf $(VENV) .pumasi .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist

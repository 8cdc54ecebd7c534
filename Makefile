# Everything a newcomer needs: `make demo` and `make test`.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Where torch comes from; empty is PyPI. E.g. TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
TORCH  := torch==2.13.0
LOCK   := infra/requirements.lock
TOOLS  := infra/requirements-tools.lock
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Processes that share the tests; each keeps what is costly to set up. JOBS=0 runs them in one.
JOBS   ?= logical
# Written even where PYTHONDONTWRITEBYTECODE is set: without it each command compiles the sources again.
COMPILE := $(BIN)/python -m compileall -q hemlets flows serving data_checks annotate
PYTEST := $(BIN)/python -m pytest -q -n $(JOBS) --maxprocesses 8 --dist loadscope --no-loadscope-reorder

.PHONY: demo test check lint docs wheel tools ui serve bench clean setup help

help: ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(VENV)/.installed: $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
	  || { echo "Python 3.11 or 3.12 is needed; try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' \
	  || { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }
	@echo "Installing into $(VENV) (a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install $(TORCH) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	@$(PIP) install --no-deps -r $(LOCK)
	@$(PIP) install --no-deps --no-build-isolation -e .
	@$(COMPILE)
	@touch $@

setup: $(VENV)/.installed ## install everything into .venv

$(VENV)/.tools: $(VENV)/.installed $(TOOLS)
	@$(PIP) install --no-deps -r $(TOOLS)
	@touch $@

tools: $(VENV)/.tools ## install the tools of documentation, wheel and pre-commit into .venv

demo: $(VENV)/.installed ## the whole loop on open data: from ingest to a promoted, served model
	@$(BIN)/hemlets retrain --profile demo

test: lint ## lint, types and all tests
	@$(COMPILE)
	@$(PYTEST)

check: lint ## lint, types and the tests that need no server and are quick
	@$(COMPILE)
	@$(PYTEST) -m "not services and not slow"

lint: $(VENV)/.installed ## lint and types alone
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(VENV)/.tools ## the documentation site, in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

wheel: $(VENV)/.tools ## the library's wheel, in dist/
	@$(BIN)/python -m build --no-isolation

ui: $(VENV)/.installed ## MLflow and Prefect pages on loopback
	@$(BIN)/hemlets ui

serve: $(VENV)/.installed ## the champion on TorchServe
	@$(BIN)/hemlets serve

bench: $(VENV)/.installed ## benchmarks; results go to tests/benchmarks/results
	@failed=; for script in tests/benchmarks/bench_*.py; do \
		$(BIN)/python $$script || failed="$$failed $$script"; done; \
		test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

clean: ## remove the workspace (data, runs, models) but not .venv
	rm -rf workspace

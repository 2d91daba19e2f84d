# make demo, make test: each sets up what it needs, in .venv. PYTHON=python3.12 make ... uses another Python.
PYTHON ?= python3
# How many processes test: each needs up to 4 GB.
WORKERS ?= 2
BIN := .venv/bin

.PHONY: venv demo test lint bench ui clean

venv: .venv/.installed

.venv/.installed: pyproject.toml
	@if command -v uv > /dev/null; then \
	    uv venv --quiet --allow-existing --python $(PYTHON) .venv && \
	    uv pip install --quiet --python $(BIN)/python -e '.[dev]'; \
	else \
	    $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'; \
	fi
	@touch $@

demo: venv
	$(BIN)/python -m entrypoints.demo

test: venv
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: venv
	@set -e; for name in parity latency inference training prepare detection; do \
	    echo "== $$name"; $(BIN)/python -m benchmarks.$$name; \
	done

# Without these options the UI takes minutes to start, and the experiments that it makes could not be used without it.
ui: venv
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui --no-serve-artifacts --workers 1

# Runs and models (mlflow.db, mlruns/) stay: they are results.
clean:
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

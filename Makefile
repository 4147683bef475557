# The verbs, the same for a person and for CI. `make demo` and `make test` prepare .venv by themselves.
# Variables of `make demo`: PROMPT, FRAMES, SEED, REFINE (1: also in a higher resolution, where the model can). PYTHON names
# the interpreter to build .venv with.

PROMPT ?= a red circle moving left over a striped background
FRAMES ?= 48
SEED ?= 4
REFINE ?=
PORT ?= 8000
# `make golden`: a folder of the published implementation's numbers, laid out as tests/references is.
GOLDEN ?= tests/references
# `make chaos`: options of `python -m tests.chaos`, such as --seconds 120 --seed 7.
CHAOS ?= --seconds 600
export PROMPT FRAMES SEED PORT GOLDEN

BIN := .venv/bin
READY := .venv/.ready
# One thread per pytest process: the workers of xdist share the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.NOTPARALLEL:
.PHONY: help setup lint types test-fast test-integration test golden bench chaos demo up

help:
	@echo "make setup | lint | types | test-fast | test | golden | bench | chaos | demo | up"
	@echo "make demo PROMPT='a blue square moving up over a plain background' FRAMES=100 SEED=7 REFINE=1"
	@echo "make golden GOLDEN=folder/of/published/numbers"
	@echo "make chaos CHAOS='--seconds 120 --seed 7'   (throws faults at the whole service, checks that nothing is lost)"

setup: $(READY)

# Runs again only when pyproject.toml changes.
$(READY): pyproject.toml
	@set -e; \
	chosen=""; \
	for candidate in $(PYTHON) python3.13 python3.12 python3.11 python3 python; do \
		if $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			chosen=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$chosen" ]; then \
		echo "Longtake needs Python 3.11 or newer with its venv module; none was found (set PYTHON=/path/to/python3)." >&2; \
		exit 1; \
	fi; \
	echo "== setup: building .venv with $$chosen (the first time downloads PyTorch, which takes minutes)"; \
	$$chosen -m venv .venv; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[model,dev]'; \
	touch $(READY)

lint: $(READY)
	@echo "== lint: ruff"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "== lint: import law"
	$(BIN)/lint-imports

types: $(READY)
	@echo "== types: pyright strict"
	$(BIN)/pyright

test-fast: $(READY)
	@echo "== unit tests"
	$(PYTEST) -n auto tests/unit

test-integration: $(READY)
	@echo "== integration tests: real Redis, S3 server, API and workers"
	$(PYTEST) tests/integration

test: lint types test-fast test-integration
	@echo "== all passed: lint, types, unit tests, integration tests"

golden: $(READY)
	$(BIN)/python -m tests.golden "$$GOLDEN"

bench: $(READY)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.cuda

chaos: $(READY)
	$(BIN)/python -m tests.chaos $(CHAOS)

demo: $(READY)
	@$(BIN)/longtake demo --prompt "$$PROMPT" --frames "$$FRAMES" --seed "$$SEED" $(if $(REFINE),--refine)

up: $(READY)
	@$(BIN)/longtake up --port "$$PORT"

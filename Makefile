# The verbs, the same for a person and for CI. `make demo` and `make test` prepare .venv by themselves.
# Variables of `make demo`: MODEL, PROMPT, FRAMES, SEED, REFINE (1: also in a higher resolution, where the model can),
# CONTROL (canny, ...: follow VIDEO), VIDEO (a file). PYTHON names the interpreter to build .venv with.

MODEL ?=
PROMPT ?=
FRAMES ?=
SEED ?= 4
CONTROL ?=
VIDEO ?=
REFINE ?=
PORT ?= 8000
# `make golden`: a folder of the published implementation's numbers, laid out as tests/references is.
GOLDEN ?= tests/references
# `make chaos`: options of `python -m tests.chaos`, such as --seconds 120 --seed 7.
CHAOS ?= --seconds 600
export MODEL PROMPT FRAMES SEED CONTROL VIDEO PORT GOLDEN

BIN := .venv/bin
READY := .venv/.ready
# One thread per pytest process: the workers of xdist share the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m tests.watched
# Unit tests whose code under test is, or runs, the model half.
MODEL_TESTS := tests/unit/core/model tests/unit/golden tests/unit/benchmarks
# Whole runs of training and evaluation at toy size: minutes, so they are with the integration tests.
RUN_TESTS := $(addprefix tests/unit/core/model/,evaluation/test_command.py evaluation/suites/test_ablation.py \
	training/test_sprites_run.py training/test_clips_run.py)
# Tests start hundreds of processes. Images of CI set it, and then each process compiles all of our code anew.
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:
.PHONY: help setup lint types test-fast test-model test-integration test fresh-machine golden bench chaos demo up

help:
	@echo "make setup | lint | types | test | golden | bench | chaos | demo | up"
	@echo "make test-fast          unit tests without torch: api, cli, client, worker, core.service (a minute and a half)"
	@echo "make test-model         unit tests of the model half (five minutes)"
	@echo "make test-integration   real Redis, S3 server, API and workers; whole training and evaluation runs (eighteen minutes)"
	@echo "make test               all of these, lint and types; in CI fresh-machine, too"
	@echo "make fresh-machine      the set-up, the servers and the demo on a minimal Debian 13 (root, debootstrap)"
	@echo "make demo PROMPT='a blue square moving up over a plain background' FRAMES=100 SEED=7 REFINE=1"
	@echo "make demo MODEL=sprites-zero CONTROL=canny | make demo MODEL=sprites-edit PROMPT='make it blue' VIDEO=clip.mp4"
	@echo "make golden GOLDEN=folder/of/published/numbers"
	@echo "make chaos CHAOS='--seconds 120 --seed 7'   (throws faults at the whole service, checks that nothing is lost)"

setup: $(READY)

# Runs again only when pyproject.toml or the set-up itself changes. A Python that has its venv module comes first; one
# without it is told how to get it.
$(READY): pyproject.toml $(wildcard setup/*.py)
	@found=""; \
	for python in $(or $(PYTHON),python3.14 python3.13 python3.12 python3.11 python3 python); do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
		found=$${found:-$$python}; \
		if $$python -c 'import venv, ensurepip' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "Longtake needs Python 3.11 or newer; $(if $(PYTHON),$(PYTHON) is none,none was found (set PYTHON=/path/to/python3))." >&2; \
		exit 1; \
	fi; \
	$$found -m setup.environment
	@touch $(READY)

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
	@echo "== unit tests without torch"
	$(PYTEST) -n 3 --torch-free tests/unit $(MODEL_TESTS:%=--ignore=%)

test-model: $(READY)
	@echo "== unit tests of the model half"
	$(PYTEST) -n auto --dist loadfile $(MODEL_TESTS) $(RUN_TESTS:%=--ignore=%)

test-integration: $(READY)
	@echo "== integration tests: real Redis, S3 server, API and workers, whole runs of training and evaluation; six files"
	@echo "   at a time, most of each is waiting"
	$(PYTEST) -n 6 --dist loadfile --no-loadscope-reorder $(RUN_TESTS) tests/integration

# In CI, or where FRESH_MACHINE=1 asks for it: it downloads a Debian and every package anew.
test: lint types test-fast test-model test-integration $(if $(filter true 1,$(CI) $(FRESH_MACHINE)),fresh-machine)
	@echo "== all passed: lint, types, unit tests, integration tests"

fresh-machine: $(READY)
	@echo "== the set-up on a fresh machine: a minimal Debian 13 in a folder"
	$(BIN)/python -m tests.fresh_machine

golden: $(READY)
	$(BIN)/python -m tests.golden "$$GOLDEN"

bench: $(READY)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.cuda

chaos: $(READY)
	$(BIN)/python -m tests.chaos $(CHAOS)

demo: $(READY)
	@$(BIN)/longtake demo $${MODEL:+--model "$$MODEL"} $${PROMPT:+--prompt "$$PROMPT"} $${FRAMES:+--frames "$$FRAMES"} \
		--seed "$$SEED" $${CONTROL:+--control "$$CONTROL"} $${VIDEO:+--video "$$VIDEO"} $(if $(REFINE),--refine)

up: $(READY)
	@$(BIN)/longtake up --port "$$PORT"

# omni: `make run` goes from nothing to a trained model, `make test` is everything CI runs. `make help` lists the rest.

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-input -c constraints.txt
THREADS := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1}
CODE := omni tokenizers train eval safety tests

.DEFAULT_GOAL := help
.PHONY: help run demo bench test soak multinode drive lint system wheel clean

help: ## list these
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 8

run: $(VENV)/.installed ## install, then train a small model on real data: runs/quickstart/report.html (ARGS=--minutes 60)
	$(BIN)/omni quickstart $(ARGS)

demo: $(VENV)/.installed ## ask omni-tiny about a picture, aloud and in French: runs/demo
	$(BIN)/omni generate --image docs/images/owl.svg --want text,audio --language fr --out runs/demo $(ARGS)

bench: $(VENV)/.tested ## measure training and decoding against transformers: runs/bench
	@mkdir -p runs/bench
	$(BIN)/omni bench train --json $(ARGS) | tee runs/bench/train.log
	$(BIN)/omni bench loader --json | tee runs/bench/loader.log
	$(BIN)/omni bench checkpoint --json $(ARGS) | tee runs/bench/checkpoint.log
	$(BIN)/omni bench decode --json $(ARGS) | tee runs/bench/decode.log
	$(BIN)/omni bench eval --json | tee runs/bench/eval.log
	@tail -qn1 runs/bench/train.log > runs/bench/train.json
	@tail -qn1 runs/bench/loader.log > runs/bench/loader.json
	@tail -qn1 runs/bench/checkpoint.log > runs/bench/checkpoint.json
	@tail -qn1 runs/bench/decode.log > runs/bench/decode.json
	@tail -qn1 runs/bench/eval.log > runs/bench/eval.json
	@echo "figures: runs/bench/*.json"

test: lint ## everything CI runs: lint, then all tests, quick ones first
	$(THREADS) $(BIN)/pytest $(ARGS)

soak: $(VENV)/.tested ## twenty faults, and still the weights of an undisturbed run (ten minutes; ARGS=--seed 1)
	$(BIN)/python tests/train/soak.py $(ARGS)

multinode: $(VENV)/.tested ## two hosts, network namespaces of this machine, train as one does (root)
	$(BIN)/python tests/train/multinode.py $(ARGS)

drive: $(VENV)/.tested ## states and weights on a drive (needs libaio-dev; DeepSpeed compiles for ten minutes)
	OMNI_DRIVE=1 $(THREADS) $(BIN)/pytest tests/train/test_ranks.py -k drive $(ARGS)

lint: $(VENV)/.tested ## ruff, import order, types
	$(BIN)/ruff check $(CODE)
	$(BIN)/lint-imports
	$(BIN)/mypy

wheel: $(VENV)/.tested ## build dist/omni-*.whl
	$(BIN)/python -m build --wheel

system: ## the programs that omni calls (apt, when root)
	@scripts/system_packages.sh $(PYTHON)

clean: ## remove the environment, builds and caches; runs/ and the data cache stay
	rm -rf $(VENV) build dist omni.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './runs/*' -prune -exec rm -rf {} +

# Stamps: nothing is installed again until pyproject.toml or constraints.txt changes.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 ..."; exit 1; }
	@scripts/system_packages.sh $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(VENV)/.tested: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[dev]"
	@touch $@ $(VENV)/.installed

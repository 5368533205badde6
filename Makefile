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
.PHONY: help run demo ask bench test clients browser fuzz soak multinode drive lint system wheel clean

help: ## list these
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 8

run: $(VENV)/.evaluates ## install, then train a small model on real data: runs/quickstart/report.html (ARGS=--minutes 60)
	$(BIN)/omni quickstart $(ARGS)

demo: $(VENV)/.live ## talk with omni-tiny in the browser; it says where (ARGS="--port 9000")
	$(BIN)/omni serve $(ARGS)

ask: $(VENV)/.installed ## ask omni-tiny about a picture, aloud and in French: runs/ask
	$(BIN)/omni generate --image docs/images/owl.svg --want text,audio --language fr --out runs/ask $(ARGS)

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
	$(THREADS) $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

clients: $(VENV)/.tested ## clients of OpenAI, pipecat and LiveKit against a server of ours (needs node and npm)
	$(THREADS) $(BIN)/python tests/live/clients/run.py $(ARGS)

fuzz: $(VENV)/.tested ## ten thousand wrong events, slow readers and a killed model at a server of ours
	$(THREADS) $(BIN)/python tests/live/fuzz.py $(ARGS)

browser: $(VENV)/.tested ## the page in Chromium with a microphone that plays a file; pictures of it: runs/browser
	@[ -n "$$CHROMIUM" ] || command -v chromium >/dev/null || apt-get install -y --no-install-recommends chromium
	$(THREADS) $(BIN)/pytest -s tests/live/browser/*.py $(ARGS)

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

$(VENV)/.evaluates: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[eval]"
	@touch $@ $(VENV)/.installed

$(VENV)/.live: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[live]"
	@touch $@ $(VENV)/.installed

$(VENV)/.tested: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[dev]"
	$(PIP) --no-deps mbrs==0.1.8  # an oracle, which asks for packages of another time; its chrF needs none of them
	@touch $@ $(VENV)/.installed $(VENV)/.evaluates $(VENV)/.live

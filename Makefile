# Two commands matter to a newcomer: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
RUNS := .venv/.runs
INSTALLED := .venv/.installed

.PHONY: install demo test test-slow check notes notes-full

install: $(INSTALLED)

$(INSTALLED): $(RUNS)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(RUNS): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("textvae needs Python 3.10 or newer; choose one with: make PYTHON=python3.11") if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[plots,flows,metrics]'
	touch $@

demo: $(RUNS)
	@$(BIN)/textvae train demo free_bits_total --objective.penalty.nats_total 6 \
		--objective.weight "{kind: linear, start: 0.1, steps: 3 epochs}" --run runs/demo
	@$(BIN)/textvae evaluate runs/demo --split valid --samples 50 > /dev/null
	@$(BIN)/textvae evaluate runs/demo --split test --samples 50 > /dev/null
	@$(BIN)/textvae show runs/demo

test: install
	$(BIN)/pytest -n 2 -m 'not slow'

test-slow: install
	$(BIN)/pytest -m slow

check: install
	$(BIN)/ruff check textvae tests experiments
	$(BIN)/ruff format --check textvae tests
	$(BIN)/mypy --strict textvae

# The notes' claims: every page, and claim 9 with one seed of a short ladder; runs that are done are kept.
notes: install
	@set -e; for page in experiments/notes/claim_*.py; do $(BIN)/python $$page --jobs 2; done

# Claim 9 with the whole ladder, five seeds and the curve to two million sentences, and on Penn Treebank where
# $$TEXTVAE_DATA has it: hours, resumed where they stopped.
notes-full: notes
	@if [ -d "$$TEXTVAE_DATA/ptb" ]; then $(BIN)/python experiments/notes/ptb_equivalence.py --jobs 2; fi
	@$(BIN)/python experiments/notes/claim_09.py --full --jobs 2

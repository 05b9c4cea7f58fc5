# make run and make test need nothing but Python 3.10 to 3.13: they set up .venv on first use and again when
# pyproject.toml or constraints.txt change.
#   make run ARGS="dataset=banking77 seed=0,1 -m"
#   make install PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install run test test-all coverage soak lint docs bench

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## set up .venv with the versions in constraints.txt; PYTHON=... chooses the interpreter

run: $(INSTALLED)  ## train, rerank and report on the embedded data set; ARGS="..." is passed to run.py
	$(BIN)/python run.py $(ARGS)

test: $(INSTALLED)  ## run the quick tests, two files at a time; ARGS="..." is passed to pytest
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-all: $(INSTALLED)  ## run all tests, the slow ones too; ARGS="..." is passed to pytest
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "" $(ARGS)

coverage: $(INSTALLED)  ## run the tests and show which lines none of them runs; ARGS="..." is passed to pytest
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "" --cov --cov-report=term-missing:skip-covered $(ARGS)

soak: $(INSTALLED)  ## kill, crowd and starve runs for 20 minutes, and write docs/reference/what-survives.md
	$(BIN)/python tests/faults/soak.py $(ARGS)

lint: $(INSTALLED) docs  ## check style, formatting, types, which part imports which, and the documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(INSTALLED)  ## build the documentation into build/docs; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

bench: $(INSTALLED)  ## run experiments/benchmarks, where present; ARGS="..." is passed on
	@test -e experiments/benchmarks.py -o -e experiments/benchmarks/__main__.py \
		|| { echo "make bench: there is no experiments/benchmarks in this version" >&2; exit 1; }
	$(BIN)/python -m experiments.benchmarks $(ARGS)

# The stamp is written last, so an installation that was cut off is taken up again.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@

# Durabill: one word for each job. Every target first makes .venv (quick when nothing changed).

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo up down status test check fmt bench record replay clean

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	if command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$p; exit; fi; done; echo python3)
BIN := .venv/bin
ARGS ?=

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1  	/p' Makefile

setup:  ## make .venv with everything the lock file names
	@$(PYTHON) devstack/bootstrap.py

demo: setup  ## start the stack, run a year of billing through the public API, print what happened
	@$(BIN)/durabill demo $(ARGS)

up: setup  ## start Postgres, Temporal, the API and the worker; ready when this ends
	@$(BIN)/durabill up $(ARGS)

down: setup  ## stop the stack and leave nothing running
	@$(BIN)/durabill down $(ARGS)

status: setup  ## show what runs, where, and since when
	@$(BIN)/durabill status $(ARGS)

test: setup  ## the whole test suite, in two processes with servers of their own
	@$(BIN)/python -m devstack.temporal_binary
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup  ## lint, types, import law, house rules and the money core (under a minute)
	@$(MAKE) --no-print-directory -j2 check-types check-rules

.PHONY: check-types check-rules
check-types:
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports
	@$(BIN)/mypy .

check-rules:
	@$(BIN)/python -m pytest -q tests/house tests/billing $(ARGS)

fmt: setup  ## format the code and apply the safe fixes
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: setup  ## the benchmarks, each beside its limit
	@$(BIN)/durabill bench $(ARGS)

record: setup  ## record workflow histories for the replay tests
	@$(BIN)/durabill record $(ARGS)

replay: setup  ## replay the committed workflow histories against this code
	@$(BIN)/durabill replay $(ARGS)

clean: down  ## stop the stack and delete its data, the environment and the caches
	rm -rf .durabill .durabill-tools .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Coxswain's tasks. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
# The environment is made anew when what it is made from has changed, and only then.
LOCK := $(shell cat requirements/dev.txt pyproject.toml 2> /dev/null | sha256sum | cut -c1-16)
READY := $(VENV)/.made-from-$(LOCK)

##@ Try it

demo: setup ## one real optimization on two lab hosts, from nothing to runs/demo/
	@$(BIN)/cox demo --report runs/demo

up: setup ## the bus and the services on this machine, until Ctrl-C
	@$(BIN)/cox up

down: ## stop what `cox up --detach` and `cox lab up` have started
	@if [ -x $(BIN)/cox ]; then $(BIN)/cox down && $(BIN)/cox lab down; else echo "nothing ran"; fi

fleet: ## the fleet in containers, from the images of `make images`
	@deploy/compose up

##@ Set up

setup: preflight $(READY) ## what the machine lacks, and .venv with everything locked

preflight: # what apt has to bring; says what is missing before it touches anything
	@deploy/preflight

$(READY): requirements/dev.txt pyproject.toml
	@echo "making $(VENV) (locked, with hashes)"
	@rm -rf $(VENV)
	@"$$(deploy/preflight --python)" -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lock: ## write requirements/ anew from pyproject.toml
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--all-extras --group dev --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" -o requirements/dev.txt pyproject.toml
	@$(MAKE) lock-images
	@! grep -nE '://|index-url|find-links' requirements/*.txt

# What runs in guests and containers has Debian's Python: a lock for each set of extras.
lock-images:
	@for name in host planner:planner gate:executor bus:bus cli:cli,executor; do \
		extra="$${name#*:}"; [ "$$extra" != "$$name" ] || extra=; \
		$(BIN)/uv pip compile --quiet --python-version 3.13 --constraints requirements/dev.txt \
			$${extra:+--extra "$${extra%%,*}" --extra "$${extra##*,}"} \
			--generate-hashes --no-emit-index-url --no-annotate \
			--custom-compile-command "make lock" -o "requirements/$${name%%:*}.txt" pyproject.toml; \
	done

images: setup ## every container image, built on this machine (needs root and a Docker engine)
	@$(BIN)/python deploy/images/build.py

clean: ## forget .venv and all caches of tools; lab images and state stay
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

##@ Check it

test: setup lint types ## everything: style, types, walls, all tests, on real kernels and in containers
	@$(BIN)/pytest -q -n 2 -m "not kernel and not compose"
	@$(BIN)/pytest -q -m "kernel and not long"
	@$(MAKE) --no-print-directory compose-test

unit: setup ## the tests that need no lab guest
	@$(BIN)/pytest -q -n 2 -m "not kernel and not compose"

kernel: setup ## the tests on a lab guest's kernel
	@$(BIN)/pytest -q -m "kernel and not long"

host-faults: setup ## power cuts, no memory, no descriptors and a full disk on a lab host: some ten minutes
	@COX_SECOND_TRY=1 $(BIN)/pytest -q -m "kernel and long"

frame-proofs: setup ## the frame's promise, the long way: docs/proofs/
	@$(BIN)/python -m tests.proofs.search
	@COX_LONG=1 $(BIN)/pytest -q -n 2 -m "not kernel" tests/proofs
	@COX_LONG=1 $(BIN)/pytest -q -s -m kernel tests/proofs

chaos: setup ## seeded faults against a real fleet: SEEDS=20 FIRST=1 AT_ONCE=1, docs/reliability.md
	@$(BIN)/python -m tests.chaos --seeds $(or $(SEEDS),20) --first $(or $(FIRST),1) \
		--at-once $(or $(AT_ONCE),1)

sandbox-proofs: setup ## the gate's sandbox, the long way: every broken scheduler and policy on 1, 2, 4, 16 CPUs
	@COX_LONG=1 $(BIN)/pytest -q -s -m kernel tests/executor/sandbox

compose-test: setup ## the fleet in containers: COX_TEST_HOSTS=1 takes one host instead of three
	@if docker version > /dev/null 2>&1; then $(MAKE) --no-print-directory images; else \
		echo "compose-test: NO DOCKER ENGINE ANSWERS: the fleet of containers is not tested" >&2; fi
	@$(BIN)/pytest -q -m compose

gate-corpus: setup ## hostile hooks and objects against the gate, a line each
	@$(BIN)/python -m tests.gate.corpus

lint: setup ## style, and which part may import which
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache | tail -4

types: setup ## strict types
	@$(BIN)/mypy

bench: setup ## the gate, every policy and every mind on every workload, fleets of 10 to 10,000 hosts: bench/results/
	@$(BIN)/cox bench gate
	@$(BIN)/cox bench policies
	@$(BIN)/cox bench compare
	@$(BIN)/cox bench classify --save
	@$(BIN)/cox bench fleet
	@$(BIN)/cox bench fleet --hosts 1000 10000 --kind-size 100 --connections shared --processes 4

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo up down fleet images chaos gate-corpus frame-proofs sandbox-proofs compose-test setup preflight lock clean test unit kernel lint types bench help
.PHONY: lock-images  # a part of lock

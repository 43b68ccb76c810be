# Everything runs from a fresh clone: each target first makes the environment that it needs, in .venv (tools/bootstrap.sh).

PY := .venv/bin/python
RUNTIME := .venv/.stamp-runtime
DEV := .venv/.stamp-dev
IMAGE ?= maprun:dev
PYTHON_IMAGE ?= python:3.13-slim
# Real nodes need root; CI must run everything or fail.
NODES ?= $(if $(or $(filter 0,$(shell id -u)),$(filter true,$(CI))),both,fake)
CHECKED := operator tests tools $(wildcard bench)

# uv and Go builds of the test cluster find the uv that the bootstrap may have installed.
export PATH := $(PATH):$(CURDIR)/.venv-tools/bin
ifdef PYTHON
export PYTHON
endif

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast lint format generate verify programs cluster-up cluster-down cluster-status bench-jobs image clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## Run the airports example on this machine: no cluster, no container
	@$(PY) -m maprun demo

test: lint verify programs ## Everything: checks, then all tests, on a real Kubernetes and a real S3 server
	@echo "== All tests"
	@$(PY) -m pytest $(ARGS)

test-fast: $(DEV) ## The tests that need no cluster and no server
	@$(PY) -m pytest tests/unit -q -n 4 $(ARGS)

lint: $(DEV) ## ruff and mypy
	@echo "== ruff"
	@$(PY) -m ruff check $(CHECKED)
	@$(PY) -m ruff format --check $(CHECKED)
	@echo "== mypy"
	@$(PY) -m mypy

format: $(DEV) ## Put the code into its form
	@$(PY) -m ruff check --fix-only $(CHECKED)
	@$(PY) -m ruff format $(CHECKED)

generate: $(DEV) ## Write what is generated: the CRD
	@$(PY) -m tools.crd

verify: $(DEV) ## Fail when something generated is old, or a layer is broken
	@echo "== Generated files, lock file, layers"
	@$(PY) -m tools.crd --check
	@"$$(cat .venv/.uv)" lock --check --quiet || { echo "uv.lock does not match pyproject.toml: run 'uv lock'"; exit 1; }
	@.venv/bin/lint-imports --no-logo

programs: $(DEV) ## Build the test cluster's programs, once (about 15 minutes on 2 cores from nothing)
	@echo "== Programs of the test cluster ($(NODES) nodes)"
	@$(PY) -m tests.cluster build --nodes $(NODES)

cluster-up: NODES = fake
cluster-up: $(DEV) ## Start a real Kubernetes that stays; NODES=fake, real or both
	@$(PY) -m tests.cluster up --nodes $(NODES) $(ARGS)

cluster-down: $(DEV) ## End it, and leave nothing behind
	@$(PY) -m tests.cluster down $(ARGS)

cluster-status: $(DEV) ## Show what runs
	@$(PY) -m tests.cluster status

bench-jobs: $(DEV) ## Measure Jobs a second through a MapRun against the raw floor
	@$(PY) -m bench.jobs $(ARGS)

image: ## Build the container image, with docker, podman or buildah; IMAGE=name, PYTHON_IMAGE=base
	@builder=$$(command -v docker || command -v podman || command -v buildah) \
	    || { echo "needs docker, podman or buildah"; exit 1; }; \
	"$$builder" build --build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) --tag $(IMAGE) .

clean: ## Remove what make made here (not the test cluster's programs in the user's cache)
	rm -rf .venv .venv-tools dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find operator tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME): pyproject.toml uv.lock tools/bootstrap.sh
	@tools/bootstrap.sh runtime

$(DEV): pyproject.toml uv.lock tools/bootstrap.sh
	@tools/bootstrap.sh dev

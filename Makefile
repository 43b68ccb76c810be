# Everything runs from a fresh clone: each target first makes the environment that it needs, in .venv (tools/bootstrap.sh).

PY := .venv/bin/python
RUNTIME := .venv/.stamp-runtime
DEV := .venv/.stamp-dev
IMAGE ?= maprun:dev
PYTHON_IMAGE ?= python:3.13-slim
VERSION ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
CREATED = $(shell python3 -c 'import sys, time; print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(sys.argv[1]))))' $(SOURCE_DATE_EPOCH))
# Real nodes need root; CI must run everything or fail.
NODES ?= $(if $(or $(filter 0,$(shell id -u)),$(filter true,$(CI))),both,fake)
CHECKED := operator tests tools $(wildcard bench)

# uv and Go builds of the test cluster find the uv that the bootstrap may have installed.
export PATH := $(PATH):$(CURDIR)/.venv-tools/bin
ifdef PYTHON
export PYTHON
endif

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast faults lint format generate pictures verify programs cluster-up cluster-down cluster-status e2e demo-cluster demo-cluster-down conformance bench-jobs bench-readers bench-start bench-idle image sbom audit clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## Run the airports example on this machine: no cluster, no container
	@$(PY) -m maprun demo

test: lint verify programs ## Everything: checks, then all tests, on a real Kubernetes and a real S3 server
	@echo "== All tests"
	@$(PY) -m pytest $(ARGS)

test-fast: $(DEV) ## The tests that need no cluster and no server
	@$(PY) -m pytest tests/unit -q -n 4 $(ARGS)

faults: programs ## Every fault of docs/reliability.md (about 15 minutes)
	@$(PY) -m pytest tests/faults -m faults -q $(ARGS)

lint: $(DEV) ## ruff and mypy
	@echo "== ruff"
	@$(PY) -m ruff check $(CHECKED)
	@$(PY) -m ruff format --check $(CHECKED)
	@echo "== mypy"
	@$(PY) -m mypy

format: $(DEV) ## Put the code into its form
	@$(PY) -m ruff check --fix-only $(CHECKED)
	@$(PY) -m ruff format $(CHECKED)

generate: $(DEV) ## Write what is generated: the CRD, the dashboard, the chart's README, deploy/
	@$(PY) -m tools.crd
	@$(PY) -m tools.dashboard
	@$(PY) -m tools.chart

pictures: $(DEV) ## Draw docs/pictures from a real Prometheus (about 4 minutes)
	@$(PY) -m tests.monitoring.pictures $(ARGS)

verify: $(DEV) ## Fail when something generated is old, or a layer is broken
	@echo "== Generated files, lock file, layers"
	@$(PY) -m tools.crd --check
	@$(PY) -m tools.dashboard --check
	@$(PY) -m tools.chart --check
	@"$$(cat .venv/.uv)" lock --check --quiet || { echo "uv.lock does not match pyproject.toml: run 'uv lock'"; exit 1; }
	@.venv/bin/lint-imports --no-logo

programs: $(DEV) ## Build the test cluster's programs, once (about 20 minutes on 2 cores from nothing)
	@echo "== Programs of the test cluster ($(NODES) nodes)"
	@$(PY) -m tests.cluster build --nodes $(NODES)

cluster-up: NODES = fake
cluster-up: $(DEV) ## Start a real Kubernetes that stays; NODES=fake, real or both
	@$(PY) -m tests.cluster up --nodes $(NODES) $(ARGS)

cluster-down: $(DEV) ## End it, and leave nothing behind
	@$(PY) -m tests.cluster down $(ARGS)

cluster-status: $(DEV) ## Show what runs
	@$(PY) -m tests.cluster status

e2e: programs ## As a user: image, helm install, examples, upgrade, uninstall, step by step
	@$(PY) -m pytest tests/e2e/test_journey.py -s -q $(ARGS)

demo-cluster: $(DEV) ## A cluster with MapRun and a first run, which stays (Linux, root)
	@$(PY) -m tools.demo_cluster

demo-cluster-down: $(DEV) ## Take it down
	@$(PY) -m tests.cluster down --name demo

conformance: $(DEV) ## Run recorded cases: CASES=folder, AREA='reader-* context'
	@test -n "$(CASES)" || { echo "say where the cases are: make conformance CASES=folder"; exit 1; }
	@set -f; $(PY) -m tools.conformance "$(CASES)" $(foreach area,$(AREA),--area '$(area)')

bench-jobs: $(DEV) ## Measure Jobs a second through a MapRun against the raw floor
	@$(PY) -m bench.jobs $(ARGS)

bench-readers: $(DEV) ## Measure the readers against the bare libraries
	@$(PY) -m bench.readers $(ARGS)

bench-start: $(DEV) ## Measure how soon the operator works; ARGS=--image: as a pod
	@$(PY) -m bench.start $(ARGS)

bench-idle: $(DEV) ## Measure what 1,000 finished runs cost the operator (about 4 minutes)
	@$(PY) -m bench.idle $(ARGS)

image: ## Build the container image, with docker, podman or buildah; IMAGE=name, PYTHON_IMAGE=base
	@builder=$$(command -v docker || command -v podman || command -v buildah) \
	    || { echo "needs docker, podman or buildah"; exit 1; }; \
	case $$builder in */docker) times= ;; *) times="--timestamp $(SOURCE_DATE_EPOCH)" ;; esac; \
	"$$builder" build $$times --build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) --build-arg VERSION=$(VERSION) \
	    --build-arg REVISION=$(REVISION) --build-arg CREATED=$(CREATED) \
	    --build-arg SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) --tag $(IMAGE) .

sbom: $(DEV) ## Write the bill of materials, dist/maprun.cdx.json
	@SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(PY) -m tools.sbom

audit: $(DEV) ## Look the locked packages up in PyPI's advisory database; needs the network
	@mkdir -p build
	@"$$(cat .venv/.uv)" export --frozen --no-dev --no-emit-project --quiet --format requirements.txt --output-file build/requirements.txt
	@"$$(cat .venv/.uv)" tool run pip-audit --strict --require-hashes --disable-pip --progress-spinner off \
	    --requirement build/requirements.txt --requirement tools/image-tools.txt

clean: ## Remove what make made here (not the test cluster's programs in the user's cache)
	rm -rf .venv .venv-tools dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find operator tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME): pyproject.toml uv.lock tools/bootstrap.sh
	@tools/bootstrap.sh runtime

$(DEV): pyproject.toml uv.lock tools/bootstrap.sh
	@tools/bootstrap.sh dev

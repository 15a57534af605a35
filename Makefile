# Every command a developer or a newcomer needs. `make help` lists them.
#
# The virtual environment (.venv) is made by `make setup` and remade when pyproject.toml or
# constraints.txt change. The local cluster and everything that is built for it live outside the
# tree, in $XDG_CACHE_HOME/sid-operator (~/.cache/sid-operator), keyed by what they are built from.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests that need no cluster run in so many processes; a file of tests stays in one.
TEST_PROCESSES ?= 2
KUBECONFIG_FILE := $(if $(filter current,$(CLUSTER)),$(KUBECONFIG),$(CURDIR)/.dev/kubeconfig)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## Make the virtual environment .venv with everything that development needs

$(STAMP): pyproject.toml constraints.txt tools/setup.sh
	PYTHON=$(PYTHON) tools/setup.sh $(VENV)
	@touch $@

.PHONY: lint
lint: setup ## Check style, types, layers, generated files and the chart
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests/cluster
	$(BIN)/lint-imports
	$(BIN)/python -m sid_operator.crd --check

.PHONY: prepared
prepared: setup ## Build what the tests share and take minutes for: MinIO, a teacher (once)
	$(BIN)/python -m tests.prepared

.PHONY: test
test: lint prepared ## Run lint and all tests, those on a real local cluster included (starts it)
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile tests/unit tests/integration
	$(MAKE) --no-print-directory cluster-up
	KUBECONFIG=$(KUBECONFIG_FILE) $(BIN)/python -m pytest tests/cluster

.PHONY: test-fast
test-fast: setup prepared ## Run the tests that need no cluster
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile tests/unit tests/integration

.PHONY: test-gates
test-gates: setup ## Distil a digits teacher of each family; every student must pass the gate (long)
	$(BIN)/python -m pytest -m gate tests/integration/trainer/test_digits_gate.py -s

.PHONY: test-campaigns
test-campaigns: setup ## Break things by the hundred: stores, pods, operator, API server; hostile resources (long)
	$(BIN)/python -m pytest -m campaign tests/unit tests/integration -s
	$(MAKE) --no-print-directory cluster-up
	KUBECONFIG=$(KUBECONFIG_FILE) $(BIN)/python -m pytest -m campaign tests/cluster -s

.PHONY: test-mutants
test-mutants: setup ## Make each known mistake in the method; a test must find every one
	$(BIN)/python -m tests.mutants

.PHONY: cluster-up
cluster-up: setup ## Start the local cluster with MinIO and the operator; kubeconfig in .dev/kubeconfig
	$(BIN)/python -m tests.cluster.local up
	$(BIN)/python -m tests.cluster.local images
	$(BIN)/python -m tests.cluster.install

.PHONY: cluster-down
cluster-down: ## Stop the local cluster and remove what it left on the machine
	$(PYTHON) -m tests.cluster.local down

.PHONY: demo
demo: setup ## Distil a small trained teacher on a real cluster and show the result
	@if [[ "$(CLUSTER)" != current ]]; then $(MAKE) --no-print-directory cluster-up; fi
	KUBECONFIG=$(KUBECONFIG_FILE) $(BIN)/python -m tests.cluster.demo

.PHONY: images
images: setup ## Build the operator's and the trainer's image into the local cluster's containerd
	$(BIN)/python -m tests.cluster.local images

.PHONY: crds
crds: setup ## Generate the CRD from the pydantic models
	$(BIN)/python -m sid_operator.crd

.PHONY: docs
docs: setup ## Generate the API reference from the models, the chart's README from its values
	$(BIN)/python -m sid_operator.crd
	$(BIN)/python -m tests.cluster.chart_readme

.PHONY: bench
bench: setup ## Measure speed, as ratios taken side by side in one run
	$(BIN)/python -m tests.bench

.PHONY: bench-operator
bench-operator: setup ## Measure what the operator costs an API server at 1,000 resources, beside Kubeflow Trainer
	$(BIN)/python -m tests.cluster.scale

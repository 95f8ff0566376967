# Everything this project does, as commands. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
PY := .venv/bin/python
WORKERS ?= 2
# Tests with processes and with control planes (0.7 GiB a worker) wait for most of their time: for pods, scrapes, steps.
COMPONENT_WORKERS ?= 4
CLUSTER_WORKERS ?= 5
# What the demo is run with: `make demo ARGS="--replicas 4"`.
ARGS ?=
export PYTHONPATH := $(CURDIR)/operator/src:$(CURDIR)/inference-image/src:$(CURDIR)/hack/devcluster/src:$(CURDIR)/hack/demo/src:$(CURDIR)/hack/release/src
PYTEST := $(PY) -m pytest
# The longest first, one by one; those of a file that share a module's fixture together (conftest.py).
GROUPS := --dist loadscope --no-loadscope-reorder
UNIT := $(PYTEST) -n $(WORKERS) -m "not property" tests/unit
FAULTS_SHORT := tests/cluster/operator/test_operator_rollout.py -k "healthy or newer_candidate or deleting"
PROPERTIES := $(PYTEST) -n $(WORKERS) $(GROUPS) -m property tests/unit
DEVCLUSTER := $(PYTEST) -n $(WORKERS) $(GROUPS) -m "not e2e" hack/devcluster/tests

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ The two that matter
.PHONY: demo demo-down
demo: demo-venv ## Roll out a better model, then two bad ones, on a real kind cluster, under load
	@.venv-demo/bin/python -m demo $(ARGS)
demo-down: demo-venv ## Remove everything the demo made (caches stay)
	@.venv-demo/bin/python -m demo --down $(ARGS)

.PHONY: test
test: lint test-pods-and-unit test-component test-cluster ## Run every check and every test
	$(DEVCLUSTER)

##@ Tests, one kind at a time (a test needs what its folder says)
.PHONY: check lint test-unit test-property test-component test-cluster test-faults test-e2e test-devcluster test-pods-and-unit coverage nightly
check: lint ## Format, lint, types, layers and the unit tests with few random examples: two minutes
	HYPOTHESIS_PROFILE=quick $(PYTEST) -n $(WORKERS) tests/unit
lint: venv ## Format, lint, types, layers
	@hack/step "Format (ruff format)" .venv/bin/ruff format --check .
	@hack/step "Lint (ruff check)" .venv/bin/ruff check .
	@hack/step "Types (mypy --strict)" .venv/bin/mypy operator/src inference-image/src hack/devcluster/src hack/demo/src hack/release/src
	@hack/step "Layers (import-linter)" .venv/bin/lint-imports
test-unit: venv ## Tests that need nothing but Python
	$(UNIT)
test-property: venv ## Tests by 5,000 random histories of a rollout and 300 simulated operators
	$(PROPERTIES)
test-component: venv ## Tests with a real Prometheus, helm, Chromium and server processes
	$(PYTEST) -n $(COMPONENT_WORKERS) $(GROUPS) tests/component
test-cluster: venv ## Tests on a real API server and a real Prometheus
	$(PYTEST) -n $(CLUSTER_WORKERS) $(GROUPS) tests/cluster
	@# Three of them once more through a fault proxy; all of them: make test-faults
	FAULTS=$(or $(FAULTS),1) $(PYTEST) -n 3 $(GROUPS) $(FAULTS_SHORT)
test-faults: venv ## The same through a fault proxy, seed FAULTS=1; replay one: FAULTS=17 TESTS=tests/cluster/x.py::test_y
	FAULTS=$(or $(FAULTS),1) $(PYTEST) -n $(CLUSTER_WORKERS) $(GROUPS) $(or $(TESTS),tests/cluster)
test-e2e: venv ## Tests on real pods in a kind cluster
	$(PYTEST) -v tests/e2e
test-devcluster: venv ## Tests of the tool that makes the clusters (hack/devcluster), of all kinds
	$(DEVCLUSTER)
	$(PYTEST) -v hack/devcluster/tests/e2e
test-pods-and-unit: venv ## Tests on real pods of both kinds, in one kind cluster, and all unit tests with the CPU that the pods leave
	@hack/side-by-side pods '$(PYTEST) -v tests/e2e hack/devcluster/tests/e2e' unit 'nice -n 19 $(UNIT) && nice -n 19 $(PROPERTIES)'
coverage: venv ## The same tests with a coverage report in htmlcov/
	$(PYTEST) -n $(WORKERS) --cov --cov-report=html --cov-report=term -m "unit or component"
nightly: venv ## 200,000 random histories, 10,000 simulated operators, the cluster tests through a fault proxy, every mutant
	HYPOTHESIS_PROFILE=nightly $(PYTEST) -n $(WORKERS) $(GROUPS) --timeout 0 -m property -k histories tests/unit
	@$(SIMULATE) --seeds 10000 --jobs $(WORKERS)
	$(MAKE) test-faults FAULTS=$$(date +%j)
	FAULT_SECONDS=600 $(PYTEST) --timeout 0 tests/cluster/scenarios/test_faults_named.py -k cut_at_random
	@$(MUTATION) --workers $(WORKERS)

##@ Mutation testing (docs/design/mutation.md)
.PHONY: mutation
MUTATION := $(PY) -m tests.support.mutation
mutation: venv ## Change the code in small ways: which does no unit test notice? PACKAGE=decision MODULE=replicas SAMPLE=150 MUTATION_SEED=1
	@$(MUTATION) $(PACKAGE) --module "$(MODULE)" --sample "$(or $(SAMPLE),0)" --seed "$(or $(MUTATION_SEED),1)" --workers $(WORKERS) $(if $(RESUME),--resume)

##@ Simulation of the whole operator (docs/design/simulation.md)
.PHONY: simulate simulate-mutants
SIMULATE := $(PY) -m tests.support.simulation
SEEDS ?= 1000
simulate: venv ## Run SEEDS=1000 seeds with everything that can go wrong, or replay one with its trace: SEED=17
	@$(SIMULATE) $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --jobs $(WORKERS))
simulate-mutants: venv ## Put mended defects back one at a time: within how many seeds is each found?
	@$(PY) -m tests.support.simulation.mutants

##@ Measurements
.PHONY: bench
bench: venv ## Measure reaction, cost and inference; results as in docs/benchmarks.md
	$(PY) -m tests.benchmarks

##@ Clusters and images
.PHONY: cluster-up cluster-down cluster-status kind-up kind-down images
cluster-up: venv ## Start a control plane (etcd, API server, controllers) for development
	@$(PY) -m devcluster up
cluster-down: venv ## Stop it and remove all it made
	@$(PY) -m devcluster down
cluster-status: venv ## Say what runs
	@$(PY) -m devcluster status
kind-up: venv ## Start a kind cluster from kind-config.yaml (with a Docker daemon of its own where there is none)
	@$(PY) -m devcluster kind-up
kind-down: venv ## Remove it
	@$(PY) -m devcluster kind-down
images: venv ## Build the images and load them into the kind cluster
	@$(PY) -m demo --build-only --build-cluster --cluster modelrollout

##@ Release
.PHONY: dist
dist: venv ## Make the files to install from, in dist/ (IMAGE_REPOSITORY=, OPERATOR_DIGEST=, INFERENCE_DIGEST=, RELEASE_URL=)
	@$(PY) -m release --out dist --image-repository "$(IMAGE_REPOSITORY)" --operator-digest "$(OPERATOR_DIGEST)" \
	  --inference-server-digest "$(INFERENCE_DIGEST)" --url "$(RELEASE_URL)"

##@ Upkeep
.PHONY: generate format lock clean clean-cache venv demo-venv
generate: venv ## Write again what is generated: CRD, reference, dashboards
	@hack/generate
format: venv ## Format the code
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .
lock: venv ## Pin the requirements anew
	@hack/step "Resolving and hashing requirements" hack/requirements/compile.sh
clean: ## Remove what was built here
	rm -rf .venv .venv-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache htmlcov out dist
clean-cache: venv ## Remove built binaries and images as well
	@$(PY) -m devcluster clean-cache

# The environment is made again when the requirements change, and only then.
STAMP := .venv/.made-from-$(shell cat hack/requirements/dev.txt */pyproject.toml hack/*/pyproject.toml 2>/dev/null | cksum | tr -d ' ')
venv: $(STAMP) ## Make the Python environment in .venv
$(STAMP):
	@hack/ensure-python $(PYTHON)
	@hack/step "Creating .venv" $(PYTHON) -m venv --clear .venv
	@hack/step "Installing Python packages, each checked by hash" .venv/bin/python hack/install-locked hack/requirements/dev.txt
	@hack/step "Installing this project" .venv/bin/pip install --no-input --disable-pip-version-check --no-build-isolation --no-deps -e operator -e inference-image -e hack/devcluster -e hack/demo -e hack/release
	@touch $@

# The demo needs what the operator needs, and none of the tools for development.
DEMO_STAMP := .venv-demo/.made-from-$(shell cat operator/requirements.txt 2>/dev/null | cksum | tr -d ' ')
demo-venv: $(DEMO_STAMP) ## Make the Python environment of the demo in .venv-demo
$(DEMO_STAMP):
	@hack/ensure-python $(PYTHON)
	@hack/step "Creating .venv-demo" $(PYTHON) -m venv --clear .venv-demo
	@hack/step "Installing Python packages, each checked by hash" .venv-demo/bin/python hack/install-locked operator/requirements.txt -- --only-binary :all:
	@touch $@

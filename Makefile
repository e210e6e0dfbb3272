# Targets for people; `make` lists them.
.DEFAULT_GOAL := help
.PHONY: help setup up down demo demo-picture dead-letters replay discard test unit replay-drill k8s-test alerts-test chart dashboard dashboard-picture bench bench-more bench-profile fuzz simulate mas-test asyncapi vulnerabilities docs check release update-test lock clean
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## Make the virtual environment from the locked requirements

$(VENV)/.ready: requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import venv, ensurepip' || (echo "the venv module is missing (Debian: python3-venv)"; exit 1)
	@echo "setting up $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(RUN)/python -m pip install -q --require-hashes -r requirements-dev.txt
	@$(RUN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

up: setup ## Start Kafka, Synapse and the function, and keep them running; MAS=1: with a stand-in for MAS
	@$(RUN)/python -m dev up $(if $(MAS),--mas)

down: setup ## Stop what `make up` started
	@$(RUN)/python -m dev down

demo: setup ## Run about twenty events through the real stack and show the outcomes; MAS=1: with a stand-in for MAS
	@$(RUN)/python -m dev.demo $(if $(MAS),--mas)

demo-picture: setup ## Run the demo and draw what it shows as docs/demo.svg
	@$(RUN)/python -m dev.demo --picture docs/demo.svg

dead-letters: setup ## Show the local stack's dead letters; ARGS="--help" lists what else it can show
	@$(RUN)/python -m dev letters dead-letters $(ARGS)

replay: setup ## Replay the local stack's dead letters; ARGS="--dry-run --reason synapse_error"
	@$(RUN)/python -m dev letters replay $(ARGS)

discard: setup ## Discard dead letters of the local stack; ARGS='--reason not_json --why "a test"'
	@$(RUN)/python -m dev letters discard $(ARGS)

test: setup ## Set up and run all tests, on real servers
	@$(RUN)/python -m dev tools
	@$(RUN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

unit: setup ## Run the tests that need no servers, on all cores
	@$(RUN)/python -m pytest tests/unit tests/docs tests/benchmarks tests/manifests tests/simulation -n auto --dist loadfile --no-loadscope-reorder

bench: setup ## Measure against peers and limits; QUICK=1: two minutes, correctness only; ARGS="--only noise --runs 1"
	@$(RUN)/python -m dev tools
	@$(RUN)/python -m benchmarks $(if $(QUICK),--quick) $(ARGS)

bench-more: setup ## Measure components, batches, pods, a distant store, troubles, a switch-over, and memory over a million events
	@$(RUN)/python -m dev tools
	@$(RUN)/python -m benchmarks.studies.batches --keep
	@$(RUN)/python -m benchmarks.studies.distant_store --keep
	@$(RUN)/python -m benchmarks.studies.troubles --keep
	@$(RUN)/python -m benchmarks.studies.take_over --keep
	@$(RUN)/python -m benchmarks.studies.soak

bench-profile: setup ## Sample the running process on noise and show where its time goes
	@$(RUN)/python -m dev tools
	@$(RUN)/python -m benchmarks.studies.stages
	@$(RUN)/python -m benchmarks.studies.profiling

replay-drill: setup ## Break 60 of 2,000 events in eight ways, fix the causes, replay, and count (part of `make test`)
	@$(RUN)/python -m dev tools
	@$(RUN)/python -m pytest tests/integration/test_replay_drill.py tests/integration/test_replay_faults.py

k8s-test: setup ## Apply the manifests to a real API server with Dapr and run the function there; QUICK=1: the main part
	@$(RUN)/python -m dev.k8s
	@$(RUN)/python -m pytest tests/k8s $(if $(QUICK),-m quick)

alerts-test: setup ## Verify with promtool that each alert fires when it should, and only then
	@$(RUN)/python -m dev.monitoring.alerts

chart: setup ## Write the Helm chart's templates and schema from the kustomize files
	@$(RUN)/python -m dev.chart

dashboard: setup ## Write the Grafana dashboard from dev/monitoring/dashboard.py
	@$(RUN)/python -m dev.monitoring.dashboard

dashboard-picture: setup ## Draw the dashboard from two minutes of a real run (builds Prometheus)
	@$(RUN)/python -m dev.monitoring.snapshot

fuzz: setup ## Feed the decoder garbage for ten minutes; ARGS="--minutes 1"
	@$(RUN)/python -m tests.fuzz $(ARGS)

SEEDS ?= 200000
simulate: setup ## Run pods, Kafka and Synapse in virtual time with faults; SEEDS=200000, ARGS="--seed 17" shrinks one
	@$(RUN)/python -m tests.simulation --seeds $(SEEDS) --jobs 2 $(ARGS)

mas-test: setup ## Test what the project relies on in MAS, on the stand-in; MAS_URL=... on a real one
	@$(RUN)/python -m dev tools
	@$(RUN)/python -m pytest tests/contract/mas

vulnerabilities: setup ## Look up known vulnerabilities of the image's locked dependencies (needs a database on the network)
	@$(RUN)/python -m pip_audit --require-hashes --disable-pip -r requirements.txt -r requirements-build.txt $(ARGS)

COG := $(RUN)/python -m cogapp -p "from dev import reference; from dev.contents import contents" --verbosity=1
GENERATED := README.md $(wildcard docs/*.md) $(wildcard docs/reference/*.md)
docs: setup ## Write the reference pages and the contract for producers from the code
	@$(COG) -r $(GENERATED)
	@$(RUN)/python -m dev.contract

check: setup ## Lint, types, layers, the Dockerfile, workflows, English, and whether reference pages and contract are up to date
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check .
	@$(RUN)/mypy
	@$(RUN)/lint-imports
	@$(RUN)/hadolint Dockerfile
	@$(RUN)/zizmor --offline --quiet --no-progress .github/workflows
	@$(RUN)/python -m dev.prose
	@$(COG) --check --check-fail-msg="run: make docs" $(GENERATED)
	@$(RUN)/python -m dev.contract --check

release: setup ## Build what a release publishes into dist/ (docs/releasing.md); BASE=python:...@sha256:... for the image
	@$(RUN)/python -m dev.release $(if $(BASE),--base $(BASE)) $(ARGS)

update-test: setup ## Run pods of an earlier release and of this one on the same users: FROM=v0.1.0, or any commit
	@git rev-parse --verify --quiet "$(or $(FROM),HEAD)^{commit}" >/dev/null || (echo "FROM=$(FROM) is no tag or commit of this repository"; exit 1)
	@$(RUN)/python -m dev tools
	@UPDATE_FROM=$(FROM) $(RUN)/python -m pytest tests/integration/test_rolling_update.py

ASYNCAPI := dev/.tools/asyncapi
asyncapi: ## Validate docs/contract/asyncapi.yaml with AsyncAPI's own parser (needs Node; fetches the parser with npm)
	@npm install --prefix $(ASYNCAPI) --no-save --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error @asyncapi/parser@3.6.3
	@node dev/contract/validate.mjs $(ASYNCAPI) docs/contract/asyncapi.yaml

LOCK := uv pip compile -q --generate-hashes --no-emit-index-url --universal --python-version 3.11 --custom-compile-command "make lock"
lock: ## Renew the lock files (needs uv)
	@$(LOCK) pyproject.toml --extra traces -o requirements.txt
	@$(LOCK) pyproject.toml --extra traces --group dev -o requirements-dev.txt
	@$(LOCK) --group pyproject.toml:build -o requirements-build.txt
	@$(LOCK) --group bench -o requirements-bench.txt
	@$(LOCK) dev/synapse/requirements.in -o dev/synapse/requirements.txt

clean: ## Stop the stack and remove everything that was made
	@if [ -x $(RUN)/python ]; then $(RUN)/python -m dev down --purge; fi
	@rm -rf $(VENV) dev/.tools dev/.run .dapr

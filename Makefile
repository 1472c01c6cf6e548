# ScienceBox GPU. Everything starts here; `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Which settings a deployment command uses.
SETTINGS ?= deploy/sciencebox.yaml
ARGS ?=
# Which values a deployment on Kubernetes uses, in which namespace, and where the charts are if no registry answers.
VALUES ?= deploy/helm/examples/one-node.yaml
NAMESPACE ?= sciencebox
CHARTS ?=
export SETTINGS
# What people write reaches a command by its environment: no shell reads it.
export REASON TO FROM GPU VALUES NAMESPACE CHARTS

PYTHON_SOURCES := spawner cvmfs notebooks/brainmri images/session/sciencebox_session tests
DOCKERFILES = $(shell git ls-files '*Dockerfile')
SHELL_SOURCES = $(shell git ls-files '*.sh' '*/keep' .ci/run 2>/dev/null)

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##### The service

.PHONY: deploy demo down destroy backup restore status doctor usage drain undrain quarantine release stack repository
deploy: ## Set up the service on this server, or bring it up to date.
	@deploy/host/run.sh deploy $(ARGS)

demo: ## The same with two SIMULATED GPUs and demo users, beside a real deployment.
	@deploy/host/run.sh demo $(ARGS)

down: ## Stop the service; files, accounts and the stack are kept.
	@deploy/host/run.sh down $(ARGS)

destroy: ## Remove the service with everything in its data folder; asks first.
	@deploy/host/run.sh destroy $(ARGS)

backup: ## Write accounts, homes and datasets into an archive: TO=/mnt/backup/sciencebox.tar.gz.
	@deploy/host/run.sh backup $${TO:+"$$TO"} $(ARGS)

restore: ## Unpack a backup on a server without data: FROM=/mnt/backup/sciencebox.tar.gz; then `make deploy`.
	@deploy/host/run.sh restore $${FROM:+"$$FROM"} $(ARGS)

status: ## What is running, and who holds which GPU.
	@deploy/host/run.sh status $(ARGS)

doctor: ## Check this server, and say what to do where something is wrong.
	@deploy/host/run.sh doctor $(ARGS)

usage: ## Who used the GPUs how much; ARGS="--by group --from 2026-11-01 --csv".
	@deploy/host/run.sh usage $(ARGS)

drain: ## Take a GPU out of service: GPU=0 REASON="fan is replaced".
	@deploy/host/run.sh drain $${GPU:+"$$GPU"} --reason "$$REASON"

undrain: ## Put a GPU back into service: GPU=0.
	@deploy/host/run.sh undrain $${GPU:+"$$GPU"}

quarantine: ## Put a GPU that does not work well into quarantine: GPU=0 REASON="wrong results".
	@deploy/host/run.sh quarantine $${GPU:+"$$GPU"} --reason "$$REASON"

release: ## Release a GPU from quarantine: GPU=0.
	@deploy/host/run.sh release $${GPU:+"$$GPU"}

stack: ## Build and publish the software stack that sessions see under /cvmfs.
	@deploy/host/run.sh stack $(ARGS)

repository: ## Look after the published stack: ARGS="tags", "rollback TAG", "gc", "verify --full" or "resign".
	@deploy/host/run.sh repository $(ARGS)

##### The service on Kubernetes

.PHONY: deploy-k8s k8s-images images
deploy-k8s: ## Set up the service on a Kubernetes cluster: VALUES=FILE; ARGS=--check only looks at it.
	@deploy/host/run.sh deploy-k8s --values "$$VALUES" --namespace "$$NAMESPACE" $${CHARTS:+--charts "$$CHARTS"} $(ARGS)

images: ## Build the images alone, with this machine's container engine, to push them to a registry.
	@deploy/host/run.sh images $(ARGS)

k8s-images: ## List the images that a cluster needs: VALUES=FILE.
	@deploy/host/run.sh k8s-images --values "$$VALUES" $${CHARTS:+--charts "$$CHARTS"}

##### Development

.PHONY: venv
venv: .venv/finished ## Make .venv with all development tools and the three packages, editable.

.venv/finished: requirements/test.txt spawner/pyproject.toml cvmfs/pyproject.toml notebooks/pyproject.toml
	@tests/tools/venv.sh .venv
	@touch $@

.PHONY: test test-tools lint format bench notebooks chart
# Hundreds of processes import the same modules: compiled once, whatever the caller's environment says of that.
test bench: export PYTHONDONTWRITEBYTECODE :=

test: venv ## Run every test for which this machine has the parts; lists what was skipped, and why.
	@.venv/bin/python -m pytest --numprocesses 2 --no-loadscope-reorder $(ARGS)

test-tools: venv ## Build the parts that tests need and a distribution lacks, into a cache.
	@tests/tools/build.sh
	@deploy/host/run.sh settings reference > /dev/null
	@.venv/bin/python -m tests.tools.images
	@tests/tools/stack.sh

lint: venv ## Check style, types, shell scripts, Dockerfiles, notebooks and the chart.
	@.venv/bin/ruff check $(PYTHON_SOURCES)
	@.venv/bin/ruff format --check $(PYTHON_SOURCES)
	@.venv/bin/mypy
	@.venv/bin/shellcheck $(SHELL_SOURCES)
	@.venv/bin/nbstripout --keep-id --verify notebooks/*.ipynb
	@.venv/bin/hadolint $(DOCKERFILES)
	@.venv/bin/python -m tests.unit.helm.chart lint

format: venv ## Format the Python sources and strip notebooks' outputs.
	@.venv/bin/ruff check --fix $(PYTHON_SOURCES)
	@.venv/bin/ruff format $(PYTHON_SOURCES)
	@.venv/bin/nbstripout --keep-id notebooks/*.ipynb

bench: venv ## Measure click-to-ready and more, in pairs; writes docs/benchmarks.md.
	@.venv/bin/python -m tests.bench $(ARGS)

chart: venv ## Render the chart with those it depends on, for each example; CHARTS=FOLDER where no registry answers.
	@.venv/bin/python -m tests.unit.helm.chart whole $(CHARTS)

notebooks: venv ## Run every notebook to the end in the published stack.
	@.venv/bin/python -m pytest tests/notebooks $(ARGS)

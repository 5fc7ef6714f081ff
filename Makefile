# Every target works in a fresh clone: what it needs is set up first.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/jupyter-scheduler-k8s
# Where uv isn't installed, this one, from PyPI, in a folder of its own.
UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv),$(CACHE)/uv-$(UV_VERSION)/bin/uv)
RUN := $(UV) run --locked --quiet

include local-dev/local.mk

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

.PHONY: environment
environment: $(UV) ## install the locked Python environment into .venv
	@$(UV) sync --locked --quiet

$(CACHE)/uv-$(UV_VERSION)/bin/uv:
	@echo "uv is not installed: installing uv $(UV_VERSION) into $(CACHE)"
	@bash local-dev/install-uv $(UV_VERSION) $(CACHE)/uv-$(UV_VERSION)

# The JupyterLab extension, for the checkout's own environment. A wheel has it inside.
node_modules/.package-lock.json: package-lock.json package.json
	@command -v npm >/dev/null || { echo "Node 20.19 or later with npm is missing: install it, then try again." >&2; exit 1; }
	@npm ci --silent --no-progress
	@touch $@

labextension/package.json: node_modules/.package-lock.json tsconfig.json labcore/package.json $(wildcard src/*.ts src/*.tsx)
	@npm run --silent build >labextension.log 2>&1 || { cat labextension.log; exit 1; }
	@rm labextension.log

LABEXTENSIONS := .venv/share/jupyter/labextensions

.PHONY: labextension
labextension: environment labextension/package.json ## build the JupyterLab extension for this checkout
	@mkdir -p $(LABEXTENSIONS)
	@ln -sfn ../../../../labextension $(LABEXTENSIONS)/jupyter-scheduler-k8s

.PHONY: demo
demo: environment cluster ## run an example notebook on the cluster, from JupyterLab's REST API to its outputs
	@PYTHONPATH=local-dev $(RUN) python -m local_lab demo

.PHONY: lab
lab: environment labextension cluster ## start JupyterLab with this backend on the local cluster
	@PYTHONPATH=local-dev $(RUN) python -m local_lab lab

.PHONY: lint
lint: environment ## format, lint, types and the import contract
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) mypy
	@PYTHONPATH=image $(RUN) lint-imports

.PHONY: test-unit
test-unit: environment ## unit and fault tests: no cluster, no network
	@$(RUN) pytest -q tests/unit tests/faults

# Warnings of old releases are not ours to mend.
.PHONY: test-lowest
test-lowest: $(UV) ## unit and fault tests with the oldest releases that pyproject.toml allows
	@$(UV) run --isolated --quiet --python 3.11 --resolution lowest-direct --with 'jupyter-scheduler==2.11.0' pytest -q -W default tests/unit tests/faults

.PHONY: test-frontend
test-frontend: node_modules/.package-lock.json ## what the form checks and sends, without a browser
	@npm run --silent lint
	@npm run --silent compile
	@node --test tests/frontend/*.test.mjs

.PHONY: test-ui
test-ui: environment labextension cluster ## forms and whole flows in Chromium; pictures of them go to pictures/
	@CHROMIUM=$$(bash local-dev/install-chromium) UV=$(UV) $(RUN) pytest -q tests/ui

.PHONY: pictures
pictures: environment labextension cluster ## take the pictures of the README from the running product
	@CHROMIUM=$$(bash local-dev/install-chromium) PYTHONPATH=local-dev:tests $(RUN) python -m ui.pictures

.PHONY: test-cluster
test-cluster: environment cluster test-images ## tests on the local cluster
	@$(RUN) pytest -q tests/cluster
	@$(RUN) pytest -q -c tests/upstream/pytest.ini tests/upstream

.PHONY: test
test: lint test-unit test-frontend test-lowest test-ui test-cluster ## everything that CI runs

.PHONY: chaos
chaos: environment cluster ## 200 runs while servers and containers are killed; COUNT= and SEED= change that
	@PYTHONPATH=local-dev:tests $(RUN) python -m chaos --count $(or $(COUNT),200) --seed $(or $(SEED),1)

.PHONY: bench
bench: environment cluster ## measure the budgets, beside the stock scheduler and bare Jobs; ROWS= for some only
	@UV=$(UV) PYTHONPATH=local-dev:bench:tests $(RUN) python -m budgets --rows "$(ROWS)"

.PHONY: mutants
mutants: $(UV) ## change the code that decides, a little at a time, and see that tests notice
	@$(RUN) --group mutants mutmut run
	@$(RUN) --group mutants python tests/mutants.py

.PHONY: wheel
wheel: environment ## build the package
	@$(UV) build --quiet --out-dir dist && ls dist

.PHONY: clean
clean: cluster-down ## stop the cluster and remove what was built here
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache mutants dist node_modules lib labextension pictures

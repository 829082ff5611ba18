# Needs python3 (3.11 or later), make and git; uv is fetched if it is not here.

# The interpreter at hand: uv cannot download one everywhere.
PYTHON := $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$name -c 'import sys; assert sys.version_info >= (3, 11); print(sys._base_executable)' \
  2>/dev/null && break; done)
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv \
  || echo "$(CURDIR)/.local/tools/uv/bin/uv")
ifneq ($(PYTHON),)
export UV_PYTHON := $(PYTHON)
endif
export UV
export SAM_CLI_TELEMETRY := 0
# What is started some hundred times is compiled once, whatever is wanted elsewhere.
unexport PYTHONDONTWRITEBYTECODE

RUN = $(UV) run --locked --all-extras
# What shares a stack or a server stays with one worker: see tests/conftest.py.
PYTEST = $(RUN) pytest --numprocesses=auto --no-loadscope-reorder
TOOLS = $(CURDIR)/.local/tools
SAM = $(TOOLS)/sam/bin/sam
EXPORT = $(UV) export --quiet --frozen --no-dev --no-emit-project --no-header
# What layers/deps carries already, layers/deps-ssh does not.
PROVIDED = $$(sed -n 's/^\([a-z0-9.-]*\)==.*/--no-emit-package \1/p' layers/deps/requirements.txt)
REGION = --region us-east-1

.DEFAULT_GOAL := help

help: ## say what can be made
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) \
	  | while IFS="$$(printf '\t')" read -r name text; do printf '%-18s%s\n' "$$name" "$$text"; done

# Debian's python3 has neither venv nor pip unless they are installed.
$(TOOLS)/uv/bin/uv: BARE = $(or $(PYTHON),python3)
$(TOOLS)/uv/bin/uv:
	@echo "Fetching uv into .local/tools/uv"
	@rm -rf $(TOOLS)/uv && mkdir -p $(TOOLS)
	@$(BARE) -m venv $(TOOLS)/uv >/dev/null 2>&1 \
	  && $(TOOLS)/uv/bin/python -m pip install --quiet --disable-pip-version-check uv \
	  || { rm -rf $(TOOLS)/uv; $(BARE) -m pip --version >/dev/null 2>&1 && \
	    $(BARE) -m pip install --quiet --disable-pip-version-check --target $(TOOLS)/uv uv; } \
	  || { rm -rf $(TOOLS)/uv; $(BARE) local/fetch_uv.py $@; } \
	  || { rm -rf $(TOOLS)/uv; \
	    echo "See https://docs.astral.sh/uv/getting-started/installation/" >&2; exit 1; }

setup: $(UV) ## make the environment that all else runs in
	$(UV) sync --locked --all-extras

format: $(UV) ## put the code into its form
	$(RUN) ruff check --fix-only --exit-zero --quiet
	$(RUN) ruff format

lint: $(UV) ## look for what the linter knows to be wrong
	$(RUN) ruff check
	$(RUN) ruff format --check

types: $(UV) ## check the types
	$(RUN) mypy

floors: $(UV) ## check that imports go downwards only
	PYTHONPATH=functions:. $(RUN) lint-imports

test: $(UV) ## run all tests
	$(PYTEST)

test-unit: $(UV) ## run the tests without I/O
	$(PYTEST) tests/unit

test-integration: $(UV) ## run the tests against moto and a real sshd
	$(PYTEST) tests/integration

test-e2e: $(UV) ## run the tests against the deployed stack
	$(RUN) pytest tests/e2e

test-slow: $(UV) ## run the tests that take minutes: crowds, cuts, kills, floods
	CRONHOP_THOROUGH=4 $(RUN) pytest tests/slow tests/integration/test_cancel.py \
	  $(foreach what,fleet fleet_machine histories interleavings nights outages state_machine,tests/integration/test_$(what).py) \
	  tests/unit/test_schedule.py tests/unit/test_schedule_year.py

bench: export POWERTOOLS_LOG_LEVEL := CRITICAL
bench: $(UV) tools ## measure cold starts, write units, ticks, start lag, and SSH beside its peers
	$(RUN) python -m tests.benchmarks.cold_start
	$(RUN) python -m tests.benchmarks.write_units
	$(RUN) python -m tests.benchmarks.tick
	$(RUN) python -m tests.benchmarks.start_lag
	$(RUN) --group bench python -m tests.benchmarks.ssh

layers: $(UV) ## write the layers' requirements from uv.lock
	$(EXPORT) --output-file layers/deps/requirements.txt >/dev/null
	$(EXPORT) --extra ssh $(PROVIDED) --output-file layers/deps-ssh/requirements.txt >/dev/null

openapi: $(UV) ## write the OpenAPI document from the routes
	PYTHONPATH=functions $(RUN) python -m api.openapi

layers-check: $(UV)
	$(EXPORT) | diff - layers/deps/requirements.txt
	$(EXPORT) --extra ssh $(PROVIDED) | diff - layers/deps-ssh/requirements.txt

tools: $(UV)
	@$(RUN) python -m local tools

build: tools ## build the template for AWS
	cd infra && $(SAM) build

deploy: build ## deploy to AWS; the first time with ARGS=--guided
	cd infra && $(SAM) deploy $(ARGS)

run: $(UV) ## bring the whole stack up on this machine, and run a first task
	@$(RUN) python -m local up

token: $(UV) ## print an access token for the local stack
	@$(RUN) --quiet python -m local token

password: $(UV) ## print the password of the local stack's user
	@$(RUN) --quiet python -m local password

stop: $(UV) ## end the local stack; its state is kept
	@$(RUN) python -m local down

reset: $(UV) ## end the local stack and forget its state
	@$(RUN) python -m local reset

check: lint floors types layers-check tools ## check all that is not a test
	$(UV) lock --check
	$(SAM) validate --lint $(REGION) --template infra/template.yaml
	$(TOOLS)/sam/bin/cfn-lint infra/template.yaml
	cd infra && $(SAM) build
	$(RUN) python -m local build
	$(RUN) python -m local.layers

clean: ## remove what was built and cached, but not the local stack
	rm -rf .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf .local/build .local/build.toml .local/cache infra/.aws-sam
	find clients functions layers local tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help setup format lint types floors test test-unit test-integration test-e2e test-slow \
  bench layers openapi layers-check tools build deploy run token password stop reset check clean

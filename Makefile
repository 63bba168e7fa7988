PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links
# What the image installs: of the same versions, only what it needs.
IMAGE_LOCK := $(COMPILE) --quiet --constraints requirements.lock

.DEFAULT_GOAL := help
.PHONY: help run viewer test lint format bench lock clean

help: ## Show what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# Compiling is for speed alone; what some package ships for another Python cannot be, and is left.
$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

run: $(STAMP) ## Bring up the embedded province and the gateway in front of it
	@exec $(BIN)/gateway demo $(ARGS)

viewer: $(STAMP) ## Bring in OHIF with npm, once, as make run does
	@$(BIN)/gateway viewer

test: $(STAMP) ## Run every test (ARGS="-k name" to choose, "-n 2" for two at a time)
	$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP) ## Check style, types and the layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Put the code in shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## Measure against Orthanc, DCMTK, pynetdicom and pydicom (ARGS="a c" to choose)
	$(BIN)/python -m tests.bench $(ARGS)

lock: $(STAMP) ## Pin the newest dependencies that pyproject.toml allows
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) --all-extras pyproject.toml -o requirements.lock
	$(IMAGE_LOCK) pyproject.toml -o docker/locks/gateway.txt
	$(IMAGE_LOCK) pyproject.toml --extra province -o docker/locks/province.txt
	echo hatchling | $(IMAGE_LOCK) - -o docker/locks/build.txt

clean: ## Remove the environment and all caches
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

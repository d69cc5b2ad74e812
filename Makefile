# The manual: `make run` shows the platform at work, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
# The tests' databases and stores lie in memory where there is room: on a slow disk that is ten times quicker.
ROOM := $(shell { df -Pk /dev/shm; grep MemAvailable /proc/meminfo; } 2>/dev/null | \
	awk 'NR == 2 {free = $$4} /MemAvailable/ && free > 4000000 && $$2 > 8000000 {print "/dev/shm"}')

.PHONY: help run test coverage lint bench soak

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

run: $(READY) ## everything on this machine, with sample files, until Ctrl-C (ARGS=--exit-when-idle: until they are done)
	@$(BIN)/dsplatform up --demo $(ARGS)

test: $(READY) ## the whole test suite (ARGS="-k drop" for a part)
	@TMPDIR=$(or $(ROOM),$(TMPDIR),/tmp) $(BIN)/pytest -m "not soak" $(ARGS)

coverage: $(READY) ## the same, traced: half as long again; fails under the share that pyproject.toml demands
	@TMPDIR=$(or $(ROOM),$(TMPDIR),/tmp) $(BIN)/pytest --cov -m "not soak" $(ARGS)

lint: $(READY) ## format, lint, layers, types, definitions, migrations
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/lint-imports
	@$(BIN)/mypy
	@mkdir -p $(VENV)/dagster && DAGSTER_HOME=$(abspath $(VENV)/dagster) $(BIN)/dagster definitions validate -w workspace.yaml
	@$(BIN)/dsplatform db check

bench: $(READY) ## the README's figures, measured here
	@$(BIN)/python -m benchmarks $(ARGS)

soak: $(READY) ## hours of faults
	@$(BIN)/pytest -m soak --timeout 0 $(ARGS)

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,s3]'
	@touch $(READY)

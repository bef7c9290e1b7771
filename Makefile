# make serve [PORT=8000] [HOST=127.0.0.1] [BUNDLES=bundles/takecover]
# make test  [PYTEST_ARGS=...] [TEST_WORKERS=2]
# make lint   make docs   make site   make bench   make image
# make clean
#
# The first run creates .venv and installs what the target needs; later runs start at once.
# Wants Python 3.11 or newer (PYTHON=...), with pip and venv, and nothing else.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
BUNDLES ?= bundles/takecover
PYTEST_ARGS ?=
TEST_WORKERS ?= 2
IMAGE ?= dreamserve

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: serve test lint docs site bench image clean
.DELETE_ON_ERROR:

serve: $(VENV)/serve.stamp
	exec $(BIN)/dreamserve serve $(BUNDLES) --host $(HOST) --port $(PORT)

# Workers must collect the same tests in the same order, those of a set included.
test: $(VENV)/dev.stamp
	PYTHONHASHSEED=0 $(BIN)/python -m pytest --numprocesses $(TEST_WORKERS) --dist worksteal $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/dev.stamp
	$(BIN)/python docs/tables.py

site: $(VENV)/dev.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "build/site/index.html"

# Needs wrk, chromium, ViZDoom, two cores, and the machine to itself for about an hour and a half.
bench: $(VENV)/dev.stamp benchmarks/.peers/stamp
	set -e; for script in camera http_step 'http_step --world lstm512-z64' batch_step plan \
		plan_beside_steps plan_budget plan_quality plan_trees evolve takecover \
		durability survival \
		'takecover --real-time --episodes 25' capacity startup stream_step training vector_env \
		playground; do \
		set -- $$script; name=$$1; shift; $(BIN)/python benchmarks/$$name.py "$$@"; done

benchmarks/.peers/stamp: benchmarks/peers/requirements.txt benchmarks/peers/install
	benchmarks/peers/install
	@touch $@

image:
	docker build --tag $(IMAGE) .

clean:
	rm -rf $(VENV) build

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is older: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# To serve, torch is not needed and not installed.
$(VENV)/serve.stamp: $(BIN)/python constraints.txt protocol/pyproject.toml service/pyproject.toml
	$(PIP) --editable protocol --editable service
	@touch $@

# torch comes first and alone: its build (CPU or CUDA) is the choice of this machine's pip settings,
# and what follows finds it there.
$(VENV)/dev.stamp: $(VENV)/serve.stamp requirements-dev.txt requirements-clients.txt \
		training/pyproject.toml clients/python/pyproject.toml
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) --editable protocol --editable 'service[otel,redis]' \
		--editable 'clients/python[gymnasium,sb3]' --editable 'training[box2d,vizdoom,minari,ray]' \
		--requirement requirements-dev.txt
	$(PIP) --no-deps --requirement requirements-clients.txt
	@touch $@

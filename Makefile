# make demo   sets up .venv and builds the demo data set        make test    sets up and runs all tests
# make check  format, lint, types, layers                      make clean   removes .venv and outputs/
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
.PHONY: demo test check clean lock

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; set PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/python jobs/build_dataset.py recipe=demo runtime=local output_dir=outputs

test: $(READY)
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/contract/test_layers.py

# Writes down the versions that the environment has, once they have passed the tests.
lock: $(READY)
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean:
	rm -rf .venv outputs

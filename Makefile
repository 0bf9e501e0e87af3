# make demo | test | test-lmms | eval | lint | clean; the first call sets up .venv, later ones reuse it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test test-lmms eval lint format clean

demo: $(READY)
	$(BIN)/stsprune demo --out stsprune-demo

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test-lmms: .venv-lmms/ready
	OMP_NUM_THREADS=1 .venv-lmms/bin/python -m pytest -m lmms tests/lmms

eval: $(READY)
	$(BIN)/stsprune eval --scenes 500 --out runs/eval

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(READY)

# lmms-eval brings fifty packages: it never meets .venv.
.venv-lmms/ready: pyproject.toml constraints-lmms.txt
	test -x .venv-lmms/bin/python || $(PYTHON) -m venv .venv-lmms
	.venv-lmms/bin/python -m pip install --quiet --no-compile -c constraints-lmms.txt -e '.[lmms]' pytest
	touch $@

clean:
	rm -rf .venv .venv-lmms dist stsprune-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis

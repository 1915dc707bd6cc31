# Two commands do everything: `make reproduce` and `make test`. Both make .venv once, then reuse it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup reproduce test test-vllm test-lmms test-ray export readme record docs clean

# The first Python 3.10 to 3.13 that is found; choose another with `make test PYTHON=python3.12`
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10 python; do \
	$$p -c '$(SUPPORTED)' >/dev/null 2>&1 && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ipcv-ready
# Errors only: warnings are of the machine's own pip configuration (a wheel folder that is not there) and nothing to act on
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq
# No output waits in a buffer, and a notebook's kernel is always the one of this environment
export PYTHONUNBUFFERED := 1
export JUPYTER_PREFER_ENV_PATH := 1
# Arguments for `ipcv reproduce`, e.g. make reproduce ARGS=--full, ARGS="table6 --fresh"
ARGS ?=

help: ## Show this list
	@echo "ipcv: training-free compression of the visual side of multimodal LLMs"; echo
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "  PYTHON=python3.12   another Python, 3.10 to 3.13 (found: $(or $(PYTHON),none))"
	@echo '  ARGS="table6 --full"    what `make reproduce` hands to `ipcv reproduce` (see $(BIN)/ipcv reproduce --help)'

setup: $(STAMP) ## Make .venv with the tested versions (once; the other commands do it by themselves)

$(STAMP): constraints.txt settings.ini setup.py
	@if [ -z "$(PYTHON)" ] || ! $(PYTHON) -c '$(SUPPORTED)' 2>/dev/null; then \
		echo "ipcv needs Python 3.10 to 3.13 and $(or $(PYTHON),python3) is not one: install it, or name it with make $(MAKECMDGOALS) PYTHON=..." >&2; exit 1; fi
	@echo "[ipcv] Making $(VENV) with $$($(PYTHON) --version) and the versions of constraints.txt, once."
	@echo "[ipcv] 1 to 3 minutes with packages in pip's cache; a first download (torch is the large one) takes longer."
	@rm -f $(STAMP)
	@version='import sys; print(sys.version_info[:2])'; [ "$$($(PYTHON) -c "$$version")" = "$$($(BIN)/python -c "$$version" 2>/dev/null)" ] \
		|| $(PYTHON) -m venv --clear $(VENV)
	@start=$$SECONDS; $(PIP) --upgrade pip setuptools wheel -c constraints.txt \
		&& $(PIP) torch -c constraints.txt && echo "[ipcv]   torch is in ($$((SECONDS-start)) s)" \
		&& PYTHONWARNINGS=ignore $(PIP) --no-build-isolation -e '.[dev]' -c constraints.txt && echo "[ipcv]   ready ($$((SECONDS-start)) s)"
	@touch $(STAMP)

reproduce: $(STAMP) ## Every table and figure on the model that ships, at reading size (ARGS=--full: the size that is committed)
	@exec $(BIN)/ipcv reproduce $(ARGS)

test: $(STAMP) ## Run every notebook as a test and check that nothing generated is out of date
	@$(BIN)/python .ci/check.py

test-vllm: ## The plug-in inside a real vLLM, in .venv-engines (4 GB, made once; PARTS=answers for one part)
test-lmms: ## The model class inside the real lmms-eval, in .venv-engines
test-vllm test-lmms: test-%:
	@$(PYTHON) .ci/engines.py $(VLLM) && .venv-engines/bin/python .ci/test_$*.py $(PARTS)

test-ray: $(STAMP) ## Experiments on a real cluster of three nodes on this machine, in .venv-ray
	@$(BIN)/python .ci/ray_env.py $(RAY) && .venv-ray/bin/python .ci/test_ray.py $(PARTS)

export: $(STAMP) ## For contributors: write the modules from the notebooks, clean the notebooks, shrink their pictures, write README.md
	@$(BIN)/nbdev_export && $(BIN)/nbdev_clean && $(BIN)/python .ci/pictures.py && $(MAKE) --no-print-directory readme

readme: $(STAMP) ## For contributors: write README.md from nbs/index.ipynb (its saved outputs, no run)
	@$(BIN)/python .ci/readme.py

record: ## For contributors: put the outputs and tables of the last `make reproduce ARGS=--full` into experiments/
	@$(BIN)/python .ci/record.py

docs: $(STAMP) ## For contributors: build the website into _docs (needs quarto)
	@$(BIN)/nbdev_docs

clean: ## Remove the environments and whatever was built; results stay
	rm -rf $(VENV) .venv-engines .venv-ray _proc _docs build dist *.egg-info

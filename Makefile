# make read   make shards N=20k   make test   — everything else: make help
PYTHON ?= python3
VENV ?= .venv
N ?= 20k
OUT ?= shards
RUN ?= runs/first
IMAGES ?= infer/samples
STATE ?= $(or $(XDG_STATE_HOME),$(HOME)/.local/state)/crnn-shards
WEIGHTS ?= $(STATE)/weights
CONFIG ?= train-weights
PROCESSES ?= 2
LINES ?= 5000
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help read serve shards train weights fonts setup torch dev check lint types imports test test-fast test-long clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

read: $(BIN)/.serve  ## install, read IMAGES (infer/samples)
	$(BIN)/python -m infer $(IMAGES)

serve: $(BIN)/.serve  ## install, read over HTTP at port 5000, with a page
	$(BIN)/python -m infer.server

shards: setup fonts  ## install, fetch the fonts, generate N images (20k) into OUT (shards)
	$(BIN)/python -m gen --out $(OUT) --n $(N)

train: torch  ## train on the shards in OUT into RUN (runs/first); again: goes on
	@test -e $(OUT)/horizontal/manifest.json || $(MAKE) shards
	$(BIN)/python -m train --data $(OUT) --out $(RUN)

weights: torch fonts  ## train from fonts alone, 14 hours of two cores, into WEIGHTS (~/.local/state/crnn-shards/weights); again: goes on
	$(BIN)/torchrun --standalone --nproc-per-node $(PROCESSES) -m train --config $(CONFIG) \
	    --data gen:gen-default=0.45 --data gen:gen-classic=0.35 --data gen:gen-prose=0.2 --out "$(STATE)/weights"
	$(BIN)/python -m infer.export --weight-path "$(STATE)/weights/weights.pt" --out "$(WEIGHTS)/lines.onnx"
	$(BIN)/python -m infer.export --weight-path "$(STATE)/weights/weights.pt" --out "$(WEIGHTS)/lines-int8.onnx" --int8
	$(BIN)/python -m tools.eval_matrix --weight-path "$(WEIGHTS)/lines-int8.onnx" --lines $(LINES) --per-font 0 \
	    --json "$(STATE)/weights/matrix.json" --markdown "$(WEIGHTS)/matrix.md"
	$(BIN)/python -m tools.loss_curve "$(STATE)/weights/metrics.jsonl" -o "$(WEIGHTS)/loss.svg"

fonts: setup  ## fetch what is missing of the 25 fonts
	$(BIN)/python -m tools.fetch_fonts

setup: $(BIN)/.installed  ## make .venv with what generation needs

torch: $(BIN)/.torch  ## make .venv with what training needs

dev: $(BIN)/.dev  ## make .venv with what the tests need

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(BIN)/.installed: setup.py | $(BIN)/python
	$(BIN)/python -m pip install -q -e .
	@touch $@

$(BIN)/.serve: setup.py | $(BIN)/.installed
	$(BIN)/python -m pip install -q -e '.[serve]'
	@touch $@

$(BIN)/.torch: setup.py | $(BIN)/.installed
	$(BIN)/python -m pip install -q 'torch==2.13.0' -e '.[train,infer]'
	@touch $@

$(BIN)/.dev: setup.py | $(BIN)/.installed
	$(BIN)/python -m pip install -q -e '.[dev]'
	@touch $@

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: dev
	$(BIN)/mypy

imports: dev
	$(BIN)/lint-imports --no-cache

check: lint types imports test-fast  ## ruff, mypy, import-linter, pytest

test-fast: dev
	$(BIN)/python -m pytest -n 2 -m 'not long'

test: dev fonts check  ## set up and run everything that CI runs

test-long: dev fonts  ## the tests that take minutes, among them 50 kills
	$(BIN)/python -m pytest -m long

clean:  ## remove what the tools left in the clone; shards stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

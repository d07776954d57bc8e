# nanoedge: `make serve` to use it, `make test` to check it. Everything goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
HOST ?= 127.0.0.1
PORT ?= 8080
DATA ?= data

# Tests that compute run side by side, a core and a thread each: threads of PyTorch that share a core slow each other down many times.
# Those that time something, share a browser or start servers have the machine to themselves.
TOGETHER := tests/converters tests/edge_runtime tests/hostile tests/mobile_export tests/parity
ALONE := $(filter-out $(TOGETHER) %__pycache__,$(patsubst %/,%,$(wildcard tests/*/ tests/test_*.py))) tests/converters/bench
PYTEST := $(BIN)/python -m pytest
PYTEST_TOGETHER := OMP_NUM_THREADS=1 $(PYTEST) --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	$(TOGETHER) --ignore tests/converters/bench

.PHONY: serve install dev test test-slow test-all lint bench train gallery embed bundles bundle-web bundle-android bundle-ios binary test-binary clean

serve: $(VENV)/.runtime ## install the runtime (no torch) and serve on http://127.0.0.1:8080
	$(BIN)/nanoedge serve --host $(HOST) --port $(PORT)

install: $(VENV)/.runtime ## install the runtime only

dev: $(VENV)/.dev ## install everything: converter, tests, linters

test: $(VENV)/.dev ## the fast tests (minutes)
	$(PYTEST_TOGETHER) -m "not slow and not browser"
	$(PYTEST) $(ALONE) -m "not slow and not browser"

test-slow: $(VENV)/.dev ## the long tests, and those in a browser, which need Chromium and npm (most of an hour)
	$(PYTEST_TOGETHER) -m "slow or browser"
	$(PYTEST) $(ALONE) -m "slow or browser"

test-all: test test-slow ## all tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy packaging/*.py
	$(BIN)/lint-imports

bench: $(VENV)/.dev ## every figure of docs/benchmarks.md; DATA=folder adds those that need photographs
	$(BIN)/python -m benchmarks.bench --data $(DATA)

train: $(VENV)/.dev ## train nano-banana from DATA (about three hours on two cores)
	$(BIN)/python -m converters.nano_banana.train --data $(DATA)

gallery: $(VENV)/.dev ## before and after of every kind of edit, into docs/gallery.md
	$(BIN)/python -m benchmarks.gallery --out docs/gallery

embed: $(VENV)/.dev ## rebuild the embedded int8 artifact from the committed checkpoint
	$(BIN)/python -m converters.embed

bundles: bundle-web bundle-android bundle-ios ## the folders for apps, and the artifacts in them, into build/; the one for the web needs npm

bundle-web: $(VENV)/.dev
	rm -rf build/nano-banana-web
	$(BIN)/nanoedge export web nano-banana -o build/nano-banana-web

bundle-android: $(VENV)/.dev
	rm -rf build/nano-tflite build/nano-banana-android
	$(BIN)/nanoedge convert nano-banana --to tflite -o build/nano-tflite
	$(BIN)/nanoedge export android build/nano-tflite -o build/nano-banana-android

bundle-ios: $(VENV)/.dev
	rm -rf build/nano-coreml build/NanoBananaKit
	$(BIN)/nanoedge convert nano-banana --to coreml -o build/nano-coreml
	$(BIN)/nanoedge export ios build/nano-coreml -o build/NanoBananaKit

binary: build/binary-venv/.ready ## dist/nanoedge, and the folder and its archive beside it; needs zstd and binutils
	rm -rf build/lib build/bdist.*
	build/binary-venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --force-reinstall .
	build/binary-venv/bin/python packaging/build_binary.py

test-binary: $(VENV)/.dev ## the tests of command and server, run against what `make binary` made
	NANOEDGE_COMMAND="$$(echo $$PWD/dist/nanoedge-*/nanoedge)" \
	$(PYTEST) -m "not slow and not browser" tests/server tests/edge_runtime/test_cli.py

build/binary-venv/.ready: pyproject.toml requirements/lock.txt
	rm -rf build/binary-venv build/lib
	$(PYTHON) -m venv build/binary-venv
	build/binary-venv/bin/python -m pip --disable-pip-version-check install --quiet --constraint requirements/lock.txt '.[binary]'
	@touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml requirements/lock.txt | $(VENV)/bin/python
	$(PIP) install --quiet --constraint requirements/lock.txt --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml requirements/lock.txt requirements/tflite.txt | $(VENV)/bin/python
	$(PIP) install --quiet --constraint requirements/lock.txt --editable '.[dev]'
	$(PIP) install --quiet --no-deps --requirement requirements/tflite.txt # see there
	@touch $@ $(VENV)/.runtime

clean:
	rm -rf $(VENV) build dist *.egg-info runs

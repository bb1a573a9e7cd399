# Coeval: every set-up step lives here. `make demo` and `make test` are all a fresh machine needs.
# Requires: Python 3.11+ with venv, make. System packages are installed by apt where it is there and
# allowed (root or sudo), and skipped when present.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SHELL  := /bin/bash

.PHONY: demo test test-page page lint models firmware clean help
.DEFAULT_GOAL := help

help:
	@echo "make demo        put three replayed nodes with wrong clocks on one timeline, live"
	@echo "make test        set up and run every check and test"
	@echo "make bench-NAME  run a benchmark (align, time, table, encoders, probe, aggregator, page); BENCH_ARGS='--quick --json' to shorten"
	@echo "make firmware    build the probe's firmware (build/firmware/probe.uf2) and the image that ships"
	@echo "make page        build the page that the aggregator serves; make test-page tests it in Chromium"
	@echo "make models      train the encoders from scratch and export the ONNX files that ship"

# An extra is installed once, when pyproject.toml is newer than its stamp.
$(BIN)/python:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || deploy/apt-install python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=24"

$(VENV)/.stamp-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	@touch $@

# torch is pinned so that pip takes the small CPU build where one is offered.
$(VENV)/.stamp-torch: | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@touch $@

demo: $(VENV)/.stamp-lab
	$(BIN)/coeval demo $(DEMO_ARGS)

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# chrony would take the place of the time service of a machine that has one: it is installed only in
# containers, and its test runs wherever it is.
test: $(VENV)/.stamp-torch $(VENV)/.stamp-train $(VENV)/.stamp-dev
	@deploy/apt-install mosquitto || echo "mosquitto is absent: the tests use the iotcore broker"
	@deploy/apt-install qemu-system-arm device-tree-compiler || \
	  echo "QEMU is absent: the tests of the kernel's own interfaces skip"
	@deploy/apt-install linuxptp iproute2 || echo "linuxptp is absent: no test asks a real ptp4l"
	@deploy/apt-install postgresql || echo "PostgreSQL is absent: the store's tests use SQLite alone"
	@test -d /run/systemd/system || deploy/apt-install chrony || true
	@deploy/apt-install gcc gcc-arm-none-eabi || \
	  echo "no C compilers: the probe's core is not tested on this machine, nor its firmware rebuilt"
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n 2 --dist loadfile $(TEST_ARGS)

bench-%: $(VENV)/.stamp-bench
	@deploy/apt-install ffmpeg || echo "ffmpeg is absent: peers of bench align that need it fail"
	@test $* != page || deploy/apt-install mosquitto chromium
	$(BIN)/coeval bench $* $(BENCH_ARGS)

models: $(VENV)/.stamp-torch $(VENV)/.stamp-train
	$(BIN)/coeval train $(TRAIN_ARGS)
	$(BIN)/coeval export-encoders
	$(BIN)/coeval train-fusion

# The same sources give the same bytes: what ships changes only where they do.
firmware:
	@deploy/apt-install gcc-arm-none-eabi
	$(MAKE) --no-print-directory -C firmware/rp2040 PYTHON=$(PYTHON) OUT=../../build/firmware ship

# Needs node 20 or newer; the built files are committed, so that nothing else does.
page:
	cd web && npm ci --no-audit --no-fund && npm test && npm run build

test-page: $(VENV)/.stamp-dev
	@deploy/apt-install mosquitto chromium
	$(BIN)/python -m pytest -m browser $(TEST_ARGS)

clean:
	rm -rf $(VENV) build

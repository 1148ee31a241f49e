# What can be done with this checkout. Everything installs what it needs into .venv; a fresh Debian 12 with Python 3.11 or
# later, make and git is enough.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DATA ?=
MINUTES ?=
ONLY ?=
KILLS ?= all

# Compiled modules make every start of a program faster; some environments switch them off.
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test check searches simulate kills two-hosts hostile fuzz custody bench bench-overhead bench-latency bench-hashing bench-nightly bench-plan bench-campaign format requirements clean

help:
	@echo "make demo [DATA=/any/dir]   a request through all five components, with proof (needs no NERSC, Globus or TACC)"
	@echo "make test                   the test suite"
	@echo "make check                  ruff, mypy --strict, import-linter"
	@echo "make searches               simulate, kills, hostile, fuzz and custody in the size that a change must pass, with a table at the end"
	@echo "make simulate [MINUTES=60]  the searches for holes in the protocol, in a simulated world"
	@echo "make kills [KILLS=ci]       real SIGKILLs, power losses, disk errors, two hosts; needs root (long; ci: a part)"
	@echo "make two-hosts [MINUTES=5]  two hosts that share a workspace, their workers killed and frozen at random"
	@echo "make hostile                hostile input and attacks"
	@echo "make fuzz [MINUTES=1]       a coverage-guided fuzzer over all readers"
	@echo "make custody                bytes damaged at each place between archive and destination: what finds it"
	@echo "make bench [ONLY=campaign]  all benchmarks, half an hour on two cores; writes bench/RESULTS.md"
	@echo "make bench-overhead         100,000 small files on 400 tapes, and 10,000 units that wait: CPU, memory, file operations"
	@echo "make bench-latency          how long a unit lies idle between two components"
	@echo "make bench-campaign         whole campaigns in the simulator, beside simpler policies and the lower bound"
	@echo "make bench-hashing          how fast copies are hashed, beside sha512sum"
	@echo "make bench-plan             planning 1,000,000 files, beside sort of the same lines: CPU, memory"
	@echo "make bench-nightly          100,000 files that are delivered already, handed in again: calls, seconds, CPU"
	@echo "make format                 format the code"
	@echo "make requirements           pin the requirements anew"

$(READY): requirements-dev.txt pyproject.toml scripts/make-environment
	@scripts/make-environment "$(PYTHON)" $(VENV)
	@touch $@

demo: $(READY)
	@scripts/demo $(DATA)

test: $(READY)
	$(BIN)/python -m pytest -n 4 --dist loadfile

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

searches: $(READY)
	$(BIN)/python tests/search_table.py

simulate: $(READY)
	$(if $(MINUTES),$(BIN)/python tests/simulation/long_run.py --minutes $(MINUTES),$(BIN)/python -m pytest --timeout 0 -n 2 tests/simulation)

kills: $(READY)
	@scripts/install-tools
	TACC_SYNC_KILLS=$(KILLS) $(BIN)/python -m pytest --timeout 0 tests/kills

two-hosts: $(READY)
	@scripts/install-tools
	MINUTES_OF_STRIKES=$(or $(MINUTES),5) $(BIN)/python -m pytest --timeout 0 tests/kills/test_two_hosts.py

hostile: $(READY)
	$(BIN)/python -m pytest --timeout 0 tests/hostile

fuzz: $(READY)
	@scripts/fuzz $(BIN)/python $$(( $(or $(MINUTES),1) * 60 ))

custody: $(READY)
	$(BIN)/python -m pytest -s tests/custody

bench: $(READY)
	$(BIN)/python bench/all.py $(if $(ONLY),--only $(ONLY))

bench-overhead: $(READY)
	$(BIN)/python bench/overhead.py

bench-latency: $(READY)
	TMPDIR=$(or $(wildcard /dev/shm),/tmp) $(BIN)/python bench/latency.py

bench-campaign: $(READY)
	$(BIN)/python bench/campaign/run.py

bench-hashing: $(READY)
	$(BIN)/python bench/hashing.py

bench-plan: $(READY)
	$(BIN)/python bench/plan.py

bench-nightly: $(READY)
	$(BIN)/python bench/nightly.py

format: $(READY)
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format

requirements: $(READY)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
	    pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
	    --extra testbed --group dev pyproject.toml -o requirements-dev.txt

clean:
	rm -rf $(VENV) .venv-* demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

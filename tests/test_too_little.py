"""A limit below which the daemon cannot come up, and a machine that has no more memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from supervisor.cli import run as run_cli
from supervisor.cli.asking import FAILED
from tests.canned import ullage

resource = pytest.importorskip("resource")


@pytest.mark.parametrize("most", [20 << 20, run_cli.LEAST_ADDRESSES - 1])
def test_a_limit_that_is_too_low_to_start_is_told_before_anything_is_begun(monkeypatch, most):
    monkeypatch.setattr(resource, "getrlimit", lambda what: (most, most))
    result = ullage("run")
    assert result.exit_code == FAILED
    assert "there is too little memory to start" in result.stderr
    assert f"it is {most >> 20} MiB, and 2048 MiB are needed" in result.stderr
    assert "LimitAS=infinity" in result.stderr


@pytest.mark.parametrize("most", [resource.RLIM_INFINITY, run_cli.LEAST_ADDRESSES])
def test_a_limit_that_suffices_is_none(monkeypatch, most):
    monkeypatch.setattr(resource, "getrlimit", lambda what: (most, most))
    run_cli.check_addresses()


def test_the_limit_is_the_system_s_own():
    code = "from supervisor.cli.run import check_addresses; check_addresses()"
    limit = (1 << 30, 1 << 30)
    found = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert found.returncode != 0
    assert "the limit of address space is too low" in found.stderr


def test_want_of_memory_in_a_command_is_told_in_words(monkeypatch):
    def want():
        raise MemoryError

    monkeypatch.setattr(run_cli, "check_addresses", want)
    result = ullage("run")
    assert result.exit_code == FAILED
    assert "there is not enough memory for this" in result.stderr
    assert "Traceback" not in result.stderr

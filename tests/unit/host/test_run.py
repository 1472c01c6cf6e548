"""deploy/host/run.sh, through which the Makefile's commands run: how somebody who is not root becomes it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).parents[3] / "deploy/host/run.sh"
PROXY = "http://ada:the-password@proxy.example.org:3128"


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """An environment in which one is not root, and sudo writes down how it was called and what it was given."""
    for name, does in {
        "id": "echo 1000",
        "sudo": f'printf "%s\\n" "$@" > {tmp_path}/called; env > {tmp_path}/given',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HTTPS_PROXY": PROXY, "SETTINGS": "site.yaml"}


def test_no_password_is_on_a_command_line_where_everybody_reads_it(programs: dict[str, str], tmp_path: Path) -> None:
    subprocess.run([RUN, "drain", "0", "--reason", "its fan; is $(replaced)"], env=programs, check=True)
    called = (tmp_path / "called").read_text().splitlines()
    assert called[1:] == [str(RUN), "drain", "0", "--reason", "its fan; is $(replaced)"]
    assert called[0] == "--preserve-env=SETTINGS,HTTPS_PROXY"
    assert f"HTTPS_PROXY={PROXY}" in (tmp_path / "given").read_text()


def test_without_a_command_it_says_how_it_is_called() -> None:
    said = subprocess.run([RUN], capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert said.stderr.startswith("usage: deploy/host/run.sh COMMAND [ARGUMENTS]")

"""Running the installer, and the sentences that its failures become."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import pytest
from sciencebox_stack.errors import StackError
from sciencebox_stack.uv import Uv, explain_failure, find_uv

if TYPE_CHECKING:
    from pathlib import Path


def program(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "uv"
    path.write_text(f"#!{sys.executable}\nimport os, sys, time\n{body}\n")
    path.chmod(0o755)
    return path


def test_each_line_is_handed_on_while_the_installer_runs(tmp_path: Path) -> None:
    lines: list[str] = []
    Uv(program(tmp_path, "print('one', file=sys.stderr); print('two', file=sys.stderr)")).run("x", [], lines.append)
    assert lines == ["one", "two"]


def test_the_installer_sees_proxies_and_indexes_but_not_the_callers_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "UV_DEFAULT_INDEX", "PYTHONPATH", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, f"value of {name}")
    lines: list[str] = []
    names = "HTTPS_PROXY UV_DEFAULT_INDEX PYTHONPATH VIRTUAL_ENV UV_CACHE_DIR UV_PYTHON_DOWNLOADS"
    body = f"print(*(os.environ.get(name) for name in {names.split()}), sep='|', file=sys.stderr)"
    Uv(program(tmp_path, body), {"UV_CACHE_DIR": "/cache"}).run("x", [], lines.append)
    assert lines == ["value of HTTPS_PROXY|value of UV_DEFAULT_INDEX|None|None|/cache|never"]


def test_a_failure_says_what_was_tried_and_why_it_failed(tmp_path: Path) -> None:
    body = "print('error: it broke\\n  cause: the reason', file=sys.stderr); sys.exit(2)"
    with pytest.raises(StackError, match="Could not install alpha: the reason"):
        Uv(program(tmp_path, body)).run("install alpha", [])


def test_an_interrupted_build_takes_its_installer_along(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt(line)

    body = "print(os.getpid(), file=sys.stderr, flush=True); time.sleep(60)"
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt) as error:
        Uv(program(tmp_path, body)).run("x", [], interrupt)
    assert time.monotonic() - began < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(str(error.value)), 0)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "error: Failed to install: torch\n  cause: copying\n  cause: No space left on device (os error 28)",
            "Could not install alpha: the disk is full. Free some space",
        ),
        (
            "error: Failed to fetch\n  cause: error sending request for url (https://index.example.org/simple/torch/)\n"
            "  cause: dns error: failed to lookup address information",
            "Could not install alpha: the package index could not be reached (dns error",
        ),
        (
            "error: Hash mismatch for `numpy==2.4.6`",
            "a file differs from the lock. Hash mismatch for `numpy==2.4.6`; check the package index.",
        ),
        (
            "error: Because torch==2.15.0 was not found in the package registry and you require torch==2.15.0, ...",
            "the package index lacks a file that the lock names.",
        ),
        ("something odd", "Could not install alpha: something odd"),
        ("", "Could not install alpha: it said nothing"),
    ],
)
def test_a_known_failure_says_what_to_do(said: str, told: str) -> None:
    assert told in explain_failure("install alpha", said)


def test_no_password_of_an_index_is_repeated() -> None:
    sentence = explain_failure("x", "error: error sending request for url (https://me:secret@index.example.org/)")
    assert "secret" not in sentence
    assert "index.example.org" in sentence


def test_without_an_installer_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="uv is needed to install packages and was not found"):
        find_uv()
    beside = program(tmp_path, "")
    assert find_uv() == beside

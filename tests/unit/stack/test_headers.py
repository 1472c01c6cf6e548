"""Headers that a release carries, and the `c++` that tells where they are."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from sciencebox_stack.errors import StackError
from sciencebox_stack.headers import find_headers, write_shim

if TYPE_CHECKING:
    from pathlib import Path

ASK = "LC_ALL=C c++ -xc++ -E -v /dev/null 2>&1 | sed -n -e '/^.include/,${' -e '/^ \\/.*++/p' -e '}'"  # as ROOT does


def run(script: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    """A shell with these folders first on its path."""
    path = ":".join([*map(str, folders), "/usr/bin", "/bin"])
    return subprocess.run(["sh", "-c", script], env={"PATH": path}, capture_output=True, text=True, check=False)


def test_roots_interpreter_is_told_where_they_are(tmp_path: Path) -> None:
    write_shim(tmp_path / "c++", tmp_path / "headers", "12")
    assert run(ASK, tmp_path).stdout.split() == [f"{tmp_path}/headers/c++/12", f"{tmp_path}/headers/c++/12-machine"]


def test_whoever_wants_a_compiler_gets_the_sessions_or_a_sentence(tmp_path: Path) -> None:
    own, theirs = tmp_path / "own", tmp_path / "theirs"
    own.mkdir()
    theirs.mkdir()
    write_shim(own / "c++", tmp_path / "headers", "12")
    refused = run(f"PATH={own}; c++ -c x.cpp", own)
    assert (refused.returncode, "no compiler" in refused.stderr) == (127, True)
    (theirs / "c++").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (theirs / "c++").chmod(0o755)
    done = run("c++ -c 'my file.cpp'", own, theirs)
    assert done.stdout == "-c\nmy file.cpp\n"


def test_a_machine_without_them_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="libstdc\\+\\+-12-dev"):
        find_headers("gcc;12.2.0")

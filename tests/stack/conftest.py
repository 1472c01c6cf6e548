"""The built stack, seen as a session sees it: read-only at its path, by a user who owns none of it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOL = Path(__file__).parents[1] / "tools" / "stack.sh"
REPOSITORY = Path("/cvmfs/sciencebox.local")
USER = 20001


@dataclass(frozen=True)
class Stack:
    """``folder`` is where its files are here, ``view`` the path that users know, which exists inside only."""

    folder: Path
    view: Path

    def here(self, path: Path) -> Path:
        """Where the published ``path`` can be read by the tests themselves."""
        return self.folder / path.relative_to(REPOSITORY)

    def run(self, *command: str | Path, home: Path, **variables: str) -> str:
        """What ``command`` printed, in the stack, as an ordinary user with nothing but a home folder."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "TMPDIR": str(home), "USER": "someone", **variables}
        passwd = home / ".passwd"  # a session has one, too; Java asks it for the user's name and home
        passwd.write_text(f"someone:x:{USER}:{USER}::{home}:/bin/sh\n", encoding="utf-8")
        done = subprocess.run(
            [
                *("env", f"SCIENCEBOX_TEST_STACK={self.folder}", TOOL, "--enter"),
                *("sh", "-c", 'mount --bind "$0" /etc/passwd && exec "$@"', passwd),
                *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=-all"),
                *("--bounding-set=-all", "--no-new-privs", "env", "-i"),
                *(f"{name}={value}" for name, value in environment.items()),
                *command,
            ],
            cwd=home,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The stack that tests/tools/stack.sh built, or that of SCIENCEBOX_TEST_STACK; or skip."""
    if os.geteuid() != 0:
        pytest.skip("the stack is bound at its path by root; run as root")
    folder = Path(subprocess.run([TOOL, "--path"], check=True, capture_output=True, text=True).stdout.strip())
    views = sorted(folder.glob("lcg/views/*/*"), key=lambda view: view.stat().st_mtime)
    if not views:
        pytest.skip(f"nothing is published in {folder}; run `make test-tools`, or set SCIENCEBOX_TEST_STACK")
    return Stack(folder, REPOSITORY / views[-1].relative_to(folder))


@pytest.fixture(params=["pytorch", "tensorflow", "root", "mxnet"])
def environment(request: pytest.FixtureRequest) -> str:
    """Each environment of the release."""
    return str(request.param)


@pytest.fixture
def home() -> Iterator[Path]:
    """The user's home. pytest's own temporary folders are closed to everyone but root."""
    with TemporaryDirectory(prefix="stack-home-") as folder:
        os.chown(folder, USER, USER)
        yield Path(folder)

"""What a tree must be able to do before it is published."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

from .errors import StackError

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEADLINE_SECONDS = 300


@dataclass(frozen=True)
class Imported:
    """The modules of an environment, and the variables that its kernel sets before it imports them."""

    environment: str
    modules: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


class Checks(Protocol):
    """The two proofs that a build asks for; both raise StackError when they fail."""

    def imports(self, imported: Imported, python: Path, site_packages: Path) -> None:
        """All modules can be imported from ``site_packages``."""

    def kernel(self, environment: str, python: Path, jupyter: Path, modules: tuple[str, ...]) -> None:
        """The kernel of the view's share/jupyter folder starts, imports ``modules`` and computes."""


@dataclass(frozen=True)
class RealChecks:
    """Runs the built interpreter and the built kernel, in an empty home and a bare environment."""

    def imports(self, imported: Imported, python: Path, site_packages: Path) -> None:
        """See Checks."""
        code = f"import site; site.addsitedir({str(site_packages)!r}); import {', '.join(imported.modules)}"
        _run(f"{imported.environment} does not import", [str(python), "-I", "-c", code], dict(imported.variables))

    def kernel(self, environment: str, python: Path, jupyter: Path, modules: tuple[str, ...]) -> None:
        """See Checks."""
        code = f"import {', '.join(modules)}" if modules else "pass"
        probe = Path(__file__).with_name("kernel_probe.py").read_text(encoding="utf-8")
        command = [str(python), "-c", probe, environment, code]
        answer = _run(f"The kernel of {environment} does not work", command, {"JUPYTER_PATH": str(jupyter)})
        if answer.strip() != "2":
            raise StackError(f"The kernel of {environment} says that 1 + 1 is {answer.strip()!r}.")


def _run(problem: str, command: list[str], variables: dict[str, str]) -> str:
    with TemporaryDirectory() as home:
        environment = {"PATH": os.defpath, "HOME": home, "LANG": "C.UTF-8", **variables}
        try:
            done = subprocess.run(
                command,
                env=environment,
                cwd=home,
                capture_output=True,
                text=True,
                timeout=_DEADLINE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StackError(f"{problem}: no answer in {_DEADLINE_SECONDS} s.") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        raise StackError(f"{problem}: {said[-1]}")
    return done.stdout

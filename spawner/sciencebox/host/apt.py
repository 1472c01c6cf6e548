"""Debian and Ubuntu packages: what can be had, and installing it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from sciencebox.host.command import ask, run
from sciencebox.host.steps import StepError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sciencebox.host.steps import Screen

WAIT = "-oDPkg::Lock::Timeout=600"  # seconds; a server that was just started may be at its own upgrades


def install(packages: Sequence[str], screen: Screen) -> None:
    """Install packages without what they merely recommend. Raises StepError where this system has no apt."""
    names = ", ".join(packages)
    if not shutil.which("apt-get"):
        raise StepError(f"This system has no apt-get; install {names} by its own means, then run this again.")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    screen.now(f"installing {names}")
    advice = f"{names} could not be installed; check the package sources (`apt-get update`), then run this again."
    run(["apt-get", "update"], screen, env=env, on_failure=advice)
    command = ["apt-get", "install", "-y", "--no-install-recommends", WAIT, *packages]
    run(command, screen, env=env, on_failure=advice, may_be_ended=False)  # else packages are half installed


def first_available(packages: Sequence[str]) -> str | None:
    """The first of the packages that the package sources offer."""
    return next((name for name in packages if _has_candidate(ask(["apt-cache", "policy", name]) or "")), None)


def _has_candidate(policy: str) -> bool:
    return any(line.strip().startswith("Candidate:") and "(none)" not in line for line in policy.splitlines())

"""Trainings that were killed at random moments, as a part of docs/results.md: see `killed`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEAD = """### Killed and gone on with

Each family trained twice: undisturbed, and as a program that was ended by SIGKILL at random moments, begun again each
time (`python -m tests.bench.killed`). The last checkpoints are compared bit by bit; SYNTHETIC cases, size smoke."""


def section(results: Sequence[Mapping[str, Any]]) -> str:
    """The part of the document; empty where nothing was recorded."""
    return "\n\n".join([HEAD, *map(_told, results)]) if results else ""


def _told(result: Mapping[str, Any]) -> str:
    rows = [
        f"- {family}: killed {result['kills']} times, in {len(set(one['epochs_done']))} different epochs of "
        f"{result['epochs']}; {'the same weights' if one['same'] else 'OTHER weights'} ({one['tensors']} tensors)."
        for family, one in result["killed"].items()
    ]
    return "\n".join([f"Seed {result['seed']}, {result['hardware']}:", "", *rows])

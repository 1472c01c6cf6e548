"""A line of the doctor's table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class State(str, Enum):
    """How a row is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Row:
    """One line of the table: what was looked at, how it is, what was found, and what to do about it."""

    what: str
    state: State
    found: str
    advice: str = ""


def failures(table: Iterable[Row]) -> list[Row]:
    """The rows for which something must be done."""
    return [row for row in table if row.state is State.FAILED]

"""Who used the GPUs how much, for the administrator: read from the hub's database, as a table, CSV or JSON."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING

from rich.table import Table

from sciencebox.accounting.leases import COLUMNS, Lease
from sciencebox.accounting.usage import figures
from sciencebox.host.steps import StepError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from sciencebox.accounting.usage import Use

_LEASES = f"SELECT {', '.join(COLUMNS)} FROM sciencebox_leases WHERE until > ? AND since < ? ORDER BY since"  # noqa: S608
_GROUPS = """SELECT users.name, groups.name FROM user_group_map
    JOIN users ON users.id = user_group_map.user_id JOIN groups ON groups.id = user_group_map.group_id"""


def moment(text: str) -> float:
    """Seconds since the epoch of a day or a time in this server's time zone, such as 2026-11-25 or 2026-11-25T14:00."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise StepError(f"{text!r} is not a day such as 2026-11-25 or a time such as 2026-11-25T14:00.") from None


def read(database: Path, start: float, end: float) -> tuple[list[Lease], Mapping[str, Sequence[str]]]:
    """Leases that overlap the time from `start` to `end`, and everybody's groups. The database is not changed."""
    if not database.is_file():
        raise StepError(f"There is no {database}: this deployment has not run yet.")
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            leases = [Lease.of(row) for row in connection.execute(_LEASES, (start, end))]
            groups = defaultdict(list)
            for user, group in connection.execute(_GROUPS):
                groups[user].append(group)
    except sqlite3.DatabaseError as error:
        hint = "start the service with `make deploy` once" if "no such" in str(error) else "try again"
        raise StepError(f"{database} cannot be read: {error}; {hint}.") from error
    return leases, groups


def show(uses: Sequence[Use], by: str, start: float, end: float, console: Console) -> None:
    """For people."""
    days = " to ".join(datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M") for at in (start, end))
    if not uses:
        console.print(f"Nobody used a GPU from {days}.", highlight=False)
        return
    table = Table(by.capitalize(), box=None, header_style="bold", title=f"GPU hours from {days}", title_justify="left")
    for heading in ("Sessions", "GPU hours", "Share", "Busy", "Peak memory", "Energy"):
        table.add_column(heading, justify="right")
    for use in uses:
        table.add_row(use.name, *figures(use))
    console.print(table, highlight=False)

"""The page of who used the GPUs how much: one's own, and for administrators everybody's."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from jupyterhub import orm
from tornado.web import HTTPError, authenticated

from sciencebox.accounting.quota import BooksError
from sciencebox.accounting.usage import By, as_csv, daily, figures, summarise
from sciencebox.gpus import wording
from sciencebox.hub.base import DeskHandler
from sciencebox.sessions.desk import DRIVER_EVERY_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from sciencebox.accounting.leases import Lease
    from sciencebox.accounting.usage import Use
    from sciencebox.hub.base import Reader

DAY_S = 86_400.0
SPANS = {"7": "7 days", "30": "30 days", "90": "90 days", "365": "a year"}


@dataclass(frozen=True)
class Plot:
    """GPU hours by day, as bars. `highest` is the top of the plot in GPU hours; 0 where nothing was used."""

    bars: Sequence[tuple[date, float]]
    highest: float


def plot(leases: Sequence[Lease], start: float, end: float) -> Plot:
    """From `start` to `end`, in seconds since the epoch."""
    bars = daily(leases, start, end)
    return Plot(bars, max(hours for _, hours in bars))


@dataclass(frozen=True)
class Report:
    """What is asked for: the time, in seconds since the epoch, whose use, and how everybody's is added up."""

    start: float
    end: float
    reader: Reader
    by: By
    groups: Mapping[str, Sequence[str]]

    def of(self, leases: Sequence[Lease]) -> dict[str, Any]:
        """Its figures. Many leases take a moment."""
        mine = [lease for lease in leases if lease.user == self.reader.name]
        found: dict[str, Any] = {
            "mine": next(iter(summarise(mine, "user", self.start, self.end)), None),
            "my_plot": plot(mine, self.start, self.end),
        }
        if self.reader.admin:
            found["everybody"] = summarise(leases, self.by, self.start, self.end, self.groups)
            found["plot"] = plot(leases, self.start, self.end)
        return found


class UsageHandler(DeskHandler):
    """What was used in the last days: as a page, for administrators also as CSV."""

    @authenticated
    async def get(self) -> None:
        """`days` is one of SPANS; for administrators, `by` is one of user, group and device, `as=csv` the report."""
        days, by = self.get_argument("days", "30"), self.get_argument("by", "user")
        if days not in SPANS or by not in get_args(By):
            raise HTTPError(400, "There is no such report; choose one on the page.")
        end = time.time()
        start = end - int(days) * DAY_S
        try:
            context = await self._read(start, end, by)
        except BooksError as error:
            self.log.error("The usage page cannot be made: %s", error)
            raise HTTPError(503, "What was used cannot be read at the moment; try again in a minute.") from error
        self.set_header("Cache-Control", "private, no-cache")
        if self.get_argument("as", "") == "csv":
            self._send_csv(context.get("everybody"), f"gpu-usage-by-{by}-{days}-days.csv")
            return
        page = {
            "days": days,
            "spans": SPANS,
            "by": by,
            "ways": get_args(By),
            "figures": figures,
            "every_s": round(DRIVER_EVERY_S),
            "note": self.desk.snapshot().note,
        }
        self.finish(await self.render_template("usage.html", reader=self.reader, **page, **context))

    async def _read(self, start: float, end: float, by: Any) -> dict[str, Any]:
        reader = self.reader
        groups = self._groups() if by == "group" and reader.admin else {}
        leases = await self.accountant.leases(start, None if reader.admin else reader.name)
        found = await asyncio.to_thread(Report(start, end, reader, by, groups).of, leases)
        return {**found, "quota": await self._quota()}

    async def _quota(self) -> str:
        groups = [group.name for group in self.current_user.groups]
        used = await self.desk.budget(self.current_user.name, groups)
        return wording.quota_left(used.limit_s, used.used_s) if used else ""

    def _groups(self) -> Mapping[str, Sequence[str]]:
        rows = self.db.query(orm.User.name, orm.Group.name).join(orm.User.groups)
        found: dict[str, list[str]] = {}
        for user, group in rows:
            found.setdefault(user, []).append(group)
        return found

    def _send_csv(self, uses: Sequence[Use] | None, name: str) -> None:
        if uses is None:
            raise HTTPError(403, "Only an administrator gets everybody's report.")
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.finish(as_csv(uses))

"""One lease is one GPU in one session's hands. Pure: what is held now, against what is written down."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from sciencebox.accounting.activity import Activity
from sciencebox.gpus.device import fraction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sciencebox.accounting.activity import Key
    from sciencebox.gpus.pool import Holding

SAMPLE_S = 60.0  # how often a lease that goes on is written down
_WATCHED_S = 2 * SAMPLE_S


@dataclass(frozen=True)
class Lease:
    """A GPU (`device` is its UUID, `kind` its model or MIG profile) that `user` had in a session.

    Times are seconds since the epoch. `until` is up to when it is known to have lasted; it is over when `ended`.
    """

    user: str
    session: str
    device: str
    kind: str
    since: float
    until: float
    ended: bool = False
    activity: Activity = field(default=Activity())

    @classmethod
    def of(cls, row: Sequence[Any]) -> Lease:
        """A row of the database, its columns as in `COLUMNS`."""
        user, session, device, kind, since, until, ended, *activity = row
        return cls(user, session, device, kind, since, until, bool(ended), Activity(*activity))

    def row(self) -> dict[str, Any]:
        """Its row in the database."""
        named = (self.user, self.session, self.device, self.kind, self.since, self.until, self.ended)
        return dict(zip(COLUMNS, (*named, *astuple(self.activity)), strict=True))

    @property
    def key(self) -> Key:
        """What tells it from every other lease."""
        return (self.session, self.device, self.since)

    def seconds(self, start: float, end: float) -> float:
        """How much of it lies between `start` and `end`."""
        return max(0.0, min(self.until, end) - max(self.since, start))

    def gpu_seconds(self, start: float, end: float) -> float:
        """The same, of a share only its part of the GPU."""
        return self.seconds(start, end) * fraction(self.device)


COLUMNS = (
    *("user_name", "session", "device", "kind", "since", "until", "ended"),
    *(column.name for column in fields(Activity)),
)


def changes(
    going: Iterable[Lease],
    holdings: Iterable[Holding],
    kinds: Mapping[str, str],
    now: float,
    activity: Mapping[Key, Activity] | None = None,
) -> list[Lease]:
    """What is to be written down at `now`: leases that begin, go on and end.

    `going` are those that had not ended when they were last written, `kinds` is by device, `activity` what was seen of
    leases since then. One that is gone ended now, unless nobody has looked for a while: then it ended no later than it
    was last seen.
    """
    before = {lease.key: lease for lease in going}
    held = {lease.key: lease for lease in _leases(holdings, kinds, now)}
    kept = [_gone_on(before.get(key, lease), lease) for key, lease in held.items()]
    gone = [_ended(lease, now) for key, lease in before.items() if key not in held]
    seen = activity or {}
    return [replace(one, activity=one.activity + seen.get(one.key, Activity())) for one in (*kept, *gone)]


def _gone_on(before: Lease, now: Lease) -> Lease:
    """A card that is out of sight keeps the kind that it had."""
    return replace(now, kind=now.kind or before.kind, activity=before.activity)


def _leases(holdings: Iterable[Holding], kinds: Mapping[str, str], now: float) -> Iterable[Lease]:
    for h in holdings:
        if h.ours and h.since is not None:
            yield Lease(h.user, h.session, h.uuid, kinds.get(h.uuid, ""), h.since, now)


def _ended(lease: Lease, now: float) -> Lease:
    return replace(lease, until=now if now - lease.until <= _WATCHED_S else lease.until, ended=True)

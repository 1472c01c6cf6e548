"""Sessions whose users asked for more time than they began with.

The end of a session is a label of its container, which cannot be changed while that runs: a later end is kept here, in
a file, so that a restart of the hub takes it from nobody.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from sciencebox.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sciencebox.accounting.quota import Budget
    from sciencebox.gpus.pool import Holding
    from sciencebox.sessions.policy import Policy

KEPT_S = 86_400.0  # after its end, when nobody asks for it any more
WORTH_S = 60.0  # an extension by less is none

log = logging.getLogger(__name__)


class ExtensionError(Exception):
    """Why a session is not extended, in a sentence for its user."""


def later_end(lease: Holding, policy: Policy, gpus: float, left: Budget | None, now: float) -> float | None:
    """Until when a session with so many GPUs, or a part of one, may be extended, in seconds since the epoch.

    None where it may not be.
    """
    if lease.since is None or lease.until is None or policy.session_s is None or not policy.extension_s:
        return None
    end = lease.since + policy.session_s + policy.extension_s
    if left:
        end = min(end, now + (left.limit_s - left.used_s) / gpus)
    return end if end >= lease.until + WORTH_S else None


class Extensions:
    """Later ends, by session and its beginning. Without a file they last as long as the hub."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._adding = threading.Lock()  # users who extend at the same time do so in threads
        self._ends: dict[tuple[str, float], float] = {}

    def apply(self, holdings: Iterable[Holding]) -> list[Holding]:
        """What is held, with the ends that hold now."""
        if not self._ends:
            return list(holdings)
        return [replace(h, until=self._ends.get((h.session, h.since or 0.0), h.until)) for h in holdings]

    def read(self) -> None:
        """What was kept; of a file that cannot be understood, nothing. Blocking."""
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8")) if self._path else []
            self._ends = {(str(session), float(since)): float(end) for session, since, end in kept}
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError) as error:
            log.error("Sessions end when they would have without an extension: %s (%s)", self._path, error)

    def add(self, lease: Holding, end: float) -> None:
        """Keep a later end. Blocking. Raises OSError, and nothing has changed then."""
        with self._adding:
            oldest = time.time() - KEPT_S
            ends = {key: until for key, until in self._ends.items() if until > oldest}
            ends[(lease.session, lease.since or 0.0)] = end
            if self._path:
                write_whole(self._path, json.dumps([[*key, until] for key, until in ends.items()]))
            self._ends = ends

"""Sessions that go on for longer than they began with."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sciencebox import settings as settings_file
from sciencebox.accounting.quota import Budget
from sciencebox.gpus.pool import Holding
from sciencebox.sessions.extensions import KEPT_S, Extensions, later_end
from sciencebox.sessions.policy import HOUR_S, Policy, policy_for

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_790_000_000.0
LEASE = Holding("GPU-0", "ada", "s-ada", NOW - HOUR_S, NOW + HOUR_S)
POLICY = Policy(session_s=2 * HOUR_S, extension_s=3 * HOUR_S)


@pytest.mark.parametrize(
    ("lease", "policy", "left", "end"),
    [
        (LEASE, POLICY, None, NOW + 4 * HOUR_S),
        (replace(LEASE, until=NOW + 4 * HOUR_S), POLICY, None, None),  # it was extended already
        (LEASE, replace(POLICY, extension_s=0.0), None, None),
        (replace(LEASE, until=None), POLICY, None, None),
        (LEASE, POLICY, Budget(10 * HOUR_S, 4 * HOUR_S), NOW + 3 * HOUR_S),  # of two GPUs
        (LEASE, POLICY, Budget(10 * HOUR_S, 8 * HOUR_S), None),
    ],
)
def test_until_when(lease: Holding, policy: Policy, left: Budget | None, end: float | None) -> None:
    assert later_end(lease, policy, 2, left, NOW) == end


def test_an_extension_outlives_the_hub_and_is_for_one_session_only(tmp_path: Path) -> None:
    Extensions(tmp_path / "extensions.json").add(LEASE, NOW + 9)
    later = Extensions(tmp_path / "extensions.json")
    later.read()
    second = replace(LEASE, uuid="GPU-1")
    next_session = replace(LEASE, since=NOW)
    assert [h.until for h in later.apply([LEASE, second, next_session])] == [NOW + 9, NOW + 9, LEASE.until]


def test_who_extend_at_the_same_time_all_do(tmp_path: Path) -> None:
    extensions = Extensions(tmp_path / "extensions.json")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: extensions.add(replace(LEASE, session=f"s-{n}"), time.time()), range(100)))
    assert len(json.loads((tmp_path / "extensions.json").read_text())) == 100


def test_old_ones_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "extensions.json"
    extensions = Extensions(path)
    extensions.add(LEASE, time.time() - KEPT_S - 1)
    extensions.add(replace(LEASE, session="s-bob"), time.time())
    assert [session for session, _, _ in json.loads(path.read_text())] == ["s-bob"]


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}', "[[1]]", '[["s", "x", 1]]'])
def test_a_damaged_file_takes_extensions_and_nothing_else(tmp_path: Path, content: str) -> None:
    path = tmp_path / "extensions.json"
    path.write_text(content)
    extensions = Extensions(path)
    extensions.read()
    assert extensions.apply([LEASE]) == [LEASE]


def test_the_longest_of_the_groups_counts() -> None:
    settings = settings_file.parse(
        "limits: {extension_hours: 1}\n"
        "groups: [{name: a, extension_hours: 4}, {name: b, extension_hours: 0}, {name: c}]",
        "test",
    )
    given = {groups: policy_for(settings, groups).extension_s / HOUR_S for groups in ("", "a", "b", "c", "bc", "ab")}
    assert given == {"": 1, "a": 4, "b": 0, "c": 1, "bc": 1, "ab": 4}

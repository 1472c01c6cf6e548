"""What is written down of who has which GPU, and what it adds up to."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sciencebox.accounting.leases import SAMPLE_S, Lease, changes
from sciencebox.accounting.store import LeaseStore
from sciencebox.accounting.usage import NO_GROUP, daily, summarise
from sciencebox.gpus.pool import Holding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_790_000_000.0
HOUR = 3600.0
ADA = Lease("ada", "box-session-ada", "GPU-0", "NVIDIA A100", NOW - HOUR, NOW - SAMPLE_S)
KINDS = {"GPU-0": "NVIDIA A100"}


def held(lease: Lease, **changed: object) -> Holding:
    return replace(Holding(lease.device, lease.user, lease.session, lease.since), **changed)


def test_a_lease_begins_goes_on_and_ends() -> None:
    (begun,) = changes([], [held(ADA)], KINDS, NOW - HOUR)
    assert begun == replace(ADA, until=NOW - HOUR)
    (going,) = changes([begun], [held(ADA)], KINDS, NOW - SAMPLE_S)
    assert going == ADA
    (ended,) = changes([going], [], KINDS, NOW)
    assert ended == replace(ADA, until=NOW, ended=True)


def test_one_that_ended_while_nobody_looked_ended_when_it_was_last_seen() -> None:
    assert changes([ADA], [], KINDS, NOW + HOUR) == [replace(ADA, ended=True)]


def test_a_new_session_of_the_same_name_is_another_lease() -> None:
    begun, ended = changes([ADA], [held(ADA, since=NOW)], KINDS, NOW)
    assert (begun.since, begun.ended) == (NOW, False)
    assert (ended.since, ended.ended) == (ADA.since, True)


def test_other_deployments_keep_their_own_books() -> None:
    assert changes([], [held(ADA, ours=False)], KINDS, NOW) == []


def test_a_card_that_is_out_of_sight_keeps_its_kind() -> None:
    assert [lease.kind for lease in changes([ADA], [held(ADA)], {}, NOW)] == ["NVIDIA A100"]


# The database


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LeaseStore]:
    store = LeaseStore(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    store.migrate()
    yield store
    store.close()


def test_what_is_written_is_read_again_and_replaced_by_its_key(store: LeaseStore) -> None:
    other = replace(ADA, device="GPU-1")
    store.write([ADA, other])
    store.write([replace(ADA, until=NOW, ended=True)])
    assert store.going() == [other]
    assert store.since(NOW - 1) == [replace(ADA, until=NOW, ended=True)]


def test_a_second_start_finds_its_tables(store: LeaseStore) -> None:
    store.write([ADA])
    store.migrate()
    assert store.going() == [ADA]


# The sums


def test_only_what_lies_in_the_time_asked_for_counts() -> None:
    (use,) = summarise([replace(ADA, until=NOW)], "user", NOW - HOUR / 2, NOW + HOUR)
    assert (use.name, use.sessions, use.gpu_hours, use.share) == ("ada", 1, 0.5, 1.0)
    assert summarise([ADA], "user", NOW, NOW + HOUR) == []


def test_a_session_with_two_cards_is_one_session_and_twice_the_time() -> None:
    leases = [replace(ADA, until=NOW), replace(ADA, until=NOW, device="GPU-1")]
    (use,) = summarise(leases, "user", 0, NOW)
    assert (use.sessions, use.gpu_hours) == (1, 2.0)
    assert [use.name for use in summarise(leases, "device", 0, NOW)] == ["NVIDIA A100 (GPU-0)", "NVIDIA A100 (GPU-1)"]


def test_who_is_in_two_groups_counts_in_both() -> None:
    leases = [replace(ADA, until=NOW), replace(ADA, until=NOW, user="bob", session="box-session-bob")]
    uses = summarise(leases, "group", 0, NOW, {"ada": ["clinic", "staff"]})
    assert [(use.name, use.share) for use in uses] == [(NO_GROUP, 0.5), ("clinic", 0.5), ("staff", 0.5)]


def test_the_hours_of_each_day_add_up_to_those_of_the_whole() -> None:
    start, end = NOW - 10 * 24 * HOUR, NOW
    found = [
        replace(ADA, since=start + n * 30 * HOUR, until=start + n * 30 * HOUR + n * 7 * HOUR) for n in range(-2, 9)
    ]
    days = daily(found, start, end)
    assert len(days) == 11
    assert all(later - day == timedelta(days=1) for (day, _), (later, _) in pairwise(days))
    assert sum(hours for _, hours in days) == pytest.approx(sum(lease.seconds(start, end) for lease in found) / HOUR)
    assert daily([replace(ADA, since=start - 1, until=start)], start, end) == [(day, 0.0) for day, _ in days]
    midnight = datetime.fromtimestamp(NOW).replace(hour=0, minute=0, second=0).timestamp()
    over_night = daily([replace(ADA, since=midnight - HOUR, until=midnight + 2 * HOUR)], midnight - 2 * HOUR, NOW)
    assert [hours for _, hours in over_night] == [1.0, 2.0]


moments = st.floats(0, 1000, allow_nan=False)
leases = st.lists(
    st.builds(
        lambda user, device, a, b: Lease(user, f"s-{user}", device, "", min(a, b), max(a, b), ended=True),
        st.sampled_from("abc"),
        st.sampled_from("xyz"),
        moments,
        moments,
    ),
    max_size=8,
)


@given(leases, moments, moments, moments)
def test_sums_of_parts_are_the_sum_of_the_whole(found: list[Lease], a: float, b: float, c: float) -> None:
    start, middle, end = sorted((a, b, c))

    def hours(first: float, last: float) -> float:
        return sum(use.gpu_hours for use in summarise(found, "user", first, last))

    assert hours(start, middle) + hours(middle, end) == pytest.approx(hours(start, end))
    assert hours(start, end) == pytest.approx(sum(use.gpu_hours for use in summarise(found, "device", start, end)))

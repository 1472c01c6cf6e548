"""What the GPUs of sessions did: added up from looks at the driver."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sciencebox.accounting.activity import LONGEST_GAP_S, Activity, Meter
from sciencebox.gpus.device import Device, Load
from sciencebox.gpus.pool import Holding

T = 1_790_000_000.0
ADA = Holding("GPU-0", "ada", "s-ada", T)
KEY = ("s-ada", "GPU-0", T)


def card(utilisation: float | None = None, memory: int | None = None, energy: float | None = None) -> list[Device]:
    return [Device("GPU-0", 0, load=Load(utilisation, memory, energy_j=energy))]


def test_the_mean_is_over_the_time_and_peaks_are_kept() -> None:
    meter = Meter()
    meter.see(card(0.0, 1, 100.0), [ADA], T)
    meter.see(card(1.0, 9, 200.0), [ADA], T + 10)
    meter.see(card(0.25, 3, 500.0), [ADA], T + 40)
    (found,) = meter.take().values()
    assert found == Activity(40.0, 17.5, 1.0, 9, 400.0)
    assert found.utilisation == 0.4375
    assert meter.take() == {}


def test_each_session_has_what_happened_while_it_held_the_card() -> None:
    meter = Meter()
    bob = Holding("GPU-0", "bob", "s-bob", T + 20)
    meter.see(card(1.0, energy=0.0), [ADA], T)
    meter.see(card(1.0, energy=10.0), [ADA], T + 10)
    meter.see(card(0.0, energy=15.0), [bob], T + 20)
    meter.see(card(0.0, energy=18.0), [bob], T + 30)
    found = meter.take()
    assert (found[KEY].energy_j, found[("s-bob", "GPU-0", T + 20)].energy_j) == (10.0, 3.0)


def test_what_could_not_be_written_is_not_lost() -> None:
    meter = Meter()
    meter.see(card(0.5, energy=0.0), [ADA], T)
    meter.see(card(0.5, energy=10.0), [ADA], T + 10)
    taken = meter.take()
    meter.see(card(0.5, energy=20.0), [ADA], T + 20)
    meter.give_back(taken)
    assert meter.take()[KEY] == Activity(20.0, 10.0, 0.5, None, 20.0)


@pytest.mark.parametrize(
    ("then", "now", "seconds", "found"),
    [
        (None, None, 10, Activity()),  # nothing is told, as of a MIG instance
        (1.0, 1.0, LONGEST_GAP_S + 1, Activity(0, 0, 1.0)),  # nobody looked for a while
    ],
)
def test_what_is_not_known_is_not_guessed(
    then: float | None, now: float | None, seconds: float, found: Activity
) -> None:
    meter = Meter()
    meter.see(card(then), [ADA], T)
    meter.see(card(now), [ADA], T + seconds)
    assert meter.take()[KEY] == found


def test_a_driver_that_was_loaded_anew_takes_no_energy_back() -> None:
    meter = Meter()
    meter.see(card(energy=500.0), [ADA], T)
    meter.see(card(energy=3.0), [ADA], T + 10)
    assert meter.take()[KEY].energy_j == 0.0


some = st.builds(
    Activity,
    st.integers(0, 100),
    st.integers(0, 100),
    st.none() | st.integers(0, 9),
    st.none() | st.integers(0, 9),
    st.none() | st.integers(0, 9),
)


@given(some, some, some)
def test_parts_may_be_added_in_any_order(a: Activity, b: Activity, c: Activity) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Activity() == a

"""Which signs of a GPU keep it from being granted, and what is said about it."""

from __future__ import annotations

import pytest
from sciencebox.gpus.device import Device, Health
from sciencebox.gpus.health import HealthFacts, HealthWatch, judge


@pytest.mark.parametrize(
    ("facts", "health", "words"),
    [
        (HealthFacts(), Health.HEALTHY, ""),
        (HealthFacts(lost="GPU is lost"), Health.QUARANTINED, "does not answer (GPU is lost)"),
        (HealthFacts(remap_failed=True), Health.QUARANTINED, "has to be replaced"),
        (HealthFacts(uncorrectable_ecc=1), Health.QUARANTINED, "had 1 error that"),
        (HealthFacts(uncorrectable_ecc=2), Health.QUARANTINED, "had 2 errors that"),
        (HealthFacts(remap_pending=True), Health.SUSPECT, "has to be reset"),
        (HealthFacts(recovery=2), Health.QUARANTINED, "says that the server has to be restarted"),
        (HealthFacts(recovery=4), Health.SUSPECT, "as soon as nobody uses it"),
        (HealthFacts(recovery=99), Health.SUSPECT, "recovery action 99"),
        (HealthFacts(recovery=1, remap_pending=True), Health.QUARANTINED, "has to be reset"),
        (HealthFacts(unread="who uses it cannot be read"), Health.SUSPECT, "who uses it cannot be read"),
        (HealthFacts(remap_failed=True, remap_pending=True), Health.QUARANTINED, "has to be replaced"),
        (HealthFacts(lost="GPU is lost", uncorrectable_ecc=5), Health.QUARANTINED, "GPU is lost"),
    ],
)
def test_the_gravest_sign_decides(facts: HealthFacts, health: Health, words: str) -> None:
    state, reason = judge(facts)
    assert state is health
    assert words in reason
    assert bool(reason) == (health is not Health.HEALTHY)


def test_since_when_a_card_is_not_well_is_since_it_was_first_seen_so() -> None:
    watch = HealthWatch()

    def since(now: float, health: Health, **marked: float) -> float | None:
        (card,) = watch.see([Device("GPU-0", 0, health=health, **marked)], now)  # type: ignore[arg-type]
        return card.health_since

    assert since(10.0, Health.HEALTHY) is None
    assert since(20.0, Health.SUSPECT) == since(30.0, Health.SUSPECT) == 20.0
    assert since(40.0, Health.QUARANTINED) == 40.0
    assert since(50.0, Health.QUARANTINED, health_since=45.0) == 45.0, "an administrator's word has its own time"
    assert since(60.0, Health.HEALTHY) is None
    assert since(70.0, Health.QUARANTINED) == 70.0

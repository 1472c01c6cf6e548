"""Which signs of a GPU keep it from being granted, and what is said about it."""

from __future__ import annotations

import pytest
from sciencebox.gpus.device import Health
from sciencebox.gpus.health import HealthFacts, judge


@pytest.mark.parametrize(
    ("facts", "health", "words"),
    [
        (HealthFacts(), Health.HEALTHY, ""),
        (HealthFacts(lost="GPU is lost"), Health.QUARANTINED, "does not answer (GPU is lost)"),
        (HealthFacts(remap_failed=True), Health.QUARANTINED, "has to be replaced"),
        (HealthFacts(uncorrectable_ecc=1), Health.QUARANTINED, "had 1 error that"),
        (HealthFacts(uncorrectable_ecc=2), Health.QUARANTINED, "had 2 errors that"),
        (HealthFacts(remap_pending=True), Health.SUSPECT, "has to be reset"),
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

"""Two hundred users in the queue: whoever wants no GPU does not notice them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.crowd import crowd
from tests.service import wait_until

if TYPE_CHECKING:
    from tests.service import Service

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("quick_sessions", "nothing_left")]

CROWD = 200


def test_two_hundred_who_wait_take_nobody_s_place_and_each_has_one(service: Service) -> None:
    with service.session("maria", gpu="any", gpu_count=2) as maria, crowd(service, CROWD) as names:
        with service.session("jonas"):
            assert len(service.waiting()) == CROWD
        with service.queued("eva", gpu="any", gpu_count=1) as (eva,):
            assert eva.place()["title"] == f"You are number {CROWD + 1} of {CROWD + 1} in the queue"

        maria.stop()
        wait_until(lambda: len(service.holders()) == 2, "two of them have a card")
        assert set(service.holders().values()) <= set(names)
    wait_until(lambda: not service.waiting(), "nobody waits")

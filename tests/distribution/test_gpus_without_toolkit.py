"""What must hold of GPUs with CDI holds without NVIDIA's toolkit, too: the same tests, another engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.deployed.test_gpus import (
    test_a_container_ended_by_hand_frees_its_card,
    test_a_killed_hub_comes_back_knowing_who_holds_what,
    test_a_session_without_a_gpu_sees_no_card,
    test_several_cards_for_one_session,
    test_two_users_have_different_cards_and_the_third_waits,
)
from tests.engine import rig
from tests.service import wait_until

if TYPE_CHECKING:
    from tests.service import Service

__all__ = [
    "test_a_container_ended_by_hand_frees_its_card",
    "test_a_killed_hub_comes_back_knowing_who_holds_what",
    "test_a_session_without_a_gpu_sees_no_card",
    "test_several_cards_for_one_session",
    "test_two_users_have_different_cards_and_the_third_waits",
]

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("nothing_left")]


def test_the_cards_are_attached_by_the_drivers_files(service: Service) -> None:
    assert "bind: " in service.said
    with service.session("maria", gpu="any", gpu_count=1):
        _, library = service.run("maria", ["sh", "-c", "ls /usr/local/nvidia/lib64"])
        assert "libcuda.so.1" in library.split()


def test_after_a_restart_of_the_engine_the_service_is_back_and_every_card_free(
    service: Service, debian_engine: rig.Engine
) -> None:
    with service.session("maria", gpu="any", gpu_count=2) as maria:
        rig.restart(debian_engine)
        wait_until(service.answers, "the hub answers again", seconds=120)
        assert not service.holders()
        wait_until(lambda: not maria.is_ready(), "the hub has seen that the session ended", seconds=90)
        with service.session("jonas", gpu="any", gpu_count=2):
            assert set(service.holders().values()) == {"jonas"}

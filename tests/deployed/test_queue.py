"""Who waits for a card, and who is next: a deployed service, two cards, real containers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.service import wait_until

if TYPE_CHECKING:
    from tests.service import Service

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("quick_sessions", "nothing_left")]

ONE = {"gpu": "any", "gpu_count": 1}
BOTH = {"gpu": "any", "gpu_count": 2}


def test_the_third_waits_and_starts_by_itself_when_a_card_is_free(service: Service) -> None:
    # Two who have not used a card in another test: who has is behind who has not.
    with service.session("maria", **ONE) as maria, service.session("jonas", **ONE):
        with service.queued("ines", "kim", **ONE) as (ines, kim):
            place = ines.place()
            assert place["title"] == "You are next"
            assert place["ahead"] == "Nobody is ahead of you."
            assert place["in_use"] == "The GPUs are in use by jonas and maria."
            assert place["start"] is not None
            assert kim.place()["ahead"] == "Ahead of you: ines."

            maria.stop()
            wait_until(ines.is_ready, "ines's session is ready")
            assert set(service.holders().values()) == {"ines", "jonas"}
            assert kim.place()["title"] == "You are next"
        wait_until(lambda: not service.waiting(), "nobody waits")


def test_who_leaves_the_queue_is_not_called(service: Service) -> None:
    with service.session("maria", **BOTH) as maria, service.queued("eva", "karl", **ONE) as (eva, karl):
        eva.stop()
        assert karl.place()["title"] == "You are next"
        wait_until(lambda: service.waiting() == ["karl"], "the place is given up for a restart, too")

        maria.stop()
        wait_until(karl.is_ready, "karl's session is ready")
        assert set(service.holders().values()) == {"karl"}


def test_who_leaves_while_the_session_is_being_made_holds_no_card(service: Service) -> None:
    with service.session("maria", **BOTH) as maria, service.queued("eva", **ONE) as (eva,):
        maria.stop()
        eva.stop()
        wait_until(lambda: not service.holders(), "no card is held", seconds=10)


def test_the_first_in_line_is_not_overtaken_by_who_asks_for_less(service: Service) -> None:
    with (
        service.session("maria", **ONE) as maria,
        service.queued("lena", **BOTH) as (lena,),
        service.queued("nils", **ONE) as (nils,),
    ):
        assert nils.place()["ahead"] == "Ahead of you: lena."
        maria.stop()
        wait_until(lena.is_ready, "lena's session is ready")
        assert not nils.is_ready()


def test_who_wants_no_card_does_not_wait(service: Service) -> None:
    with service.session("maria", **BOTH), service.queued("eva", **ONE), service.session("jonas"):
        assert service.waiting() == ["eva"]


@pytest.mark.parametrize(
    ("came_first", "came_second", "has_used", "is_next"),
    [("olga", "paul", [], "olga"), ("rita", "sven", ["rita"], "sven")],
    ids=["by arrival", "by what was used"],
)
def test_a_killed_hub_keeps_the_queue_in_its_order(
    service: Service, came_first: str, came_second: str, has_used: list[str], is_next: str
) -> None:
    for name in has_used:
        with service.session(name, **ONE):
            pass
    with service.session("maria", **BOTH) as maria, service.queued(came_first, came_second, **ONE) as people:
        places = [person.place()["ahead"] for person in people]
        assert f"Ahead of you: {is_next}." in places
        service.kill_hub()

        wait_until(lambda: [person.place().get("ahead") for person in people] == places, "the queue is as before")
        wait_until(maria.is_ready, "the session with the cards is known to the hub again")
        maria.stop()
        wait_until(lambda: all(person.is_ready() for person in people), "both have a card")


def test_what_can_never_be_had_is_refused_at_once(service: Service) -> None:
    with service.session("maria", **BOTH):
        answer = service.person("eva").start(gpu="any", gpu_count=3)
        assert answer.status_code == 400
        assert re.search(r"gpu_count: .*from 1 to 2", answer.json()["message"])
        assert service.waiting() == []

"""The GPUs page, its events and what administrators do there, over HTTP."""

from __future__ import annotations

import json
import re
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sciencebox.gpus.device import Health, Load
from sciencebox.hub.gpus import LETTERS_A_SECOND, MOST_STREAMS, TOGETHER_S

from tests.fakes.little_hub import TWO_FREE, State, gpu, held
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

    from tests.fakes.little_hub import LittleHub, Person

HIDDEN = "gpus: {show_holders: false}"


def row(page: str, index: int) -> str:
    """A GPU's line in words."""
    found = re.search(rf'<li [^>]*data-uuid="GPU-{index}">(.*?)</li>', page, re.DOTALL)
    assert found
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[1]))


def test_every_card_is_shown_with_what_it_is_and_who_has_it(hub: LittleHub, ada: Person):
    ill = gpu(2, "NVIDIA T4", 16, health=Health.QUARANTINED, health_reason="2 uncorrectable memory errors")
    hub.show(State(gpus=(gpu(0), gpu(1), ill), holdings=(held(0, "bob"), held(1, "ada"))))
    page = ada.get("sciencebox/gpus").text
    assert "In use by bob" in row(page, 0)
    assert "In use by you" in row(page, 1)
    assert all(part in row(page, 2) for part in ("NVIDIA T4", "16 GiB", "00000000:42:00.0", "GPU-2"))
    assert "In quarantine: 2 uncorrectable memory errors" in row(page, 2)


def test_names_are_hidden_from_others_where_the_settings_say_so(hub: LittleHub, ada: Person):
    hub.show(replace(TWO_FREE, holdings=(held(0, "bob"), held(1, "ada")), settings=HIDDEN))
    page = ada.get("sciencebox/gpus").text
    assert "bob" not in page and "In use" in row(page, 0) and "In use by you" in row(page, 1)
    assert "bob" not in ada.get("sciencebox/numbers").text
    assert "bob" not in ada.get("spawn").text
    assert "In use by bob" in row(hub.sign_in("admin").get("sciencebox/gpus").text, 0)


def test_only_administrators_are_told_how_cards_reach_sessions(hub: LittleHub, ada: Person):
    assert "Attached by" not in ada.get("sciencebox/gpus").text
    page = hub.sign_in("admin").get("sciencebox/gpus").text
    assert "Attached by: cdi. The engine knows the cards by CDI." in page
    assert "580.65.06" in page


def test_a_server_without_gpus_says_why(hub: LittleHub, ada: Person):
    hub.show(State(reason="The NVIDIA driver is not installed."))
    page = ada.get("sciencebox/gpus").text
    assert "The NVIDIA driver is not installed. Sessions without a GPU work." in page and "Queue" not in page
    assert "The NVIDIA driver is not installed." in ada.get("spawn").text


def test_who_waits_is_shown_also_while_no_card_is_known(hub: LittleHub, ada: Person):
    hub.show(State(reason="The NVIDIA driver does not answer.", line=("eva", "ada")))
    page = ada.get("sciencebox/gpus").text
    assert "The NVIDIA driver does not answer." in page
    assert re.findall(r'<td>(\d)</td>\s*<th scope="row">(\w+)</th>', page) == [("1", "eva"), ("2", "you")]


def test_simulated_cards_are_called_so(hub: LittleHub, ada: Person):
    hub.show(State(gpus=(gpu(0, simulated=True),), settings="gpus: {simulate: 1}"))
    assert "SIMULATED" in row(ada.get("sciencebox/gpus").text, 0)
    assert "SIMULATED" in ada.get("spawn").text
    assert "The GPUs of this service are simulated" in ada.get("home").text


def test_a_card_s_texts_cannot_bring_markup(hub: LittleHub, ada: Person):
    evil = "<script>alert(1)</script>"
    ill = gpu(0, evil, health=Health.QUARANTINED, health_reason=evil)
    hub.show(State(gpus=(ill, gpu(1)), holdings=(held(1, evil),)))
    for path in ("sciencebox/gpus", "spawn", f"spawn?gpu={evil}"):
        page = ada.get(path).text
        assert evil not in page
        assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize(
    ("uuid", "told", "status", "says"),
    [
        ("GPU-0", {"reason": "x" * 201}, 400, "Say why in up to 200 letters"),
        ("GPU-0", [], 400, "not a JSON object"),
        ("GPU-9", {"reason": "its fan"}, 404, "no such GPU"),
    ],
)
def test_why_a_card_is_not_taken_out_is_told_to_programs_and_pages(
    hub: LittleHub, ada: Person, admin: Person, uuid: str, told: object, status: int, says: str
):
    def take_out(person: Person) -> requests.Response:
        person.get("home")
        return person.call("PUT", f"sciencebox/gpus/{uuid}/drain", json=told)

    refused = take_out(admin)
    assert refused.status_code == status and says in refused.json()["message"]
    stranger = take_out(ada)
    assert stranger.status_code == 403 and "Only an administrator" in stranger.json()["message"]


def events(answer: requests.Response) -> Iterator[tuple[str, str]]:
    """Name and data of the server's events, as they come."""
    name, data = "", []
    for raw in answer.iter_lines():
        field, _, value = raw.decode().partition(": ")
        if field == "event":
            name, data = value, []
        elif field == "data":
            data.append(value)
        elif not field and name:
            yield name, "\n".join(data)
            name = ""


def test_an_open_page_hears_of_what_changes_and_of_nothing_else(hub: LittleHub, ada: Person):
    with ada.get("sciencebox/gpus/events", stream=True) as answer:
        heard = events(answer)
        assert next(data for name, data in heard if name == "cards").count("<li ") == 2
        assert next(data for name, data in heard if name == "loads" and "GPU-0" in data)

        busy = gpu(0, load=Load(0.5, 2**30, 61, 240.0))
        hub.show(State(gpus=(busy, gpu(1))))
        name, data = next(heard)
        assert name == "loads"
        assert json.loads(data)["GPU-0"]["temperature"] == 61


def test_what_there_is_much_of_is_told_less_often(hub: LittleHub, ada: Person):
    many = tuple(gpu(n) for n in range(500))
    hub.show(State(gpus=many))
    with ada.get("sciencebox/gpus/events", stream=True) as answer:
        cards = (data for name, data in events(answer) if name == "cards")
        told_at = []
        for user in ("bob", "eva", "karl"):
            letters = len(next(cards))
            told_at.append(time.monotonic())
            hub.show(State(gpus=many, holdings=(held(0, user),)))
    assert told_at[2] - told_at[1] > 0.9 * letters / LETTERS_A_SECOND > TOGETHER_S


def test_who_is_signed_out_hears_nothing(hub: LittleHub):
    for method in ("GET", "HEAD"):
        assert hub.ask("sciencebox/gpus/events", method).status_code == 403


def test_nobody_keeps_the_hub_busy_with_pages_by_the_hundred(hub: LittleHub):
    mallory, eva = hub.sign_in("mallory"), hub.sign_in("eva")
    with ExitStack() as open_pages:
        one, *_ = [
            open_pages.enter_context(mallory.get("sciencebox/gpus/events", stream=True)) for _ in range(MOST_STREAMS)
        ]
        for method in ("GET", "HEAD"):
            assert mallory.call(method, "sciencebox/gpus/events").status_code == 429
        assert eva.call("HEAD", "sciencebox/gpus/events").ok
        one.close()  # one that is closed is no longer counted, though nothing has changed since
        wait_until(lambda: mallory.call("HEAD", "sciencebox/gpus/events").ok, "the closed page is noticed", 10)


@pytest.mark.parametrize(("scope", "status"), [("admin:servers", 204), ("list:users", 403)])
def test_a_program_takes_cards_out_of_service_by_a_token_for_that(
    hub: LittleHub, admin: Person, scope: str, status: int
):
    made = admin.call("POST", "api/users/admin/tokens", json={"scopes": [scope]})
    by_token = {"Authorization": f"token {made.json()['token']}"}
    path = "sciencebox/gpus/GPU-0/quarantine"
    assert hub.ask(path, "PUT", json={"reason": "x"}, headers=by_token).status_code == status
    assert hub.ask(path, "DELETE", headers=by_token).status_code == status

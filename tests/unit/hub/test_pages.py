"""The hub's pages over HTTP, as browsers and scripts meet them."""

from __future__ import annotations

import re
import time
from contextlib import closing
from dataclasses import replace
from html import unescape
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest

from tests.fakes.little_hub import ANSWER_S, TWO_FREE, held
from tests.service import wait_until

if TYPE_CHECKING:
    import requests

    from tests.fakes.little_hub import LittleHub, Person


def checked(page: str) -> list[str]:
    """The values that the form shows chosen."""
    inputs = re.findall(r'<input type="radio"[^>]*value="([^"]*)"[^>]*\schecked>', page)
    return [unescape(value) for value in inputs]


# The form


def test_the_form_shows_what_is_free(hub: LittleHub, ada: Person):
    hub.show(replace(TWO_FREE, holdings=(held(0, "bob"),)))
    page = ada.get("spawn").text
    assert "1 of 2 free" in page
    assert "in use by bob" in page
    assert checked(page) == ["2", "4 GiB", "none"]


def test_a_link_fills_the_form_in_and_starts_nothing(ada: Person):
    answer = ada.get("spawn?stack=nowhere&cores=4&memory=8+GiB&gpu=NVIDIA+A100&gpu_count=2", allow_redirects=False)
    assert answer.status_code == 200
    assert checked(answer.text) == ["4", "8 GiB", "NVIDIA A100"]
    assert 'value="2"' in answer.text
    assert "What the link asks for here is not on offer" in answer.text  # the stack
    assert "Nothing is running" in ada.get("home").text


def test_a_link_with_jupyterhub_s_prefix_does_the_same(ada: Person):
    assert checked(ada.get("spawn?opt-gpu=any", allow_redirects=False).text)[-1] == "any"


def test_a_link_survives_signing_in(hub: LittleHub):
    answer = hub.ask("spawn?gpu=any&cores=4")
    assert answer.status_code == 302
    assert "next=%2Fhub%2Fspawn%3Fgpu%3Dany%26cores%3D4" in answer.headers["Location"]


@pytest.mark.parametrize(
    ("forged", "field", "says"),
    [
        ({"gpu": "NVIDIA H100"}, "gpu", "Choose none, any or NVIDIA A100."),
        ({"gpu": "any", "gpu_count": "9"}, "gpu_count", "from 1 to 2"),
        ({"cores": "64"}, "cores", "Choose 1, 2, 4 or 8."),
        ({"memory": "1 TiB"}, "memory", "Choose 2 GiB, 4 GiB, 8 GiB or 16 GiB."),
        ({"stack": "../../etc"}, "stack", "Choose SB_1_cuda or SB_1."),
    ],
)
def test_forged_values_are_refused_at_their_field(ada: Person, forged: dict[str, str], field: str, says: str):
    answer = ada.send_form(**{"cores": "4", "memory": "8 GiB", "gpu": "any", "gpu_count": "1", **forged})
    assert answer.status_code == 400
    error = re.search(rf'id="{field}-error"[^>]*>([^<]*)<', answer.text)
    assert error and says in unescape(error[1])
    assert f'aria-describedby="{field}-about {field}-error" aria-invalid="true"' in answer.text
    # What was right is shown again as it was entered.
    kept = {"cores": "4", "memory": "8 GiB", "gpu": "any"}
    assert {value for name, value in kept.items() if name not in forged} <= set(checked(answer.text))


def test_an_unknown_field_is_told_at_the_top(ada: Person):
    answer = ada.send_form(image="evil:latest")
    assert answer.status_code == 400
    assert "There is no such field" in answer.text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cores": 64}, "cores: Choose 1, 2, 4 or 8."),
        ({"gpu": "any", "gpu_count": 9}, "gpu_count: Choose a whole number from 1 to 2: this server has 2."),
        ({"memory": ["4 GiB", "8 GiB"]}, "memory: Give one text or one whole number."),
        ({"image": "evil:latest"}, "image: There is no such field"),
    ],
)
def test_the_api_is_told_the_same_and_starts_nothing(ada: Person, options: dict[str, object], says: str):
    ada.get("home")
    answer = ada.call("POST", "api/users/ada/server", json=options)
    assert answer.status_code == 400 and answer.json()["message"].startswith(says)
    assert "Nothing is running" in ada.get("home").text


def test_a_link_to_the_form_leads_to_the_session_that_is_there_already(ada: Person):
    ada.send_form(gpu="none")
    answer = ada.get("spawn?gpu=any&cores=4", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/hub/spawn-pending/ada")


def test_only_an_administrator_sees_the_form_of_somebody_else(hub: LittleHub, ada: Person):
    hub.show(replace(TWO_FREE, holdings=(held(0, "ada"),)))
    page = hub.sign_in("admin").get("spawn/ada?gpu=any").text
    assert "For ada" in page and checked(page)[-1] == "any"
    assert ada.get("spawn/admin").status_code == 404


def test_what_was_refused_is_not_shown_to_the_next_visit(ada: Person):
    ada.send_form(cores="64")
    assert "cores-error" not in ada.get("spawn").text


def test_values_that_are_not_text_are_refused(ada: Person):
    assert ada.get("spawn?gpu=%ff").status_code == 400
    assert ada.send_form(gpu=b"\xff").status_code == 400


@pytest.mark.parametrize("path", ["/hub/login", "/user/nobody/api"])
def test_a_stranger_does_not_fill_the_hub_s_memory(hub: LittleHub, path: str):
    with closing(HTTPConnection(hub.url.removeprefix("http://"), timeout=ANSWER_S)) as connection:
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(50 * 2**20))
        connection.endheaders()
        assert connection.getresponse().status == 400  # before anything of it was sent


def test_a_form_from_elsewhere_is_refused(hub: LittleHub, ada: Person):
    answer = ada.http.post(f"{hub.url}/hub/spawn", data={"gpu": "none"}, timeout=ANSWER_S)
    assert answer.status_code == 403
    assert "Nothing is running" in ada.get("home").text


def test_the_form_remembers_what_was_chosen_last(ada: Person):
    assert ada.send_form(cores="8", gpu="NVIDIA A100", gpu_count="2").status_code == 302
    ada.cancel()
    wait_until(lambda: "Nothing is running" in ada.get("home").text, "the start is cancelled")
    page = ada.get("spawn").text
    assert checked(page) == ["8", "4 GiB", "NVIDIA A100"]


def test_the_choices_of_a_link_do_not_follow_into_the_session(ada: Person):
    answer = ada.send_form("spawn?gpu=any&next=/hub/home", gpu="none")
    assert answer.headers["Location"] == "/hub/spawn-pending/ada?next=%2Fhub%2Fhome"


def test_the_pending_page_has_a_step_for_the_gpu_only_where_one_was_asked_for(ada: Person):
    ada.send_form(gpu="none")
    assert re.findall(r'data-step="(\w+)"', ada.get("spawn-pending/ada").text) == [
        "checking",
        "creating",
        "starting",
        "ready",
    ]
    ada.cancel()
    wait_until(lambda: "Nothing is running" in ada.get("home").text, "the start is cancelled")
    ada.send_form(gpu="any")
    assert 'data-step="gpu"' in ada.get("spawn-pending/ada").text


# Live numbers


def test_numbers_change_with_the_server_and_are_not_sent_twice(hub: LittleHub, ada: Person):
    first = ada.get("sciencebox/numbers")
    assert first.json()["gpus"][0]["numbers"] == "2 of 2 free"
    assert "private" in first.headers["Cache-Control"]
    same = ada.get("sciencebox/numbers", headers={"If-None-Match": first.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    hub.show(replace(TWO_FREE, holdings=(held(1, "bob"),)))
    new = ada.get("sciencebox/numbers", headers={"If-None-Match": first.headers["ETag"]})
    assert new.status_code == 200
    assert new.json()["gpus"][1] == {
        "gpu": "NVIDIA A100",
        "title": "NVIDIA A100",
        "about": "80 GiB each",
        "numbers": "1 of 2 free",
        "in_use": "in use by bob",
        "free": 1,
        "most": 2,
    }


def test_nobody_is_shown_anything_without_signing_in(hub: LittleHub):
    assert hub.ask("sciencebox/numbers").status_code == 403
    page = hub.ask("sciencebox/gpus")
    assert page.status_code == 302 and "/hub/login" in page.headers["Location"]


# Usage


def test_everybody_sees_what_they_used_and_administrators_everything(hub: LittleHub, admin: Person):
    lea = hub.sign_in("lea")
    assert "You used no GPU in this time." in lea.get("sciencebox/usage").text
    since = time.time() - 7200
    hub.show(replace(TWO_FREE, holdings=(replace(held(0, "lea"), since=since), replace(held(1, "tom"), since=since))))

    def hours(person: Person, query: str) -> list[str]:
        page = person.get(f"sciencebox/usage?{query}").text
        return re.findall(r'<th scope="row">([^<]*)</th><td>1</td><td>2.00</td>', page)

    wait_until(lambda: hours(lea, "days=7") == ["lea"], "the lease is written down")
    assert hours(admin, "days=90") == ["lea", "tom"]
    assert "NVIDIA A100 (GPU-1)" in admin.get("sciencebox/usage?by=device").text
    assert "tom" not in lea.get("sciencebox/usage?by=user").text
    assert 'role="img"' in admin.get("sciencebox/usage").text


def test_the_report_can_be_taken_away_by_administrators(ada: Person, admin: Person):
    report = admin.get("sciencebox/usage?as=csv&days=365")
    assert report.headers["Content-Disposition"] == 'attachment; filename="gpu-usage-by-user-365-days.csv"'
    assert report.text.startswith("name,sessions,gpu_hours,share")
    assert report.headers["Cache-Control"] == "private, no-cache"
    assert ada.get("sciencebox/usage?as=csv").status_code == 403


@pytest.mark.parametrize("query", ["days=8", "days=-1", "by=colour", "days=<script>"])
def test_a_report_that_does_not_exist_is_refused(ada: Person, query: str):
    assert ada.get(f"sciencebox/usage?{query}").status_code == 400


# Around the pages


def test_style_and_scripts_are_served_and_nothing_beside_them(hub: LittleHub):
    def static(path: str) -> requests.Response:
        return hub.ask(f"sciencebox/static/{path}")

    for name in ("sciencebox.css", "form.js", "gpus.js", "pending.js", "refresh.js", "home.js"):
        assert static(name).ok
    assert static("%2e%2e/pages.py").status_code in {403, 404}


def test_style_and_scripts_are_kept_by_the_browser_until_they_change(hub: LittleHub, ada: Person):
    addresses = re.findall(r'(?:src|href)="/hub/(sciencebox/static/[^"]*)"', ada.get("spawn").text)
    assert len(addresses) == 2
    for address in addresses:
        kept = hub.ask(address)
        assert kept.ok and re.search(r"max-age=\d{5,}", kept.headers["Cache-Control"]), address
    looked_at = hub.ask("sciencebox/static/refresh.js")  # imported by the others
    assert looked_at.headers["Cache-Control"] == "no-cache"
    when = {"If-Modified-Since": looked_at.headers["Last-Modified"]}
    again = hub.ask("sciencebox/static/refresh.js", headers=when)
    assert (again.status_code, again.content) == (304, b"")


def test_pages_load_nothing_from_elsewhere(ada: Person):
    for path in ("home", "spawn", "sciencebox/gpus"):
        sources = re.findall(r'(?:src|href)="([^"]*)"', ada.get(path).text)
        assert [source for source in sources if not source.startswith(("/", "#"))] == []


def test_an_error_is_said_once_and_leads_back(hub: LittleHub, ada: Person):
    page = ada.get("nothing/here")
    assert page.status_code == 404
    assert re.search(r'<span class="me-1">ada</span>\s*<a id="logout"[^>]*href="/hub/logout"', page.text)
    assert 'id="login"' in hub.ask("nothing/here").text
    assert "No such page" in page.text and "There is nothing at this address." in page.text
    assert "Back to your session" in page.text


def test_what_is_not_allowed_is_said_in_words_for_people(hub: LittleHub, ada: Person):
    for path, words in (("admin", "Your account may not do this."), ("spawn/bob", "or it is not for you.")):
        page = ada.get(path).text
        assert words in page and "scope" not in page and "resources" not in page
    old = ada.http.post(f"{hub.url}/hub/spawn", data={"gpu": "none", "_xsrf": "of-last-week"}, timeout=ANSWER_S)
    assert old.status_code == 403 and "Go back, load it again, and send it once more." in old.text

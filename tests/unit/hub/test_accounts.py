"""Signing in, asking for an account, and the one-time password, over HTTP on a hub configured as it is deployed."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

import pytest
import requests
from sciencebox.hub.accounts import ScienceBoxAuthenticator
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from tests.fakes import little_hub
from tests.unit.hub.visitor import PASSWORD, Visitor, is_let_in, said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fakes.little_hub import LittleHub

ONE_TIME = "one-time-password-as-printed"
ADMIN = "the-administrator-s-own-password"
EVIL = '"><script>alert(1)</script>'

_numbers = count()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LittleHub]:
    with little_hub.running(tmp_path_factory.mktemp("hub"), "own", first_password=ONE_TIME) as hub:
        yield hub


@pytest.fixture(scope="module")
def first_password(hub: LittleHub) -> Path:
    return hub.file.parent / "secrets/first_password"


@pytest.fixture
def visitor(hub: LittleHub) -> Iterator[Callable[[], Visitor]]:
    """Somebody who comes to the hub for the first time."""
    visitors: list[Visitor] = []

    def come() -> Visitor:
        visitors.append(Visitor(hub))
        return visitors[-1]

    yield come
    for one in visitors:
        one.http.close()


@pytest.fixture
def admin(visitor: Callable[[], Visitor], first_password: Path) -> Visitor:
    """The administrator, signed in, who has a password of their own."""
    one = visitor()
    if first_password.exists():
        one.sign_in("admin", ONE_TIME)
        one.change_password(ONE_TIME, ADMIN)
    assert one.sign_in("admin", ADMIN).status_code == 302
    return one


@pytest.fixture
def name() -> str:
    """A name that nobody has."""
    return f"user{next(_numbers)}"


# The one-time password; this comes first, for it can be used only once


def test_the_one_time_password_is_for_setting_another_and_is_then_gone(
    visitor: Callable[[], Visitor], first_password: Path
):
    admin = visitor()
    answer = admin.sign_in("admin", ONE_TIME, "login?next=%2Fhub%2Fspawn")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/hub/change-password")
    assert admin.get("spawn").headers["Location"] == "/hub/change-password"
    assert "one-time password that the installation printed" in admin.get("change-password").text
    for old, new, again, why in (
        ("not-the-password", ADMIN, "", "current password was incorrect"),
        (ONE_TIME, ADMIN, "something-else", "didn't match"),
        (ONE_TIME, "short", "", "at least 10 characters"),
        (ONE_TIME, ONE_TIME, "", "Something went wrong"),
    ):
        assert why in said(admin.change_password(old, new, again))
        assert first_password.exists()

    page = admin.change_password(ONE_TIME, ADMIN)
    assert "changed successfully" in said(page) and "Continue" in page.text
    assert admin.get("spawn").status_code == 200
    assert not first_password.exists()
    assert visitor().sign_in("admin", ONE_TIME).status_code == 403
    again = visitor().sign_in("admin", ADMIN, "login?next=%2Fhub%2Fspawn")
    assert (again.status_code, again.headers["Location"]) == (302, "/hub/spawn")


# Signing in


@pytest.mark.parametrize("who", ["admin", "nobody-of-this-name"])
def test_a_wrong_password_is_refused_without_telling_who_exists(
    visitor: Callable[[], Visitor], admin: Visitor, who: str
):
    one = visitor()
    answer = one.sign_in(who, "a-wrong-password")
    assert answer.status_code == 403
    assert said(answer) == "Invalid user name or password."
    assert f'value="{who}"' in answer.text and "a-wrong-password" not in answer.text
    assert "Traceback" not in answer.text
    assert not is_let_in(one)


def test_what_was_typed_is_text(visitor: Callable[[], Visitor]):
    assert "<script>alert" not in visitor().sign_in(EVIL, EVIL).text
    assert "<script>alert" not in visitor().sign_up(EVIL).text
    assert "<script>alert" not in visitor().get(f"login?next={EVIL}").text


@pytest.mark.parametrize(
    ("after", "leads_to"),
    [
        ("/hub/spawn?gpu=any&cores=4", "/hub/spawn?gpu=any&cores=4"),
        ("https://evil.example/hub/spawn", "/hub/"),
        ("//evil.example/", "/hub/"),
        ("javascript:alert(1)", "/hub/"),
    ],
)
def test_signing_in_leads_on_to_where_one_was_going_here(
    visitor: Callable[[], Visitor], admin: Visitor, after: str, leads_to: str
):
    path = f"login?{requests.models.RequestEncodingMixin._encode_params({'next': after})}"
    answer = visitor().sign_in("admin", ADMIN, path)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(leads_to)
    assert "evil" not in answer.headers["Location"] and "javascript" not in answer.headers["Location"]


def test_a_form_from_elsewhere_signs_nobody_in(visitor: Callable[[], Visitor], admin: Visitor):
    one = visitor()
    form = {"username": "admin", "password": ADMIN}
    assert one.http.post(f"{one.url}login", data=form, timeout=10, allow_redirects=False).status_code == 403
    assert not is_let_in(one)


@pytest.mark.parametrize("fields", [{}, {"username": "admin"}, {"password": ADMIN}])
def test_a_form_without_its_fields_is_refused_like_a_wrong_password(
    visitor: Callable[[], Visitor], fields: dict[str, str]
):
    answer = visitor().send("login", **fields)
    assert (answer.status_code, said(answer)) == (403, "Invalid user name or password.")


def test_guessing_is_stopped_after_five_tries(visitor: Callable[[], Visitor], admin: Visitor, name: str):
    one = visitor()
    one.sign_up(name)
    admin.approve(name)
    for _ in range(5):
        assert one.sign_in(name, "a-wrong-password").status_code == 403
    assert one.sign_in(name, PASSWORD).status_code == 403  # for a minute, not even the right one


# Asking for an account


def test_who_asked_for_an_account_is_let_in_after_approval(visitor: Callable[[], Visitor], admin: Visitor, name: str):
    one = visitor()
    asked = one.sign_up(name)
    assert "has to approve your account" in said(asked)
    early = one.sign_in(name, PASSWORD)
    assert (early.status_code, said(early)) == (403, "The administrator has not approved your account yet.")
    assert said(one.sign_in(name, "a-wrong-password")) == "Invalid user name or password."
    assert not is_let_in(one)

    assert re.search(rf'<th scope="row">{name}</th>\s*<td>not yet</td>', admin.get("authorize").text)
    assert admin.approve(name).status_code == 302
    assert one.sign_in(name, PASSWORD).status_code == 302
    assert is_let_in(one)
    assert one.get("authorize").status_code in {403, 404}  # that is the administrator's


def test_only_the_administrator_s_own_button_approves_or_discards(
    visitor: Callable[[], Visitor], admin: Visitor, name: str
):
    one = visitor()
    one.sign_up(name)
    for path in (f"authorize/{name}", f"discard/{name}"):
        assert admin.get(path).status_code == 405  # anybody could send a link
        assert admin.http.post(admin.url + path, timeout=10).status_code == 403
        assert one.send(path, at="login").status_code == 403
    assert "not approved" in said(one.sign_in(name, PASSWORD))

    admin.approve(name)
    one.sign_in(name, PASSWORD)
    assert one.send(f"authorize/{name}", at="change-password").status_code in {403, 404}
    assert is_let_in(one)


def test_who_is_discarded_can_ask_again(visitor: Callable[[], Visitor], admin: Visitor, name: str):
    visitor().sign_up(name)
    assert admin.send(f"discard/{name}", at="authorize").status_code == 302
    assert f'<th scope="row">{name}</th>' not in admin.get("authorize").text
    assert "has to approve your account" in said(visitor().sign_up(name))


def test_whose_approval_was_withdrawn_is_not_let_in_again(visitor: Callable[[], Visitor], admin: Visitor, name: str):
    one = visitor()
    one.sign_up(name)
    admin.approve(name)
    assert "Withdraw approval" in admin.get("authorize").text
    admin.approve(name)
    assert "not approved" in said(one.sign_in(name, PASSWORD))


@pytest.mark.parametrize(
    ("password", "again", "why"),
    [
        ("short", "", "at least 10 characters"),
        ("1234567890", "", "not too common"),
        (PASSWORD, "another-long-password", "did not match"),
    ],
)
def test_a_password_that_will_not_do_is_refused_with_the_reason(
    visitor: Callable[[], Visitor], name: str, password: str, again: str, why: str
):
    one = visitor()
    assert why in said(one.sign_up(name, password, again))
    assert said(one.sign_in(name, password)) == "Invalid user name or password."


def test_nobody_becomes_administrator_by_asking_first(tmp_path: Path):
    # As after the settings were given another administrator's name: the deployment has made no account for it.
    engine = create_engine(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    with Session(engine) as db:
        accounts = ScienceBoxAuthenticator(db=db, administrator="boss", admin_users={"boss"}, enable_signup=True)
        assert accounts.create_user("boss", PASSWORD) is None
        assert accounts.create_user("BOSS", PASSWORD) is None
        asked = accounts.create_user("ada", PASSWORD)
        assert asked and not asked.is_authorized
    engine.dispose()


@pytest.mark.parametrize("taken", ["admin", "Admin", "with space", "a/b", "a,b"])
def test_a_name_that_is_taken_or_no_name_gets_no_account(visitor: Callable[[], Visitor], admin: Visitor, taken: str):
    assert "Something went wrong" in said(visitor().sign_up(taken))
    assert visitor().sign_in("admin", PASSWORD).status_code == 403


def test_the_administrator_sets_a_new_password_for_somebody(visitor: Callable[[], Visitor], admin: Visitor, name: str):
    one = visitor()
    one.sign_up(name)
    admin.approve(name)
    new = {"new_password": "another-long-password", "new_password_confirmation": "another-long-password"}
    assert name in admin.get(f"change-password/{name}").text
    assert "changed successfully" in said(admin.send(f"change-password/{name}", **new)).lower()
    assert one.sign_in(name, PASSWORD).status_code == 403
    assert one.sign_in(name, "another-long-password").status_code == 302
    assert one.get("change-password/admin").status_code in {403, 404}


def test_pages_are_for_those_who_signed_in(visitor: Callable[[], Visitor]):
    for path in ("home", "spawn", "sciencebox/gpus", "change-password"):
        answer = visitor().get(path)
        assert answer.status_code == 302 and "/hub/login" in answer.headers["Location"]

"""Signing in, asking for an account, and the one-time password, over HTTP on a hub configured as it is deployed."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import bcrypt
import pytest
import requests
from jupyterhub import orm
from sciencebox.hub.accounts import ScienceBoxAuthenticator
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from tests.fakes import little_hub
from tests.fakes.little_hub import ANSWER_S
from tests.service import wait_until
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
    else:
        one.sign_in("admin", ADMIN)
    assert is_let_in(one)
    return one


@pytest.fixture
def accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScienceBoxAuthenticator]:
    """Those of a hub that has none yet, and whose administrator is to be called boss."""
    monkeypatch.setattr(bcrypt, "gensalt", partial(bcrypt.gensalt, rounds=4))  # as the hub of these tests does
    engine = create_engine(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    with Session(engine) as db:
        yield ScienceBoxAuthenticator(
            db=db,
            administrator="boss",
            admin_users={"boss"},
            enable_signup=True,
            allowed_failed_logins=5,
            seconds_before_next_try=60,
        )
    engine.dispose()


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
        ("not-the-password", ADMIN, "", "present password is not right"),
        (ONE_TIME, ADMIN, "something-else", "not the same"),
        (ONE_TIME, "short", "", "at least 10 characters"),
        (ONE_TIME, "x" * 73, "", "at most 72 characters"),
        (ONE_TIME, ONE_TIME, "", "one-time password cannot stay"),
    ):
        assert why in said(admin.change_password(old, new, again))
        assert first_password.exists()

    page = admin.change_password(ONE_TIME, ADMIN)
    assert "password is changed" in said(page) and "Continue" in page.text
    assert admin.get("spawn").status_code == 200
    assert not first_password.exists()
    assert visitor().sign_in("admin", ONE_TIME).status_code == 403
    again = visitor().sign_in("admin", ADMIN, "login?next=%2Fhub%2Fspawn")
    assert (again.status_code, again.headers["Location"]) == (302, "/hub/spawn")


# Signing in


@pytest.mark.parametrize("who", ["admin", "nobody-of-this-name"])
@pytest.mark.parametrize("wrong", ["a-wrong-password", "a-wrong-password, and one longer than any" * 2])
def test_a_wrong_password_is_refused_without_telling_who_exists(
    visitor: Callable[[], Visitor], admin: Visitor, who: str, wrong: str
):
    one = visitor()
    answer = one.sign_in(who, wrong)
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
    assert one.http.post(f"{one.url}login", data=form, timeout=ANSWER_S, allow_redirects=False).status_code == 403
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
    for _ in range(5):
        assert one.sign_in(name, "a-wrong-password").status_code == 403
    assert "Invalid user name" in said(one.sign_in(name, PASSWORD))  # not even whether it waits for approval
    admin.approve(name)
    assert one.sign_in(name, PASSWORD).status_code == 403  # for a minute, not even the right one


def test_who_is_signed_in_already_may_not_guess_either(visitor: Callable[[], Visitor], admin: Visitor, name: str):
    one = visitor()
    one.sign_up(name)
    admin.approve(name)
    one.sign_in(name, PASSWORD)
    for _ in range(5):
        one.change_password("a-wrong-password", "another-long-password")
    assert "not right" in said(one.change_password(PASSWORD, "another-long-password"))


async def test_who_guesses_many_at_once_has_no_more_tries(accounts: ScienceBoxAuthenticator):
    await accounts.ask("ada", PASSWORD)
    guesses = [accounts.find("ada", f"wrong-{n}") for n in range(20)]
    assert set(await asyncio.gather(*guesses, accounts.find("ada", PASSWORD))) == {None}


async def test_the_hub_goes_on_while_a_password_is_checked(accounts: ScienceBoxAuthenticator):
    await accounts.ask("ada", PASSWORD)
    checking = asyncio.ensure_future(accounts.find("ada", PASSWORD))
    await asyncio.sleep(0)  # the check has begun
    assert not checking.done()
    assert (await checking).username == "ada"


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
    for _ in range(2):  # whoever presses twice does not take it back
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
        assert admin.http.post(admin.url + path, timeout=ANSWER_S).status_code == 403
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


def test_whose_approval_was_withdrawn_is_out_and_not_let_in_again(
    visitor: Callable[[], Visitor], admin: Visitor, name: str
):
    one = visitor()
    one.sign_up(name)
    admin.approve(name)
    one.sign_in(name, PASSWORD)
    token = one.call("POST", f"api/users/{name}/tokens", json={}).json()["token"]

    def by_program() -> int:
        header = {"Authorization": f"token {token}"}
        return requests.get(f"{one.url}api/user", headers=header, timeout=ANSWER_S).status_code

    assert (is_let_in(one), by_program()) == (True, 200)
    assert "Withdraw approval" in admin.get("authorize").text
    admin.approve(name, "no")
    wait_until(lambda: not is_let_in(one), "the browser is out")
    assert by_program() == 403
    assert "not approved" in said(one.sign_in(name, PASSWORD))
    admin.approve(name)
    assert by_program() == 200


def test_who_had_been_here_and_is_discarded_begins_anew(visitor: Callable[[], Visitor], admin: Visitor, name: str):
    one = visitor()
    one.sign_up(name)
    admin.approve(name)
    one.sign_in(name, PASSWORD)
    admin.approve(name, "no")
    assert admin.send(f"discard/{name}", at="authorize").status_code == 302
    assert not is_let_in(one)
    assert "has to approve your account" in said(visitor().sign_up(name))
    admin.approve(name)
    assert (is_let_in(one), visitor().sign_in(name, PASSWORD).status_code) == (False, 302)


def test_an_administrator_cannot_lock_themselves_out(visitor: Callable[[], Visitor], admin: Visitor):
    assert "Withdraw approval: admin" not in admin.get("authorize").text
    assert admin.approve("admin", "no").status_code == 409
    assert visitor().sign_in("admin", ADMIN).status_code == 302


def test_buttons_of_a_page_that_is_out_of_date_say_so(visitor: Callable[[], Visitor], admin: Visitor, name: str):
    for path in (f"authorize/{name}", f"discard/{name}"):
        gone = admin.send(path, at="authorize")
        assert gone.status_code == 404 and "load the page Accounts anew" in gone.text
    visitor().sign_up(name)
    admin.approve(name)
    assert admin.send(f"discard/{name}", at="authorize").status_code == 409
    assert visitor().sign_in(name, PASSWORD).status_code == 302


@pytest.mark.parametrize(
    ("password", "again", "why"),
    [
        ("short", "", "at least 10 characters"),
        ("words that are quite easy to remember " * 2, "", "at most 72 characters"),
        ("1234567890", "", "too common"),
        (PASSWORD, "another-long-password", "not the same"),
    ],
)
def test_a_password_that_will_not_do_is_refused_with_the_reason(
    visitor: Callable[[], Visitor], name: str, password: str, again: str, why: str
):
    one = visitor()
    page = one.sign_up(name, password, again)
    assert why in said(page)
    assert f'value="{name}"' in page.text and password not in page.text
    assert said(one.sign_in(name, password)) == "Invalid user name or password."


def test_nobody_becomes_administrator_by_asking_first(accounts: ScienceBoxAuthenticator):
    # As after the settings were given another administrator's name: the deployment has made no account for it.
    for name in ("boss", "BOSS"):
        assert "in use already" in accounts.fault_of_name(name)
    assert accounts.fault_of_name("ada") == ""


async def test_an_administrator_who_is_renamed_before_signing_in_leaves_no_account(
    accounts: ScienceBoxAuthenticator, tmp_path: Path
):
    orm.Base.metadata.create_all(accounts.db.get_bind())
    (tmp_path / "first_password").write_text(ONE_TIME)
    accounts.first_password_file = str(tmp_path / "first_password")
    await accounts.ask("ada", PASSWORD)
    accounts.make_first_accounts()
    accounts.db.add(orm.User(name="boss", admin=True))  # as JupyterHub does for each administrator

    accounts.administrator, accounts.admin_users = "chief", {"chief"}
    accounts.make_first_accounts()
    assert accounts.get_user("boss") is None
    assert not orm.User.find(accounts.db, "boss").admin
    assert accounts.must_change_password("chief")
    assert accounts.get_user("ada")


async def test_nobody_fills_the_administrator_s_page(
    accounts: ScienceBoxAuthenticator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sciencebox.hub.accounts.MOST_WAITING", 2)
    for name in ("ada", "bob"):
        assert accounts.fault_of_name(name) == ""
        await accounts.ask(name, PASSWORD)
    assert "wait for approval already" in accounts.fault_of_name("eva")
    accounts.get_user("ada").is_authorized = True
    assert accounts.fault_of_name("eva") == ""


@pytest.mark.parametrize(("taken", "why"), [("admin", "in use"), ("Admin", "in use"), ("with space", "64 letters")])
def test_a_name_that_is_taken_or_no_name_gets_no_account(
    visitor: Callable[[], Visitor], admin: Visitor, taken: str, why: str
):
    assert why in said(visitor().sign_up(taken))
    assert visitor().sign_in("admin", PASSWORD).status_code == 403


@pytest.mark.parametrize(
    "name", ["a/b", "a,b", "a:rw", "=1+1", "-x", "..", "[red]x", "\x1b[31m", "new\nline", "tab\t", "x" * 65, EVIL, ""]
)
def test_a_name_means_nothing_but_a_name_wherever_it_is_shown(accounts: ScienceBoxAuthenticator, name: str):
    assert "64 letters" in accounts.fault_of_name(name)


def test_the_administrator_sets_a_new_password_for_somebody(visitor: Callable[[], Visitor], admin: Visitor, name: str):
    one = visitor()
    one.sign_up(name)
    admin.approve(name)
    one.sign_in(name, PASSWORD)
    new = {"new_password": "another-long-password", "new_password_confirmation": "another-long-password"}
    assert name in admin.get(f"change-password/{name}").text
    assert "is changed" in said(admin.send(f"change-password/{name}", **new))
    assert not is_let_in(one)
    assert one.sign_in(name, PASSWORD).status_code == 403
    assert one.sign_in(name, "another-long-password").status_code == 302
    assert one.get("change-password/admin").status_code in {403, 404}


def test_who_changes_their_password_is_signed_out_everywhere_else(
    visitor: Callable[[], Visitor], admin: Visitor, name: str
):
    here, elsewhere = visitor(), visitor()
    here.sign_up(name)
    admin.approve(name)
    for one in (here, elsewhere):
        one.sign_in(name, PASSWORD)
    assert "is changed" in said(here.change_password(PASSWORD, "another-long-password"))
    assert (is_let_in(here), is_let_in(elsewhere)) == (True, False)


def test_pages_are_for_those_who_signed_in(visitor: Callable[[], Visitor]):
    for path in ("home", "spawn", "sciencebox/gpus", "change-password"):
        answer = visitor().get(path)
        assert answer.status_code == 302 and "/hub/login" in answer.headers["Location"]

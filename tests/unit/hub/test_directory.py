"""Signing in with an account of the site: OpenLDAP and an OpenID Connect provider, and the hub as it is deployed."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import warnings
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import pytest
from sciencebox.accounts_section import DIRECTORY_SECRET
from sciencebox.files import write_whole
from sciencebox.hub import directory as site_directory
from sciencebox.hub.config import Place, build_config
from sciencebox.settings import parse
from tornado.web import HTTPError

from tests import directory
from tests.directory import BASE, PASSWORDS, SECRET
from tests.fakes import little_hub
from tests.fakes.little_hub import ANSWER_S
from tests.ports import free_port
from tests.unit.hub.visitor import Visitor, is_let_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    import requests

    from tests.fakes.little_hub import LittleHub

RIGHTS = "  rights: {{groups: [radiology], administrator_groups: [computing]}}\n"
LDAP = f"""accounts:
  source: ldap
{RIGHTS}  ldap:
    server: "{{}}"
    reader: cn=reader,{BASE}
    reader_password: /etc/sciencebox/reader
    user_base: ou=people,{BASE}
    group_base: ou=groups,{BASE}
"""
OIDC = f"""accounts:
  source: oidc
{RIGHTS}  oidc: {{{{issuer: "{{}}", client_id: sciencebox, client_secret: /etc/sciencebox/oidc, title: the hospital}}}}
"""


def rights(visitor: Visitor) -> tuple[list[str], bool]:
    """Somebody's groups, and whether they administer."""
    me = visitor.call("GET", "api/user").json()
    return sorted(me["groups"]), me["admin"]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """LDAP's client leaves its socket open where a directory is not there, or not the one that it should be."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


# LDAP


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int, int]]:
    folder = tmp_path_factory.mktemp("site")
    with directory.ldap(folder) as (plain, encrypted):
        yield folder / "site.pem", plain, encrypted


@pytest.fixture(scope="module", params=["ldap", "ldaps"])
def hub(
    request: pytest.FixtureRequest, site: tuple[Path, int, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LittleHub]:
    pem, plain, encrypted = site
    server = f"{request.param}://localhost:{encrypted if request.param == 'ldaps' else plain}"
    folder = tmp_path_factory.mktemp("hub")
    with little_hub.running(folder, "own", LDAP.format(server), trust=pem, directory_secret=SECRET) as hub:
        yield hub


@pytest.fixture
def visitor(hub: LittleHub) -> Iterator[Visitor]:
    one = Visitor(hub)
    yield one
    one.http.close()


@pytest.mark.parametrize(
    ("typed", "groups", "administrates"),
    [
        ("ada", ["computing", "radiology"], True),
        ("GRACE", ["radiology"], False),
    ],
)
def test_the_directory_says_who_somebody_is_and_what_they_may(
    visitor: Visitor, typed: str, groups: list[str], administrates: bool
):
    assert visitor.sign_in(typed, PASSWORDS[typed.lower()]).status_code == 302
    assert rights(visitor) == (groups, administrates)
    assert "Accounts" not in visitor.get("home").text, "passwords are the directory's"


@pytest.mark.parametrize(
    ("name", "password", "why"),
    [
        ("ada", "guess", "Invalid username or password"),
        ("ada", "", "Invalid username or password"),
        ("nobody", "guess", "Invalid username or password"),
        ("*", PASSWORDS["ada"], "Invalid username or password"),
        ("a*", PASSWORDS["ada"], "Invalid username or password"),
        ("ada)(uid=*", PASSWORDS["ada"], "Invalid username or password"),
        ("mallory", PASSWORDS["mallory"], "not in a group that may use this service"),
    ],
)
def test_nobody_else_is_let_in(visitor: Visitor, name: str, password: str, why: str):
    answer = visitor.sign_in(name, password)
    assert answer.status_code == 403
    assert why in answer.text
    assert not is_let_in(visitor)


def authenticator(settings: str, folder: Path) -> Any:
    """The one that the hub would have."""
    (folder / "secrets").mkdir(exist_ok=True)
    for name in ("proxy_token", "service_token", "metrics_token", DIRECTORY_SECRET):
        write_whole(folder / "secrets" / name, SECRET)
    config = build_config(parse(settings, "test"), Place(folder))
    return config.JupyterHub.authenticator_class(config=config)


async def fault(asked: Awaitable[Any]) -> str:
    """What somebody is told."""
    with pytest.raises(HTTPError) as raised:
        await asked
    return f"{raised.value.status_code} {raised.value.log_message}"


async def test_a_directory_that_nobody_vouches_for_is_told_no_password(
    site: tuple[Path, int, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    _, plain, encrypted = site
    for server in (f"ldap://localhost:{plain}", f"ldaps://localhost:{encrypted}"):
        asked = authenticator(LDAP.format(server), tmp_path).authenticate(None, {"username": "ada", "password": "x"})
        assert "503 The site's directory cannot be asked" in await fault(asked)
        assert "certificate" in caplog.text
        caplog.clear()


@pytest.mark.parametrize("settings", [LDAP.format("ldaps://localhost"), OIDC.format("https://localhost")])
def test_names_are_whole_words_of_ordinary_length(settings: str, tmp_path: Path):
    known = authenticator(settings, tmp_path)
    assert known.validate_username("ada.lovelace@example.org")
    for name in ("ada lovelace", "ada:rw", "ada,b", "ada\n", "ada\x1b[31m", "x" * 65):
        assert not known.validate_username(name), name


async def test_a_directory_that_is_down_is_said(tmp_path: Path):
    down = authenticator(LDAP.format(f"ldaps://localhost:{free_port()}"), tmp_path)
    asked = down.authenticate(None, {"username": "ada", "password": PASSWORDS["ada"]})
    assert "503 The site's directory cannot be asked" in await fault(asked)


@pytest.mark.filterwarnings("ignore:ssl.match_hostname:DeprecationWarning")  # of the directory's client
async def test_a_directory_that_hung_keeps_nobody_out_when_it_answers_again(
    site: tuple[Path, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pem, _, encrypted = site
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    monkeypatch.setattr(site_directory, "ANSWER_S", 1)
    monkeypatch.setattr(site_directory, "LONGEST_ANSWER_S", 0.2)
    ada = {"username": "ada", "password": PASSWORDS["ada"]}
    with socket.create_server(("localhost", 0)) as silent:
        known = authenticator(LDAP.format(f"ldaps://localhost:{silent.getsockname()[1]}"), tmp_path)
        asked = await asyncio.gather(*(fault(known.authenticate(None, ada)) for _ in range(20)))
        assert all("503 The site's directory cannot be asked" in one for one in asked)
        known.server_port = encrypted
        monkeypatch.setattr(site_directory, "LONGEST_ANSWER_S", 20)
        assert (await known.authenticate(None, ada))["name"] == "ada"


# OpenID Connect


@pytest.fixture(scope="module")
def signed_on_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LittleHub]:
    """A hub beside a provider, which is started after it."""
    folder, port = tmp_path_factory.mktemp("site"), free_port()
    with directory.provider(folder, f"http://127.0.0.1:{port}/hub/oauth_callback") as issuer:
        place = tmp_path_factory.mktemp("hub")
        pem = folder / "site.pem"
        with little_hub.running(place, "own", OIDC.format(issuer), pem, port, directory_secret=SECRET) as hub:
            yield hub


@pytest.fixture
def sign_on(signed_on_hub: LittleHub) -> Iterator[Callable[[str, str], tuple[Visitor, requests.Response]]]:
    """Press the button, fill in the provider's page, come back."""
    visitors = []

    def sign(name: str, password: str) -> tuple[Visitor, requests.Response]:
        visitor = Visitor(signed_on_hub)
        visitors.append(visitor)
        visitor.http.verify = str(signed_on_hub.trust)
        there = visitor.http.get(f"{visitor.url}oauth_login", timeout=ANSWER_S)
        asked = re.search(r'name="id" value="([^"]+)"', there.text)
        assert asked, there.text
        form = {"username": name, "password": password, "id": asked[1]}
        return visitor, visitor.http.post(urljoin(there.url, "/login/username"), data=form, timeout=ANSWER_S)

    yield sign
    for visitor in visitors:
        visitor.http.close()


@pytest.mark.parametrize(
    ("name", "groups", "administrates"),
    [
        ("ada", ["computing", "radiology"], True),
        ("grace", ["radiology"], False),
    ],
)
def test_the_provider_says_who_somebody_is_and_what_they_may(
    sign_on: Callable[..., tuple[Visitor, requests.Response]], name: str, groups: list[str], administrates: bool
):
    visitor, answer = sign_on(name, PASSWORDS[name])
    assert "Start a session" in answer.text
    assert rights(visitor) == (groups, administrates)


def test_who_is_in_no_group_that_may_is_told_so(sign_on: Callable[..., tuple[Visitor, requests.Response]]):
    visitor, answer = sign_on("mallory", PASSWORDS["mallory"])
    assert answer.status_code == 403
    assert "not in a group that may use this service" in answer.text
    assert "Back to signing in" in answer.text
    assert not is_let_in(visitor)


def test_a_made_up_answer_of_the_provider_opens_nothing(signed_on_hub: LittleHub):
    visitor = Visitor(signed_on_hub)
    visitor.get("login")
    assert visitor.get("oauth_callback?code=abc&state=e30=").status_code == 400
    assert not is_let_in(visitor)
    visitor.http.close()


def test_the_page_leads_to_the_provider_by_its_name(signed_on_hub: LittleHub):
    visitor = Visitor(signed_on_hub)
    page = visitor.get("login").text
    assert "Sign in with the hospital" in page
    assert 'type="password"' not in page
    visitor.http.close()


async def test_a_provider_that_does_not_answer_or_calls_itself_otherwise_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "site.pem"))
    with directory.provider(tmp_path, "http://127.0.0.1:1/hub/oauth_callback") as issuer:
        for other in (f"https://localhost:{free_port()}", issuer.replace("localhost", "127.0.0.1")):
            asked = authenticator(OIDC.format(other), tmp_path).discover()
            assert "503 The site's directory cannot be asked" in await fault(asked)
        known = authenticator(OIDC.format(issuer), tmp_path)
        await known.discover()
        assert known.token_url.startswith(issuer)


@pytest.mark.parametrize(
    ("claim", "groups"),
    [
        (["radiology", "computing"], {"radiology", "computing"}),
        ("radiology", {"radiology"}),  # of ADFS, for who is in one group alone
        (None, set()),
        ({"radiology": True}, set()),
        (["radiology", {"name": "x"}, 3], {"radiology"}),
    ],
)
async def test_groups_are_names_however_the_provider_tells_them(tmp_path: Path, claim: object, groups: set[str]):
    known = authenticator(OIDC.format("https://localhost"), tmp_path)
    assert await known.get_user_groups({"oauth_user": {"groups": claim}}) == groups


async def test_a_provider_that_nobody_vouches_for_is_not_asked(tmp_path: Path):
    with directory.provider(tmp_path, "http://127.0.0.1:1/hub/oauth_callback") as issuer:
        asked = authenticator(OIDC.format(issuer), tmp_path).discover()
        assert "503 The site's directory cannot be asked" in await fault(asked)

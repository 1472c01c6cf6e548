"""What `make doctor` says of the site's single sign-on or directory, asked as it will be at a sign-in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sciencebox.accounts_section import Accounts
from sciencebox.host import directory as asked
from sciencebox.host.row import State
from sciencebox.settings import Settings

from tests import directory
from tests.ports import free_port
from tests.unit.host.test_doctor import HEALTHY, row

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

RIGHTS = {"administrators": ["ada"]}


def by_ldap(server: str, **more: Any) -> Accounts:
    return Accounts(source="ldap", rights=RIGHTS, ldap={"server": server, "user_base": "dc=x", **more})


def by_oidc(issuer: str, secret: Path) -> Accounts:
    oidc = {"issuer": issuer, "client_id": "sciencebox", "client_secret": secret}
    return Accounts(source="oidc", rights=RIGHTS, oidc=oidc)


def test_a_directory_that_answers_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with directory.ldap(tmp_path) as (plain, encrypted):
        assert asked.fault(by_ldap(f"ldap://localhost:{plain}"), {}) == ""
        assert "certificate verify failed" in asked.fault(by_ldap(f"ldaps://localhost:{encrypted}"), {})
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "site.pem"))
        assert asked.fault(by_ldap(f"ldaps://localhost:{encrypted}"), {}) == ""


def test_a_provider_that_answers_by_its_name_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    with directory.provider(tmp_path, "https://x/hub/oauth_callback") as issuer:
        assert "certificate verify failed" in asked.fault(by_oidc(issuer, secret), {})
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "site.pem"))
        assert asked.fault(by_oidc(issuer, secret), {}) == ""
        other = issuer.replace("localhost", "127.0.0.1")
        assert asked.fault(by_oidc(other, secret), {}) == f"{other} calls itself {issuer}"
        through = {"HTTPS_PROXY": f"http://127.0.0.1:{free_port()}"}
        assert "refused" in asked.fault(by_oidc(issuer, secret), through)
        assert asked.fault(by_oidc(issuer, secret), {**through, "NO_PROXY": "localhost"}) == ""


def test_who_is_not_there_is_said() -> None:
    nobody = f"ldaps://localhost:{free_port()}"
    assert f"{nobody} does not answer" in asked.fault(by_ldap(nobody), {})
    assert asked.fault(Accounts(), {}) == ""


def test_the_doctor_warns() -> None:
    settings = Settings(accounts=by_ldap("ldaps://ldap.example.org"))
    told = row(replace(HEALTHY, directory_fault="it does not answer"), "Accounts", State.WARNING, settings)
    assert "nobody can sign in" in told.advice
    assert row(HEALTHY, "Accounts", State.OK, settings).found == "ldaps://ldap.example.org answers"

"""From the printed one-time password to a colleague who is let in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.service import NEW_PASSWORD

if TYPE_CHECKING:
    from tests.service import Service

pytestmark = pytest.mark.engine


def test_the_one_time_password_leads_to_its_change_and_is_then_gone(service: Service) -> None:
    first = service.state / "secrets/first_password"
    if not first.exists():
        pytest.fail("another test has used the one-time password before this one")
    password = first.read_text().strip()
    assert "admin" in service.said and password in service.said

    person = service.sign_in("admin", password)
    assert person.landed.endswith("/hub/change-password")
    service.admin()
    assert not first.exists()
    with pytest.raises(AssertionError, match="403"):
        service.sign_in("admin", password)


def test_who_is_signed_in_is_so_by_tls_alone(service: Service) -> None:
    cookies = {cookie.name: cookie.secure for cookie in service.admin().http.cookies}
    assert cookies["jupyterhub-hub-login"] and cookies["jupyterhub-session-id"]


def test_who_is_not_approved_is_told_so(service: Service) -> None:
    service.sign_up("lena")

    with pytest.raises(AssertionError, match="not approved your account yet"):
        service.sign_in("lena", NEW_PASSWORD)


def test_a_wrong_password_does_not_tell_whether_the_account_exists(service: Service) -> None:
    service.admin()
    for name in ("admin", "nobody"):
        with pytest.raises(AssertionError, match="Invalid user name or password"):
            service.sign_in(name, "wrong-password-of-ours")


def test_a_weak_password_is_refused(service: Service) -> None:
    page = service.sign_up("kurt", password="password12")

    assert "insecure" in page or "too common" in page or "characters" in page

"""What a running session, and programs of its user, are told of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.fakes.little_hub import TWO_FREE
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.little_hub import LittleHub, Person


@pytest.fixture
def rosa(hub: LittleHub) -> Iterator[Person]:
    """Somebody whose session runs."""
    hub.show(replace(TWO_FREE, start="ready"))
    person = hub.sign_in("rosa")
    person.send_form(gpu="none")
    wait_until(lambda: person.call("GET", "sciencebox/session").ok, "the session runs")
    yield person
    assert person.call("DELETE", "api/users/rosa/server").ok


def test_only_a_token_for_the_session_asks_for_it_and_extends_it(hub: LittleHub, rosa: Person) -> None:
    def answers(*scopes: str) -> list[int]:
        made = rosa.call("POST", "api/users/rosa/tokens", json={"scopes": scopes}).json()
        by_token = {"Authorization": f"token {made['token']}"}
        return [hub.ask("sciencebox/session", method, headers=by_token).status_code for method in ("GET", "POST")]

    assert answers("access:servers!server=rosa/") == [200, 409]  # as the session's own; it has no limit to put off
    assert answers("read:users:name!user", "servers!user") == [403, 403]

"""A hub with our pages, and people who visit it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes import little_hub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.little_hub import LittleHub, Person


@pytest.fixture(scope="package")
def running_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LittleHub]:
    """One hub process for all tests of pages."""
    with little_hub.running(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
def hub(running_hub: LittleHub) -> LittleHub:
    """The hub, showing a server with two free cards."""
    running_hub.show(little_hub.TWO_FREE)
    return running_hub


@pytest.fixture
def ada(hub: LittleHub) -> Iterator[Person]:
    person = hub.sign_in("ada")
    yield person
    person.cancel()


@pytest.fixture
def admin(hub: LittleHub) -> Person:
    return hub.sign_in("admin")

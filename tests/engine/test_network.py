"""The sessions' network on a real engine."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import docker
import pytest
from sciencebox.host import network
from sciencebox.host.steps import StepError
from sciencebox.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.rig import Engine

pytestmark = pytest.mark.engine

BOX = Settings(name="network-test")


@pytest.fixture
def client(cdi_engine: Engine) -> Iterator[Any]:
    """The engine, without the network afterwards."""
    client = docker.DockerClient(base_url=cdi_engine.url, version="auto")
    yield client
    network.remove(client, BOX)
    client.close()


def test_it_is_made_once_and_has_places_for_hub_and_proxy(client: Any) -> None:
    addresses = network.provide(client, BOX, in_use=False)
    made = network.find(client, BOX)
    assert made
    assert made.attrs["IPAM"]["Config"][0]["IPRange"] == str(addresses.sessions)
    assert network.provide(client, BOX, in_use=True) == addresses
    again = network.find(client, BOX)
    assert again
    assert again.id == made.id


def test_one_of_an_earlier_version_is_replaced_unless_sessions_are_in_it(client: Any) -> None:
    old = client.networks.create(f"{BOX.name}-sessions", driver="bridge")
    with pytest.raises(StepError, match="make down"):
        network.provide(client, BOX, in_use=True)
    addresses = network.provide(client, BOX, in_use=False)
    new = network.find(client, BOX)
    assert new
    assert new.id != old.id
    assert IPv4Address(addresses.hub) in addresses.subnet


def test_without_a_network_there_is_nothing_to_remove(client: Any) -> None:
    network.remove(client, BOX)
    assert network.find(client, BOX) is None

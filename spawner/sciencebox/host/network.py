"""The network that sessions are in: made by the deployment, kept for as long as there are sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import docker
from docker.types import IPAMConfig, IPAMPool

from sciencebox.host import engine
from sciencebox.host.compose import FIREWALL
from sciencebox.host.firewall import Addresses
from sciencebox.host.ports import PROJECT_LABEL
from sciencebox.host.steps import StepError
from sciencebox.sessions.engine import remove as remove_container

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sciencebox.host.watch import Service
    from sciencebox.settings import Settings

# An engine may be told to give every network IPv6 addresses, too; the firewall's rules are about those of IPv4.
ONLY_IPV4 = {"com.docker.network.enable_ipv6": "false"}
ENDS_WITHIN = 20
"""Seconds that the firewall's program has to take its rules out."""


def find(client: Any, settings: Settings) -> Any | None:
    """The network, if it is there. The engine's filter finds parts of names, too."""
    name = f"{settings.name}-sessions"
    return next((network for network in client.networks.list(names=[name]) if network.name == name), None)


def provide(client: Any, settings: Settings, *, in_use: bool) -> Addresses:
    """See that it is there and gives addresses out as the firewall's rules expect it.

    The engine chooses the subnet, for it knows which are taken; only then can it be asked for a part of it. Raises
    StepError for a network of an earlier version that cannot be replaced, because sessions are `in_use` of it.
    """
    there = find(client, settings)
    if there:
        there.reload()
        addresses, shared_out = Addresses.of(there.attrs)
        if shared_out:
            return addresses
        if in_use:
            raise StepError(
                f"The network {there.name} was made by an earlier version, and sessions are in it. "
                "End them with `make down`, then deploy again."
            )
        _remove(client, there, settings)
    name = f"{settings.name}-sessions"
    chosen = _create(client, name)
    chosen.reload()
    addresses, _ = Addresses.of(chosen.attrs)
    chosen.remove()
    ipam = IPAMConfig(pool_configs=[IPAMPool(**addresses.pool())])
    _create(client, name, ipam=ipam)
    return addresses


def _create(client: Any, name: str, **more: Any) -> Any:
    try:
        return client.networks.create(name, driver="bridge", options=ONLY_IPV4, **more)
    except docker.errors.APIError as error:
        mend = "See `docker network ls`; `default-address-pools` in its `daemon.json` says which subnets it may use."
        raise StepError(f"The engine makes no network for sessions: {error.explanation}. {mend}") from error


def remove(client: Any, settings: Settings) -> None:
    """Remove it, once nobody is in it."""
    if there := find(client, settings):
        there.remove()


def _remove(client: Any, network: Any, settings: Settings) -> None:
    """Remove it with the services in it. Compose makes those anew, and would not bring one that stays into another."""
    for one in network.attrs["Containers"]:
        if client.containers.get(one).labels.get(PROJECT_LABEL) == settings.name:
            engine.end(client, one)
        else:
            network.disconnect(one, force=True)
    network.remove()


def lift_rules(client: Any, services: Mapping[str, Service]) -> None:
    """Take the firewall's rules out of the kernel. Its program, which would set them again, ends with them.

    Its container goes, too: one that stayed would not be started with the server any more, should this be cut off here.
    """
    firewall = services.get(FIREWALL)
    if firewall and firewall.state == "running":
        container = client.containers.get(firewall.id)
        container.update(restart_policy={"Name": "no"})
        container.kill(signal="SIGUSR1")
        container.wait(timeout=ENDS_WITHIN)
        remove_container(client.api, firewall.id)

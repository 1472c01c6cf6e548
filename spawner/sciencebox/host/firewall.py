"""The sessions' network and the rules that keep sessions apart. Pure.

The engine gives every session an address of the network's upper half; hub and proxy have fixed ones of the lower half.
So one rule does, whoever comes and goes: from the upper half to the upper half, nothing passes. A session cannot take
another address, for it has no capability to.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sciencebox.settings import Settings

HUB, PROXY = 2, 3  # addresses counted from the network's first; 1 is the server itself


@dataclass(frozen=True)
class Addresses:
    """How the addresses of the sessions' network are shared out."""

    subnet: IPv4Network

    @property
    def sessions(self) -> IPv4Network:
        """What sessions get theirs from."""
        return list(self.subnet.subnets())[1]

    @property
    def gateway(self) -> str:
        """The server itself."""
        return str(self.subnet[1])

    @property
    def hub(self) -> str:
        """The hub."""
        return str(self.subnet[HUB])

    @property
    def proxy(self) -> str:
        """The hub's proxy."""
        return str(self.subnet[PROXY])

    def pool(self) -> dict[str, Any]:
        """The network as the engine is asked for it."""
        return {"subnet": str(self.subnet), "iprange": str(self.sessions), "gateway": self.gateway}

    @classmethod
    def of(cls, network: Mapping[str, Any]) -> tuple[Addresses, bool]:
        """Those of a network, as the engine tells of it, and whether it gives out these addresses, and no others."""
        config = next(config for config in network["IPAM"]["Config"] if ":" not in config["Subnet"])
        found = cls(IPv4Network(config["Subnet"]))
        return found, config.get("IPRange") == str(found.sessions) and not network.get("EnableIPv6")


def table(settings: Settings) -> str:
    """Name of the tables of a deployment in the kernel."""
    return f"sciencebox-{settings.name}"


def rules(settings: Settings, addresses: Addresses) -> str:
    """What nft is given. It is one transaction: the rules of before are in force until those of now are."""
    name, sessions = table(settings), addresses.sessions
    told = f'limit rate 10/minute log prefix "{name} refused: "'
    return f"""# Written by `make deploy`.
table bridge {name} {{}}
delete table bridge {name}
table bridge {name} {{
    chain forward {{
        type filter hook forward priority 0; policy accept;
        ip saddr {sessions} ip daddr {sessions} {told}
        ip saddr {sessions} ip daddr {sessions} drop
    }}
}}
table inet {name} {{}}
delete table inet {name}
table inet {name} {{
    chain leaving {{
        ct state established,related accept
        {_to(settings.firewall.allow, "accept")}
        {_to(settings.firewall.refuse, told)}
        {_to(settings.firewall.refuse, "reject with icmpx type admin-prohibited")}
    }}
    chain forward {{
        type filter hook forward priority -10; policy accept;
        ip saddr {sessions} ip daddr {sessions} drop
        ip saddr {sessions} ip daddr != {addresses.subnet} jump leaving
    }}
    chain input {{
        type filter hook input priority -10; policy accept;
        ip saddr {sessions} jump leaving
    }}
}}
"""


def _to(networks: Iterable[object], verdict: str) -> str:
    chosen = ", ".join(str(network) for network in networks)
    return f"ip daddr {{ {chosen} }} {verdict}" if chosen else "# none"

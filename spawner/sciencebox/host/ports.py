"""Who listens on the ports that the service needs."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PROJECT_LABEL = "com.docker.compose.project"
_LISTENING = "0A"


@dataclass(frozen=True)
class PortUse:
    """A port of this server. `holder` names who has it, None when it is free; `ours` is this deployment itself."""

    port: int
    holder: str | None = None
    ours: bool = False


def read_port(port: int, deployment: str, containers: Iterable[Mapping[str, Any]]) -> PortUse:
    """Whether a port is free. `containers` as the engine lists them: they may hold it without listening."""
    by_container = container_holder(port, deployment, containers)
    if by_container:
        return by_container
    return PortUse(port) if _can_listen(port) else PortUse(port, holder=_process(port) or "another program")


def container_holder(port: int, deployment: str, containers: Iterable[Mapping[str, Any]]) -> PortUse | None:
    """The container that publishes a port."""
    for container in containers:
        # One of UDP does not stand in the way; without a type it is of an engine that does not tell.
        published = [at for at in container.get("Ports") or () if at.get("Type", "tcp") == "tcp"]
        if any(at.get("PublicPort") == port for at in published):
            ours = (container.get("Labels") or {}).get(PROJECT_LABEL) == deployment
            return PortUse(port, f"the container {container['Names'][0].lstrip('/')}", ours)
    return None


def listening_inode(tables: Iterable[str], port: int) -> str | None:
    """The socket that listens on a port, from the text of /proc/net/tcp and tcp6."""
    for table in tables:
        for line in table.splitlines()[1:]:
            columns = line.split()
            if len(columns) > 9 and columns[3] == _LISTENING and int(columns[1].rsplit(":", 1)[1], 16) == port:
                return columns[9]
    return None


def _can_listen(port: int) -> bool:
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 - as the engine does
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                # A server that has just stopped leaves connections behind, which do not stand in the way.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
    return True


def _process(port: int) -> str | None:
    tables = [
        path.read_text(encoding="ascii") for path in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if path.exists()
    ]
    inode = listening_inode(tables, port)
    if inode is None:
        return None
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(link.readlink()) == f"socket:[{inode}]":
                process = link.parents[1]
                name = (process / "comm").read_text(encoding="utf-8").strip()
                return f"{name} (process {process.name})"
        except OSError:  # ended meanwhile, or another user's
            continue
    return None

"""Who has a port."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from sciencebox.host.ports import PortUse, container_holder, listening_inode, read_port

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2474 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 00000000:2474 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0 0 10 0
"""


def container(port: int, project: str | None) -> dict[str, Any]:
    """A container as the engine lists it."""
    labels = {"com.docker.compose.project": project} if project else None
    ports = [{"PrivatePort": 1}, {"PublicPort": port, "Type": "tcp"}, {"PublicPort": 51820, "Type": "udp"}]
    return {"Names": ["/some_caddy_1"], "Labels": labels, "Ports": ports}


def test_a_port_that_a_program_has_is_told_with_its_name() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        use = read_port(server.getsockname()[1], "box", [])
    assert use.holder is not None
    assert "(process " in use.holder
    assert not use.ours


def test_a_free_port() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    assert read_port(port, "box", []) == PortUse(port)


@pytest.mark.parametrize(("project", "ours"), [("box", True), ("other", False), (None, False)])
def test_a_port_that_a_container_has(project: str | None, ours: bool) -> None:
    use = container_holder(9443, "box", [container(1, None), container(9443, project)])
    assert use == PortUse(9443, "the container some_caddy_1", ours)
    assert container_holder(51820, "box", [container(9443, project)]) is None, "that is another protocol's"


def test_the_listening_socket_is_found() -> None:
    assert listening_inode(["", TABLE], 0x2474) == "222"
    assert listening_inode([TABLE], 80) is None

"""What a session, and somebody who looks at containers, can and cannot reach."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from sciencebox.sessions.launch import PORT

from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service import Service

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def maria(service: Service) -> Iterator[str]:
    """A running session without a GPU."""
    with service.session("maria"):
        yield "maria"


def test_a_session_has_no_privilege(service: Service, maria: str) -> None:
    _, status = service.run(maria, ["cat", "/proc/self/status"])
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    assert facts["CapEff"] == facts["CapPrm"] == facts["CapBnd"] == "0000000000000000"
    assert facts["NoNewPrivs"] == "1"
    assert int(facts["Uid"].split()[0]) >= 20_000


def test_a_session_is_limited(service: Service, maria: str) -> None:
    host = service.container(maria).attrs["HostConfig"]

    assert host["Memory"] == host["MemorySwap"] > 0
    assert host["PidsLimit"] == 4096
    assert host["CpuQuota"] > 0
    assert not host["Privileged"]


def test_a_session_reaches_neither_the_engine_nor_another_home(service: Service, maria: str) -> None:
    _, found = service.run(maria, ["sh", "-c", "ls /var/run/docker.sock /run/docker.sock; ls /home; ls /var/lib"])

    assert found.count("docker.sock': No such file") == 2
    assert "maria" in found.split()
    assert "sciencebox" not in found
    mounts = {mount["Destination"] for mount in service.container(maria).attrs["Mounts"]}
    assert mounts == {"/home/maria", "/etc/passwd", "/etc/group", "/data", "/cvmfs/sciencebox.local"}


@pytest.mark.parametrize("path", ["/data/x", "/cvmfs/sciencebox.local/x", "/etc/passwd", "/opt/x"])
def test_only_the_home_can_be_written(service: Service, maria: str, path: str) -> None:
    status, _ = service.run(maria, ["touch", path])
    assert status != 0
    status, _ = service.run(maria, ["touch", "/home/maria/x"])
    assert status == 0


def test_homes_are_closed_to_others(service: Service, maria: str) -> None:
    home = service.state.parent / "homes" / maria

    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert home.stat().st_uid >= 20_000


def test_no_secret_of_the_deployment_is_shown_by_the_engine(service: Service, maria: str) -> None:
    folder = service.state / "secrets"
    secrets = [file.read_text().strip() for file in folder.rglob("*") if file.is_file()]
    for container in service.engine.containers.list(all=True):
        shown = json.dumps(container.attrs)
        assert not [secret for secret in secrets if secret in shown], container.name


def test_secrets_are_for_root_only(service: Service) -> None:
    for file in (service.state / "secrets").rglob("*"):
        mode = stat.S_IMODE(file.stat().st_mode)
        assert mode & 0o077 == 0, file


def test_the_log_of_the_hub_has_no_secret(service: Service, maria: str) -> None:
    log = service.engine.containers.get(service.hub.id).logs().decode()
    for file in (service.state / "secrets").rglob("*"):
        if file.is_file():
            assert file.read_text().strip() not in log


# What happens to somebody who connects: where to, and the answer in one word.
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2).close()
    print("reached")
except TimeoutError:
    print("nothing")
except OSError as error:
    print("refused:", error.strerror)
"""


def connect(service: Service, name: str, host: str, port: int) -> str:
    """What a program in somebody's session meets there."""
    return str(service.run(name, ["python3", "-c", CONNECT, host, str(port)])[1]).strip()


def test_a_session_reaches_the_hub_and_no_other_session(service: Service, maria: str) -> None:
    with service.session("noor"):
        facts = service.container("noor").attrs["NetworkSettings"]["Networks"][f"{service.name}-sessions"]
        assert connect(service, maria, "hub", 8081) == "reached"
        assert connect(service, "noor", facts["IPAddress"], PORT) == "reached"
        assert connect(service, maria, facts["IPAddress"], PORT) == "nothing"


def test_a_session_does_not_reach_where_clouds_tell_secrets(service: Service, maria: str) -> None:
    """A stand-in for the metadata service, on this server, is not reached; the same on another address is."""
    pretended, gateway = "169.254.77.1", service.engine.networks.get(f"{service.name}-sessions").attrs
    with socket.create_server(("", 0)) as metadata, address(pretended):
        port = metadata.getsockname()[1]
        assert connect(service, maria, gateway["IPAM"]["Config"][0]["Gateway"], port) == "reached"
        assert connect(service, maria, pretended, port) == "refused: No route to host"


def test_rules_that_another_program_flushed_come_back(service: Service) -> None:
    table = ["table", "inet", f"sciencebox-{service.name}"]
    assert nft("list", *table)
    assert nft("delete", *table)
    wait_until(lambda: nft("list", *table), "the rules are back")


@contextmanager
def address(chosen: str) -> Iterator[None]:
    """One more address of this server."""
    subprocess.run(["ip", "address", "add", f"{chosen}/32", "dev", "lo"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "address", "del", f"{chosen}/32", "dev", "lo"], check=True)


def nft(*command: str) -> bool:
    """Whether the kernel's rules take a command."""
    return subprocess.run(["nft", *command], capture_output=True, check=False).returncode == 0

"""compose.yaml means the same to Compose 1.29 and to Compose 2."""

from __future__ import annotations

import os
import shutil
import subprocess
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml
from sciencebox.host.command import ask
from sciencebox.host.compose import Places, caller_environment, command_line, env_file, optional, overlay
from sciencebox.host.driver import Driver
from sciencebox.host.engine import Compose
from sciencebox.host.firewall import Addresses
from sciencebox.sessions.attach import DriverFiles
from sciencebox.settings import Settings

COMPOSE_FOLDER = Path(__file__).parents[2] / "deploy" / "compose"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
DRIVER = Driver(
    DriverFiles(
        (f"{LIBRARIES}/libcuda.so.1",),
        nodes=frozenset({"nvidiactl", "nvidia0"}),
        nvml=f"{LIBRARIES}/libnvidia-ml.so.1",
    )
)
SERVERS: dict[str, dict[str, Any]] = {
    "internal": {},
    "acme": {"tls": "acme", "hostname": "box.example", "acme_email": "ada@box.example"},
    "files": {"tls": "files", "certificate": "/c.pem", "key": "/k.pem"},
}


def composes() -> list[Compose]:
    """Every Compose of this machine; SCIENCEBOX_COMPOSE names a further one."""
    commands = [("docker", "compose"), ("docker-compose",)]
    if extra := os.environ.get("SCIENCEBOX_COMPOSE"):
        commands.append((extra,))
    told = [
        (command, ask([*command, "version", "--short"]) if shutil.which(command[0]) else None) for command in commands
    ]
    return [Compose(command, version) for command, version in told if version]


@pytest.fixture(params=composes() or [None], ids=lambda compose: compose.version if compose else "none")
def compose(request: pytest.FixtureRequest) -> Compose:
    """Each Compose in turn."""
    if request.param is None:
        pytest.skip("no Compose here")
    found: Compose = request.param
    return found


def configuration(
    compose: Compose, folder: Path, server: dict[str, Any], *, with_overlay: bool, **more: Any
) -> dict[str, Any]:
    """The whole configuration as Compose understood it."""
    settings = Settings.model_validate({"name": "box", "data_root": str(folder / "box"), "server": server, **more})
    places = Places(settings.data_root, COMPOSE_FOLDER)
    places.state.mkdir(parents=True)
    text = env_file(
        settings,
        places,
        socket=Path("/run/docker.sock"),
        hostname="box.example",
        addresses=Addresses(IPv4Network("172.20.0.0/16")),
        hub_inputs="h",
        caddy_inputs="c",
    )
    places.env_file.write_text(text)
    places.overlay.write_text(overlay(DRIVER) or "")
    extra = optional(settings)
    line = [*command_line(compose, "box", places, with_overlay=with_overlay, extra=extra), "config"]
    environment = caller_environment(os.environ, Path("/run/docker.sock"))
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


@pytest.mark.parametrize("tls", SERVERS)
def test_it_is_understood_without_a_word_of_warning(compose: Compose, tmp_path: Path, tls: str) -> None:
    found = configuration(compose, tmp_path, SERVERS[tls], with_overlay=False)
    assert set(found["services"]) == {"caddy", "proxy", "hub", "firewall"}
    assert found["networks"]["sessions"]["name"] == "box-sessions"
    hub = found["services"]["hub"]
    assert "pid" not in hub
    assert hub["cap_drop"] == ["ALL"]
    assert set(hub["cap_add"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER"}
    for service in found["services"].values():
        assert service["restart"] == "unless-stopped"
        assert service["read_only"] is True
        assert service["logging"]["options"]["max-size"] == "10m"


def test_the_overlay_adds_the_driver_to_the_hub(compose: Compose, tmp_path: Path) -> None:
    hub = configuration(compose, tmp_path, {}, with_overlay=True)["services"]["hub"]
    assert hub["pid"] == "host"
    assert hub["environment"]["SCIENCEBOX_DEV_ROOT"] == "/dev"
    assert hub["environment"]["SCIENCEBOX_SETTINGS"] == "/etc/sciencebox/sciencebox.yaml"
    assert len(hub["devices"]) == 2
    assert LIBRARIES in str(hub["volumes"])


def test_monitoring_is_for_this_server_s_own_eyes(compose: Compose, tmp_path: Path) -> None:
    services = configuration(compose, tmp_path, {}, with_overlay=False, monitoring={"enabled": True})["services"]
    assert set(services) == {"caddy", "proxy", "hub", "firewall", "prometheus"}
    (port,) = services["prometheus"]["ports"]
    assert "127.0.0.1" in str(port)
    assert not any("TOKEN" in str(value) for value in services["prometheus"].get("environment", {}))


def test_hub_and_proxy_have_addresses_that_no_session_gets(compose: Compose, tmp_path: Path) -> None:
    services = configuration(compose, tmp_path, {}, with_overlay=False)["services"]
    fixed = {name: services[name]["networks"]["sessions"]["ipv4_address"] for name in ("hub", "proxy")}
    assert fixed == {"hub": "172.20.0.2", "proxy": "172.20.0.3"}


def test_the_firewall_can_set_rules_and_nothing_else(compose: Compose, tmp_path: Path) -> None:
    firewall = configuration(compose, tmp_path, {}, with_overlay=False)["services"]["firewall"]
    assert (firewall["cap_drop"], firewall["cap_add"], firewall["read_only"]) == (["ALL"], ["NET_ADMIN"], True)
    assert "firewall.nft" in str(firewall["volumes"])
    without = configuration(compose, tmp_path / "x", {}, with_overlay=False, firewall={"enabled": False})["services"]
    assert "firewall" not in without


def test_the_published_stack_has_a_server_that_can_only_read_it(compose: Compose, tmp_path: Path) -> None:
    stack = {"publish": {"enabled": True, "port": 8100}}
    services = configuration(compose, tmp_path, {}, with_overlay=False, stack=stack)["services"]
    assert set(services) == {"caddy", "proxy", "hub", "firewall", "repository"}
    server = services["repository"]
    assert server["read_only"] is True
    assert server["cap_drop"] == ["ALL"]
    published = [str(volume) for volume in server["volumes"] if "/srv/cvmfs/sciencebox.local" in str(volume)]
    assert len(published) == 1
    assert "ro" in published[0].rsplit(":", 1)[-1] or "read_only" in published[0]
    assert not any("keys" in str(volume) for volume in server["volumes"])


def test_a_client_may_mount_and_nothing_else(compose: Compose, tmp_path: Path) -> None:
    stack = {"source": "client", "more": ["sft.cern.ch"], "client": {"enabled": True}}
    client = configuration(compose, tmp_path, {}, with_overlay=False, stack=stack)["services"]["client"]
    assert (client["cap_drop"], client["cap_add"]) == (["ALL"], ["SYS_ADMIN"])
    assert "no-new-privileges:true" in client["security_opt"]
    assert "privileged" not in client
    assert "ports" not in client
    assert "/cvmfs:/cvmfs:rshared" in map(str, client["volumes"])
    assert "/dev/fuse" in str(client["devices"])


def test_a_mounted_stack_reaches_the_hub_when_it_is_mounted_later(compose: Compose, tmp_path: Path) -> None:
    services = configuration(compose, tmp_path, {}, with_overlay=False, stack={"source": "client"})["services"]
    assert "/cvmfs:/cvmfs:ro,rslave" in map(str, services["hub"]["volumes"])

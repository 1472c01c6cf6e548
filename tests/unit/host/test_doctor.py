"""The doctor's table: each state of a server that keeps the service from working, and what is said about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sciencebox.gpus.device import Device, Health, Inventory
from sciencebox.host.compose import as_deployed
from sciencebox.host.doctor import GIB, before_engine, rows, without_password
from sciencebox.host.driver import Driver
from sciencebox.host.engine import Compose, EngineState
from sciencebox.host.facts import Clock, Host, System, parse_os_release, read_network, server_name, unreadable
from sciencebox.host.ports import PortUse
from sciencebox.host.row import Row, State, failures
from sciencebox.sessions.attach import DriverFiles, ModeChoice
from sciencebox.sessions.stack import View
from sciencebox.settings import Settings, parse

SOCKET = Path("/var/run/docker.sock")
ENGINE = EngineState(SOCKET, installed=True, version="28.5.2", versions={"Version": "28.5.2"})
ROOTLESS = {"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]}
REMAPPED = {"SecurityOptions": ["name=seccomp,profile=builtin", "name=userns"]}
CONFINED = {"SecurityOptions": ["name=apparmor", "name=selinux"]}
PODMAN = replace(ENGINE, version="5.4.0", versions={"Components": [{"Name": "Podman Engine"}]})
CARD = Device("GPU-1", 0, "NVIDIA L4", 24 * GIB, minor=0)
FILES = DriverFiles(
    ("/usr/lib/x86_64-linux-gnu/libcuda.so.1",),
    nodes=frozenset({"nvidiactl", "nvidia0"}),
    nvml="/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
)
DRIVER = Driver(FILES, inventory=Inventory((CARD,), driver_version="580.95", cuda_version=(13, 0)), cards_seen=1)
WITHOUT_NODES = replace(DRIVER, files=replace(FILES, nodes=frozenset()))
SICK = replace(CARD, health=Health.QUARANTINED, health_reason="XID 79")
HEALTHY = Host(
    system=System("Debian GNU/Linux 12 (bookworm)", has_apt=True),
    root=True,
    free={"/var/lib/sciencebox": 100 * GIB},
    ports=(PortUse(443), PortUse(80)),
    clock=Clock(now=2e9, newest_file=1.9e9, synchronised=True),
    network={},
    certificates=(),
    engine=ENGINE,
    compose=Compose(("docker", "compose"), "2.40.3"),
    driver=DRIVER,
    toolkit=None,
    mode=ModeChoice("bind", "The driver's files are bound."),
)


def row(host: Host, what: str, state: State, settings: Settings | None = None) -> Row:
    """The one row of that kind and state."""
    found = [each for each in rows(host, settings or Settings()) if each.what == what and each.state is state]
    assert len(found) == 1, rows(host, settings or Settings())
    return found[0]


def test_files_that_the_settings_name_are_looked_for_before_anything_is_built(tmp_path: Path) -> None:
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    key.touch()
    files = {"tls": "files", "certificate": str(chain), "key": str(key)}
    assert unreadable(Settings.model_validate({"server": files})) == (str(chain),)
    assert unreadable(Settings.model_validate({"server": {**files, "tls": "internal"}})) == ()


def test_a_good_server_has_nothing_to_do() -> None:
    table = rows(HEALTHY, Settings())
    assert [each for each in table if each.state is not State.OK] == []
    assert "580.95, CUDA up to 13.0" in [each.found for each in table]
    assert "1 x NVIDIA L4" in [each.found for each in table]
    assert "bind: The driver's files are bound." in [each.found for each in table]


@pytest.mark.parametrize(
    ("change", "what", "found", "advice"),
    [
        ({"root": False}, "Rights", "not root", "Run this as root"),
        ({"free": {"/srv": GIB}}, "Disk", "1 GiB free for /srv", "Free at least 3 GiB"),
        (
            {"ports": (PortUse(443, "nginx (process 12)"), PortUse(80))},
            "Port",
            "443 is taken by nginx (process 12)",
            "Stop it, or set another `server.https_port`.",
        ),
        (
            {
                "ports": (PortUse(443, "docker-proxy (process 12)"), PortUse(80)),
                "engine": EngineState(SOCKET, installed=True, fault=f"no answer at {SOCKET} within 15 s"),
            },
            "Port",
            "443 is taken by docker-proxy",
            f"The container engine does not answer: no answer at {SOCKET}",
        ),
        ({"clock": Clock(0, 1.9e9)}, "Clock", "behind the files", "Set the clock"),
        ({"unreadable": ("/etc/ssl/no.pem",)}, "Files", "/etc/ssl/no.pem of the settings cannot be read", "Correct"),
        (
            {"engine": EngineState(SOCKET, installed=False, fault="x")},
            "Engine",
            "not installed",
            "`make deploy` installs it",
        ),
        (
            {"engine": EngineState(SOCKET, installed=True, fault="nobody listens at /var/run/docker.sock")},
            "Engine",
            "does not answer: nobody listens",
            "Start it",
        ),
        ({"engine": replace(ENGINE, version="19.03.1")}, "Engine", "Docker 19.03.1", "Upgrade to Docker 20.10"),
        ({"engine": replace(ENGINE, info=ROOTLESS)}, "Engine", "a rootless one at /var/run", "Unset DOCKER_HOST"),
        (
            {"engine": replace(ENGINE, info=REMAPPED)},
            "Engine",
            "gives files to other users",
            "Take that out",
        ),
        ({"engine": PODMAN}, "Engine", "Podman 5.4.0 at /var/run/docker.sock", "Install Docker"),
        ({"network": {"HTTPS_PROXY": "socks5://a:pw@proxy"}}, "Proxies", "=socks5://proxy", "`network.https_proxy`"),
        ({"network": {"PIP_INDEX_URL": "file:///srv"}}, "Proxies", "PIP_INDEX_URL", "or set `network.python_index`"),
        ({"compose": None}, "Compose", "none, or older than 1.29", "`make deploy` installs it"),
        ({"driver": WITHOUT_NODES}, "Driver", "no device nodes in /dev", "nvidia-modprobe"),
        (
            {"driver": replace(DRIVER, inventory=Inventory(readable=False, reason="The driver does not answer."))},
            "Driver",
            "The driver does not answer.",
            "nvidia-smi",
        ),
        ({"mode": ModeChoice(None, "No way is open.")}, "Attach mode", "No way is open.", "GPUs are not offered"),
        ({"system": System("Debian", has_apt=True, machine="aarch64")}, "System", "aarch64", "x86_64 only"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(change: dict[str, Any], what: str, found: str, advice: str) -> None:
    told = row(replace(HEALTHY, **change), what, State.FAILED)
    assert found in told.found
    assert advice in told.advice


@pytest.mark.parametrize(
    ("change", "what", "found", "advice"),
    [
        ({"free": {"/srv": 10 * GIB}}, "Disk", "10 GiB free", "20 GiB are comfortable"),
        ({"clock": Clock(2e9, 1.9e9, synchronised=False)}, "Clock", "not synchronised", "time service"),
        ({"engine": replace(ENGINE, info=CONFINED)}, "Engine", "SELinux keeps containers from", "selinux-enabled"),
        ({"only_ipv6": True}, "Network", "by IPv6 alone", "Give it IPv4"),
        ({"network": {"HTTP_PROXY": "http://127.0.0.1:3128"}}, "Proxies", "127.0.0.1", "this server's address"),
        (
            {"network": {"PIP_INDEX_URL": "http://localhost:3141/"}},
            "Proxies",
            "PIP_INDEX_URL=",
            "cannot reach PIP_INDEX",
        ),
        ({"driver": Driver(cards_seen=2)}, "Driver", "2 NVIDIA cards, but no driver under /", "Install the driver"),
        ({"toolkit": "1.10.0"}, "Toolkit", "nvidia-ctk 1.10.0", "Upgrade"),
        ({"toolkit": "1.20.1"}, "CDI", "knows no device", "nvidia-ctk cdi generate"),
        ({"system": System("Fedora 42", has_apt=False), "compose": None}, "System", "Fedora 42", "own means"),
        (
            {"driver": replace(DRIVER, inventory=Inventory((SICK,)))},
            "GPU",
            "XID 79",
            "not offered",
        ),
    ],
)
def test_a_warning_does_not_fail(change: dict[str, Any], what: str, found: str, advice: str) -> None:
    told = row(replace(HEALTHY, **change), what, State.WARNING)
    assert found in told.found
    assert advice in told.advice


def test_a_release_for_gpus_takes_more_of_the_disk_until_it_is_there() -> None:
    host = replace(HEALTHY, free={"/var/lib/sciencebox": 25 * GIB, "/var/lib/docker": 25 * GIB})
    assert row(host, "Disk", State.WARNING).advice == "35 GiB are comfortable."
    for well in (replace(host, views=(OWN,)), replace(host, driver=Driver())):
        assert not [each for each in rows(well, Settings()) if each.what == "Disk" and each.state is not State.OK]


def test_a_server_without_a_card_is_no_failure() -> None:
    host = replace(HEALTHY, driver=Driver(), mode=ModeChoice(None, "There is no GPU to attach."))
    assert failures(rows(host, Settings())) == []
    assert row(host, "Driver", State.OK).found == "no NVIDIA card; sessions have no GPU"


def test_an_offered_model_that_is_not_there_is_told() -> None:
    settings = parse("gpus: {models: [NVIDIA H300]}", "sciencebox.yaml")
    (warning,) = [row for row in rows(HEALTHY, settings) if row.state is State.WARNING]
    assert warning.found == "no NVIDIA H300 is here, though the settings offer it"
    assert "an empty list of models offers every one" in warning.advice


SHARES = "gpus: {shares: [{model: NVIDIA L4, parts: 3}]}"


def test_shares_that_are_kept_apart_are_well() -> None:
    assert row(HEALTHY, "Shares", State.OK, parse(SHARES, "")).found == "3 of 1 GPU, each kept to its memory"


def test_shares_that_nothing_keeps_apart_are_warned_of_whether_they_are_given_out_or_not() -> None:
    host = replace(HEALTHY, unlimited="the driver cannot bound them")
    kept = row(host, "Shares", State.WARNING, parse(SHARES, ""))
    assert (kept.found, "given out whole" in kept.advice) == ("none: the driver cannot bound them", True)
    unsafe = row(host, "Shares", State.WARNING, parse(SHARES[:-1] + ", unsafe_sharing: true}", ""))
    assert unsafe.found == "3 of 1 GPU, and nothing bounds their memory: the driver cannot bound them"
    assert "can fill the GPU" in unsafe.advice


def test_a_model_to_share_that_is_not_there_is_told() -> None:
    settings = parse("gpus: {shares: [{model: NVIDIA H300, parts: 3}]}", "")
    assert "no NVIDIA H300 is here" in row(HEALTHY, "GPUs", State.WARNING, settings).found


def test_simulated_gpus_are_told_as_such() -> None:
    settings = Settings.model_validate({"gpus": {"simulate": 2}})
    assert "2 SIMULATED" in row(HEALTHY, "GPUs", State.WARNING, settings).found


def test_ports_that_this_deployment_has_are_ours() -> None:
    host = replace(HEALTHY, ports=(PortUse(443, "the container sciencebox_caddy_1", ours=True), PortUse(80)))
    assert failures(rows(host, Settings())) == []


def test_gpus_never_keep_a_deployment_from_starting() -> None:
    host = replace(HEALTHY, driver=WITHOUT_NODES)
    assert failures(before_engine(host, Settings())) == []


def test_a_missing_engine_does_not_keep_a_deployment_from_starting() -> None:
    host = replace(HEALTHY, engine=EngineState(SOCKET, installed=False, fault="x"), compose=None)
    assert failures(before_engine(host, Settings())) == []


def test_who_deploys_with_other_proxies_is_told_that_sessions_get_them(tmp_path: Path) -> None:
    had = {"HTTPS_PROXY": "http://ada:secret@proxy:3128", "PIP_INDEX_URL": "https://index.example/simple"}
    (tmp_path / "deployed.yaml").write_text(as_deployed(Settings(), "box.example", had, "cpu"))
    deployed = read_network(tmp_path / "deployed.yaml")
    assert (deployed, read_network(tmp_path / "none")) == (had, None)
    host = replace(HEALTHY, deployed_network=deployed, network={"PIP_INDEX_URL": had["PIP_INDEX_URL"]})
    told = row(host, "Proxies", State.WARNING)
    assert told.found == "HTTPS_PROXY is none in this environment, and http://proxy:3128 for sessions"
    assert "set `network.https_proxy`" in told.advice
    for well in (replace(host, deployed_network=None), replace(host, network=had)):
        assert not [each for each in rows(well, Settings()) if each.state is State.WARNING]
    wanted = parse("network: {https_proxy: http://new:3128}", "")
    host = replace(host, network={**had, "HTTPS_PROXY": "http://new:3128"})
    assert not [each for each in rows(host, wanted) if each.state is State.WARNING], "somebody has written it down"


def test_passwords_of_proxies_are_not_shown() -> None:
    assert without_password("http://ada:secret@proxy:3128/") == "http://proxy:3128/"
    assert without_password("proxy") == "proxy"
    assert without_password("ada:secret@proxy:3128") == "proxy:3128"
    host = replace(HEALTHY, network={"HTTPS_PROXY": "http://ada:secret@proxy:3128"})
    assert row(host, "Proxies", State.OK).found == "HTTPS_PROXY=http://proxy:3128"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n', System("Debian GNU/Linux 12 (bookworm)", True)),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\nPRETTY_NAME=Mint\n", System("Mint", True)),
        ('ID="rocky"\nID_LIKE="rhel fedora"\nPRETTY_NAME="Rocky Linux 9"', System("Rocky Linux 9", False)),
        ("", System("an unknown system", False)),
    ],
)
def test_the_system_is_recognised(text: str, expected: System) -> None:
    assert parse_os_release(text, "x86_64") == expected


@pytest.mark.parametrize(
    ("fqdn", "address", "expected"),
    [
        ("gpu1.example.org", "192.0.2.7", "gpu1.example.org"),
        ("localhost", "192.0.2.7", "192.0.2.7"),
        ("localhost.localdomain", "192.0.2.7", "192.0.2.7"),
        ("gpu1", "192.0.2.7", "192.0.2.7"),
        ("gpu_1.example.org", "192.0.2.7", "192.0.2.7"),
        ("gpu1", "", "gpu1"),
    ],
)
def test_the_server_is_named_as_others_can_reach_it(fqdn: str, address: str, expected: str) -> None:
    assert server_name(fqdn, "gpu1", address) == expected
    assert server_name("gpu_1.example.org", "gpu_1", "") == "localhost", "a name that the hub refuses is of no use"


CLIENT = parse("stack: {source: client}", "test")
OWN = View("SB_1", "x86_64-debian12-gcc12-opt", "/cvmfs/sciencebox.local/lcg/views/SB_1/x86_64-debian12-gcc12-opt")
CERN = View("LCG_105/x86_64-el9-gcc13-opt", "x86_64-el9-gcc13-opt", "/cvmfs/sft.cern.ch/lcg/views/LCG_105/x")
SERVICE = parse("stack: {source: client, more: [sft.cern.ch], client: {enabled: true}}", "test")
PUBLISHED = parse("stack: {publish: {enabled: true}}", "test")


def test_a_stack_that_is_not_mounted_is_a_warning_and_the_service_still_comes_up() -> None:
    absent = replace(HEALTHY, stack_fault="Nothing is mounted at /cvmfs/sciencebox.local.")
    assert "cvmfs_config probe" in row(absent, "Stack", State.WARNING, CLIENT).advice
    both = parse("stack: {source: client, more: [sft.cern.ch]}", "test")
    one = replace(HEALTHY, views=(OWN,), stack_fault="Nothing is mounted at /cvmfs/sft.cern.ch.")
    told = row(one, "Stack", State.WARNING, both)
    assert told.advice.startswith("See what `cvmfs_config probe sft.cern.ch` says; until then sessions have only the")
    there = replace(HEALTHY, views=(OWN, CERN))
    assert row(there, "Stack", State.OK, CLIENT).found == "mounted at /cvmfs/sciencebox.local, /cvmfs/sft.cern.ch"


def test_mounts_that_cannot_reach_containers_stop_a_deployment() -> None:
    found = row(replace(HEALTHY, propagates=False), "Stack", State.FAILED, CLIENT)
    assert "--make-rshared /cvmfs" in found.advice


def test_a_client_of_this_deployment_says_what_it_lacks() -> None:
    absent = replace(HEALTHY, stack_fault="Nothing is mounted at /cvmfs/sciencebox.local.")
    assert row(absent, "Stack", State.WARNING, SERVICE).advice.startswith("`make deploy` starts the service")
    assert "do not reach this server" in row(replace(HEALTHY, propagates=False), "Stack", State.FAILED, SERVICE).found
    assert "modprobe fuse" in row(replace(HEALTHY, fuse=False), "Stack", State.FAILED, SERVICE).advice
    alone = replace(HEALTHY, views=(OWN,))
    assert row(alone, "Stack", State.WARNING, SERVICE).found == "no release is found at /cvmfs/sft.cern.ch"
    assert not [each for each in rows(replace(alone, fuse=False), CLIENT) if each.state is State.FAILED]


@pytest.mark.parametrize(
    ("days", "state", "found"),
    [(29, State.OK, "valid for 29 days"), (3, State.WARNING, "expires in 3 days"), (-1, State.FAILED, "has expired")],
)
def test_a_whitelist_is_told_before_clients_refuse_it(days: int, state: State, found: str) -> None:
    host = replace(HEALTHY, whitelist_expires=HEALTHY.clock.now + 86400 * days)
    assert found in row(host, "Repository", state, PUBLISHED).found

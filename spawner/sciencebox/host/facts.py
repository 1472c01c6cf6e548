"""What this server is and has, read for `doctor` and for the first step of a deployment. Nothing is judged."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket as sockets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import requests
import yaml

from sciencebox.host import directory, engine, images, mounting, stack
from sciencebox.host.certificate import read as read_certificate
from sciencebox.host.command import ask
from sciencebox.host.compose import CHAIN, KEY, Places, certificate_sources, network_environment
from sciencebox.host.driver import Driver, read_driver
from sciencebox.host.mounting import key_sources
from sciencebox.host.ports import PortUse, read_port
from sciencebox.sections import HOST_NAME, NETWORK_VARIABLES
from sciencebox.sessions import limits
from sciencebox.sessions.attach import ModeChoice, choose_mode, engine_facts
from sciencebox.sessions.stack import folder_of, published, whitelist_expiry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sciencebox.host.certificate import Certificate
    from sciencebox.host.engine import Compose, EngineState
    from sciencebox.sessions.stack import View
    from sciencebox.settings import Settings

FUSE = Path("/dev/fuse")
NO_ENGINE = ModeChoice(None, "The container engine does not answer.")
APT_FAMILY = frozenset({"debian", "ubuntu"})


@dataclass(frozen=True)
class System:
    """The operating system: its name for people, and whether packages come by apt."""

    name: str
    has_apt: bool
    machine: str = "x86_64"


@dataclass(frozen=True)
class Clock:
    """The clock. `synchronised` is None where nobody can tell; `newest_file` is a moment that has certainly passed."""

    now: float
    newest_file: float
    synchronised: bool | None = None


@dataclass(frozen=True)
class Host:
    """Everything that was read."""

    system: System
    root: bool
    free: Mapping[str, int]  # bytes by what is stored there
    ports: tuple[PortUse, ...]
    clock: Clock
    network: Mapping[str, str]
    certificates: tuple[str, ...]
    engine: EngineState
    compose: Compose | None
    driver: Driver
    toolkit: str | None  # version of NVIDIA's container toolkit
    views: tuple[View, ...] = ()  # what is published here
    stack_fault: str = ""  # why what should be mounted is not
    propagates: bool = True  # whether a mount of this server reaches containers, or theirs it
    fuse: bool = True  # whether programs may be file systems here
    whitelist_expires: float | None = None  # of the published repository, in seconds since 1970
    unreadable: tuple[str, ...] = ()  # files that the settings name
    unlimited: str = ""  # why the memory of a share of a GPU is not bounded; empty where it is
    directory_fault: str = ""  # why the site's single sign-on or directory cannot be asked
    mode: ModeChoice = NO_ENGINE
    only_ipv6: bool = False  # whether it reaches others by IPv6 alone
    certificate: Certificate | None = None  # the site's own, if it has one
    deployed_network: Mapping[str, str] | None = None  # what sessions have for `network`, as it was deployed last

    def cdi_folders(self, settings: Settings) -> list[str]:
        """Where the engine's CDI specifications are, if the hub has to know: for shares of GPUs."""
        folders = (self.engine.info or {}).get("CDISpecDirs") or () if settings.gpus.shares else ()
        return [folder for folder in folders if Path(folder).is_dir()]


def read_host(settings: Settings, checkout: Path, environment: Mapping[str, str]) -> Host:
    """Look at this server. Raises StepError only for an engine on another server."""
    socket = engine.choose_socket(settings.engine.socket, environment.get("DOCKER_HOST"))
    state = engine.look(socket)
    driver = read_driver(settings, environment)
    mode, unlimited = NO_ENGINE, ""
    places = Places(settings.data_root, checkout)
    network = network_environment(settings, environment)
    if state.answers:
        facts = engine_facts(state.info, state.versions)
        mode = choose_mode(settings.gpus.attach, facts, driver.inventory.devices, driver.files)
        unlimited = limits.look(facts, mode.mode, driver.files.nvml) if settings.gpus.shares else ""
    return Host(
        system=parse_os_release(_text(Path("/etc/os-release")), platform.machine()),
        root=os.geteuid() == 0,
        free=_free_space(settings, state),
        ports=_ports(settings, state),
        clock=_clock(checkout),
        network=network,
        certificates=tuple(sorted(path.name for path in images.trusted())),
        engine=state,
        compose=engine.find_compose(),
        driver=driver,
        toolkit=_toolkit(),
        unreadable=unreadable(settings),
        unlimited=unlimited,
        directory_fault=directory.fault(settings.accounts, network),
        mode=mode,
        only_ipv6=not _way_out(sockets.AF_INET) and bool(_way_out(sockets.AF_INET6)),
        certificate=_certificate(settings, places),
        deployed_network=read_network(places.settings),
        **_stack(settings),
    )


def parse_os_release(text: str, machine: str) -> System:
    """The operating system from the text of /etc/os-release."""
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    values = {name: value.strip().strip("\"'") for name, value in pairs.items()}
    family = {values.get("ID", ""), *values.get("ID_LIKE", "").split()}
    return System(values.get("PRETTY_NAME") or "an unknown system", bool(family & APT_FAMILY), machine)


def server_name(fqdn: str, hostname: str, address: str) -> str:
    """The name by which this server is best reached: its full name, else its address, else its own name.

    A name with other characters, such as `_`, is none that `server.hostname` may have, which the hub checks.
    """
    if "." in fqdn and not fqdn.startswith("localhost") and re.fullmatch(HOST_NAME, fqdn):
        return fqdn
    return address or (hostname if re.fullmatch(HOST_NAME, hostname) else "localhost")


def read_server_name() -> str:
    """See server_name; the address is that of the network card that leads out. Nothing is sent."""
    return server_name(sockets.getfqdn(), sockets.gethostname(), _way_out(sockets.AF_INET))


def _way_out(family: sockets.AddressFamily) -> str:
    """This server's own address on the way out; none where none leads out. The other end is for documentation."""
    elsewhere = {sockets.AF_INET: "192.0.2.1", sockets.AF_INET6: "2001:db8::1"}[family]  # RFC 5737, RFC 3849
    try:
        with sockets.socket(family, sockets.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _free_space(settings: Settings, state: EngineState) -> dict[str, int]:
    folders = {str(settings.data_root): existing(settings.data_root)}
    store = Path(str(state.info.get("DockerRootDir", "/var/lib/docker")))
    folders[str(store)] = existing(store)
    return {name: shutil.disk_usage(folder).free for name, folder in folders.items()}


def _ports(settings: Settings, state: EngineState) -> tuple[PortUse, ...]:
    containers = []
    if state.answers:
        client = engine.connect(state.socket)
        try:
            containers = client.api.containers()
        except (docker.errors.DockerException, requests.RequestException):
            containers = []
        finally:
            client.close()
    wanted = [settings.server.https_port, settings.server.http_port]
    wanted += [settings.monitoring.port] if settings.monitoring.enabled else []
    wanted += [settings.stack.publish.port] if settings.stack.publish.enabled else []
    return tuple(read_port(port, settings.name, containers) for port in wanted)


def _clock(checkout: Path) -> Clock:
    told = ask(["timedatectl", "show", "--property=NTPSynchronized", "--value"])
    synchronised = {"yes": True, "no": False}.get(told or "")
    newest = max((path.stat().st_mtime for path in checkout.glob("deploy/compose/*")), default=0.0)
    return Clock(time.time(), newest, synchronised)


def _stack(settings: Settings) -> dict[str, Any]:
    if settings.stack.source == "client":
        mounts = mounting.read_mounts()
        views, fault = stack.look(settings)
        return {
            "views": views,
            "stack_fault": fault,
            "propagates": mounting.propagates(settings.stack.mount, mounts, back=settings.stack.client.enabled),
            "fuse": FUSE.exists(),
        }
    repository = settings.stack.repository
    return {
        "views": published(folder_of(settings, repository), repository),
        "whitelist_expires": whitelist_expiry(settings.data_root / "repository"),
    }


def _certificate(settings: Settings, places: Places) -> Certificate | None:
    sources = certificate_sources(settings.server)
    if not {CHAIN, KEY} <= sources.keys():
        return None
    try:
        return read_certificate(sources[CHAIN], sources[KEY], places.certificates / CHAIN)
    except OSError:  # of which `unreadable` tells
        return None


def unreadable(settings: Settings) -> tuple[str, ...]:
    """Files that the settings name and that cannot be read."""
    named = [
        *certificate_sources(settings.server).values(),
        settings.accounts.secret_file,
        *key_sources(settings).values(),
    ]
    return tuple(str(file) for file in named if file and not os.access(file, os.R_OK))


def read_network(deployed: Path) -> dict[str, str] | None:
    """Proxies and indexes of settings as they were deployed; None where there are none that can be read."""
    try:
        values = yaml.safe_load(deployed.read_text(encoding="utf-8"))["network"]
        return {variable: values[key] for variable, key in NETWORK_VARIABLES.items() if values.get(key)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        return None


def _toolkit() -> str | None:
    told = ask(["nvidia-ctk", "--version"])
    return told.splitlines()[0].rsplit(" ", 1)[-1] if told else None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""

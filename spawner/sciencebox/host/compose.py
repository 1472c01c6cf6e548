"""What Compose is told: the values of `compose.env`, the overlay for a GPU driver, the command line. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

import sciencebox
from sciencebox.sessions.stack import folder_of
from sciencebox.settings import NETWORK_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from sciencebox.host.driver import Driver
    from sciencebox.host.engine import Compose
    from sciencebox.host.firewall import Addresses
    from sciencebox.sections import Server
    from sciencebox.settings import Settings

DRIVER_IN_HUB = "/run/sciencebox/driver"
CERTIFICATES_IN_CADDY = "/certificates"
CHAIN, KEY, ACME_ROOT = "chain.pem", "key.pem", "acme-root.pem"
SERVICES = ("caddy", "proxy", "hub")
# Services that only some deployments have, each with the part of the Compose project that describes it.
FIREWALL, MONITORING, REPOSITORY, CLIENT = "firewall", "prometheus", "repository", "client"
PARTS = {
    FIREWALL: "firewall.yaml",
    MONITORING: "monitoring.yaml",
    REPOSITORY: "repository.yaml",
    CLIENT: "client.yaml",
}


@dataclass(frozen=True)
class Places:
    """Folders and files of one deployment."""

    data_root: Path
    compose_folder: Path

    @property
    def state(self) -> Path:
        """What the service remembers."""
        return self.data_root / "state"

    @property
    def env_file(self) -> Path:
        """Values for compose.yaml."""
        return self.state / "compose.env"

    @property
    def overlay(self) -> Path:
        """The part of the service that a GPU driver adds."""
        return self.state / "compose.gpu.yaml"

    @property
    def certificates(self) -> Path:
        """The site's own certificates, where Caddy reads them."""
        return self.state / "certificates"

    @property
    def nodes(self) -> Path:
        """The hub's device nodes."""
        return self.state / "nodes"

    @property
    def settings(self) -> Path:
        """The settings as deployed, which the hub reads."""
        return self.state / "sciencebox.yaml"

    @property
    def client(self) -> Path:
        """What the client that mounts repositories is told."""
        return self.state / "client"

    @property
    def firewall(self) -> Path:
        """The rules that keep sessions apart."""
        return self.state / "firewall.nft"


def as_deployed(settings: Settings, hostname: str, network: Mapping[str, str], variant: str) -> str:
    """The settings file that the hub gets: everything that depends on this server is written out."""
    values = settings.model_dump(mode="json")
    values["server"]["hostname"] = hostname
    values["stack"]["variant"] = variant
    values["network"] |= {key: network.get(variable) for variable, key in NETWORK_VARIABLES.items()}
    return "# Written by `make deploy`; change the settings file and deploy again.\n" + yaml.safe_dump(
        values, sort_keys=False
    )


def network_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Proxies and indexes: from the settings, else from the environment in either spelling.

    There, a proxy may be written without `http://`.
    """
    chosen = {variable: getattr(settings.network, key) for variable, key in NETWORK_VARIABLES.items()}
    found = {
        name: value or environment.get(name) or environment.get(name.lower()) or "" for name, value in chosen.items()
    }
    plain = {name for name, value in found.items() if name in ("HTTP_PROXY", "HTTPS_PROXY") and "://" not in value}
    return {name: f"http://{value}" if name in plain else value for name, value in found.items() if value}


def env_file(
    settings: Settings,
    places: Places,
    *,
    socket: Path,
    hostname: str,
    addresses: Addresses,
    hub_inputs: str,
    caddy_inputs: str,
    firewall_inputs: str = "",
    monitoring_inputs: str = "",
    repository_inputs: str = "",
    client_inputs: str = "",
) -> str:
    """The values that compose.yaml is filled with."""
    server = settings.server
    values = {
        "NAME": settings.name,
        "VERSION": sciencebox.__version__,
        "DATA_ROOT": str(settings.data_root),
        "STATE": str(places.state),
        "REPOSITORY": settings.stack.repository,
        "STACK_VOLUME": hub_stack_volume(settings),
        "ENGINE_SOCKET": str(socket),
        "HTTPS_PORT": str(server.https_port),
        "HTTP_PORT": str(server.http_port),
        "SERVER_NAME": hostname,
        "REDIRECT_PORT": "" if server.https_port == 443 else f":{server.https_port}",
        "TLS_DIRECTIVE": tls_directive(settings),
        **acme_options(settings),
        "HUB_ADDRESS": addresses.hub,
        "PROXY_ADDRESS": addresses.proxy,
        "HUB_INPUTS": hub_inputs,
        "CADDY_INPUTS": caddy_inputs,
        "FIREWALL_INPUTS": firewall_inputs,
        "MONITORING_PORT": str(settings.monitoring.port),
        "MONITORING_DAYS": str(settings.monitoring.days),
        "MONITORING_INPUTS": monitoring_inputs,
        "PUBLISH_PORT": str(settings.stack.publish.port),
        "REPOSITORY_INPUTS": repository_inputs,
        "STACK_MOUNT": str(settings.stack.mount),
        "CLIENT_IMAGE": settings.stack.client.image,
        "CLIENT_REPOSITORIES": " ".join(settings.stack.mounted),
        "CLIENT_INPUTS": client_inputs,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def hub_stack_volume(settings: Settings) -> str:
    """How the hub sees the stack. The folder itself may be a link to another disk; a mount may come and go."""
    if settings.stack.source == "client":
        return f"{settings.stack.mount}:{settings.stack.mount}:ro,rslave"
    folder = folder_of(settings, settings.stack.repository)
    return f"{folder}:{folder}:ro"


def optional(settings: Settings) -> tuple[str, ...]:
    """The services that this deployment has and others have not."""
    wanted = {
        FIREWALL: settings.firewall.enabled,
        MONITORING: settings.monitoring.enabled,
        REPOSITORY: settings.stack.publish.enabled,
        CLIENT: settings.stack.client.enabled,
    }
    return tuple(name for name, enabled in wanted.items() if enabled)


def services(settings: Settings) -> tuple[str, ...]:
    """The services that a deployment has."""
    return (*SERVICES, *optional(settings))


def tls_directive(settings: Settings) -> str:
    """The line of the Caddyfile that says where the certificate comes from; none means an ACME authority."""
    if settings.server.tls == "internal":
        return "tls internal"
    if settings.server.tls == "files":
        return f"tls {CERTIFICATES_IN_CADDY}/{CHAIN} {CERTIFICATES_IN_CADDY}/{KEY}"
    return ""


def certificate_sources(server: Server) -> dict[str, Path]:
    """The site's own certificates that Caddy reads, by the names that they have there."""
    known = {CHAIN: ("files", server.certificate), KEY: ("files", server.key), ACME_ROOT: ("acme", server.acme_root)}
    return {name: source for name, (tls, source) in known.items() if server.tls == tls and source}


def acme_options(settings: Settings) -> dict[str, str]:
    """Lines of the Caddyfile about the authority that gives certificates; empty ones for what is not set."""
    server = settings.server
    root = server.acme_root and f"{CERTIFICATES_IN_CADDY}/{ACME_ROOT}"
    options = {
        "ACME_EMAIL": ("email", server.acme_email),
        "ACME_DIRECTORY": ("acme_ca", server.acme_directory),
        "ACME_ROOT": ("acme_ca_root", root),
    }
    return {
        name: f"{option} {value}" if server.tls == "acme" and value else "" for name, (option, value) in options.items()
    }


def overlay(driver: Driver, cdi_folders: Iterable[str] = (), nodes: str = "") -> str | None:
    """The overlay through which the hub sees the GPUs; None without a usable driver.

    The hub reads the driver's state and process table, so it has the device nodes, of the folder `nodes` or the
    driver's own, and the host's process ids; and of the CDI specifications in `cdi_folders`, whether they bound the
    memory of shares.
    """
    if not driver.usable or driver.files.nvml is None:
        return None
    library_folder, library = driver.files.nvml.rsplit("/", 1)
    inside = "/" + library_folder.removeprefix(str(driver.root)).lstrip("/")
    seen = f"{DRIVER_IN_HUB}{inside}"
    hub = {
        "pid": "host",
        "environment": {
            "SCIENCEBOX_NVML": f"{seen}/{library}",
            "SCIENCEBOX_DRIVER": DRIVER_IN_HUB,
            "SCIENCEBOX_DEV_ROOT": driver.files.dev_root,
        },
        "devices": [f"{nodes or driver.files.dev_root}/{node}:/dev/{node}" for node in driver.nodes_for_hub],
        "volumes": [
            f"{library_folder}:{seen}:ro",
            *(f"{folder}:{folder}:ro" for folder in (*driver.link_folders, *cdi_folders)),
        ],
    }
    return "# Written by `make deploy`.\n" + yaml.safe_dump({"services": {"hub": hub}}, sort_keys=False)


def command_line(
    compose: Compose, name: str, places: Places, *, with_overlay: bool, extra: Sequence[str] = ()
) -> list[str]:
    """Compose for this deployment, with the `extra` services; its arguments follow."""
    files = [places.compose_folder / part for part in ("compose.yaml", *(PARTS[service] for service in extra))]
    if with_overlay:
        files.append(places.overlay)
    chosen = [argument for file in files for argument in ("-f", str(file))]
    return [*compose.command, "-p", name, "--env-file", str(places.env_file), *chosen]


def parse_hashes(text: str) -> dict[str, str]:
    """The hash of each service's configuration, from `docker-compose config --hash='*'`."""
    return dict(line.split(maxsplit=1) for line in text.splitlines() if line.strip())


def caller_environment(environment: Mapping[str, str], socket: Path) -> dict[str, str]:
    """The environment for Compose, which prefers variables of its own environment to those of compose.env."""
    kept = {name: environment[name] for name in ("PATH", "HOME", "LANG") if name in environment}
    return {**kept, "DOCKER_HOST": f"unix://{socket}"}


def digest(parts: Sequence[str | bytes]) -> str:
    """A short hash, by which a container is recreated exactly when what it reads at its start has changed."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part if isinstance(part, bytes) else part.encode())
        found.update(b"\0")
    return found.hexdigest()[:16]

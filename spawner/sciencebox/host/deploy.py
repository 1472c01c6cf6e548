"""A deployment, step by step. Every step finds out for itself whether it is done, so running again is always right."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sciencebox.accounts_section import DIRECTORY_SECRET
from sciencebox.files import let_everybody_read, write_folder, write_if_changed, write_whole
from sciencebox.host import (
    backup,
    build,
    certificate,
    doctor,
    engine,
    erase,
    firewall,
    images,
    mounting,
    network,
    stack,
    watch,
)
from sciencebox.host.command import ask, run
from sciencebox.host.compose import (
    FIREWALL,
    Places,
    as_deployed,
    caller_environment,
    command_line,
    digest,
    env_file,
    network_environment,
    optional,
    overlay,
    parse_hashes,
)
from sciencebox.host.driver import copy_nodes, variant
from sciencebox.host.engine import numbers
from sciencebox.host.facts import Host, read_host, read_server_name
from sciencebox.host.gpu_checks import gpus
from sciencebox.host.row import State, failures
from sciencebox.host.secrets import Secrets, has_account
from sciencebox.host.steps import Screen, Step, StepError
from sciencebox.sessions.engine import remove
from sciencebox.sessions.stack import folder_of, published

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import TextIO

    from sciencebox.host.firewall import Addresses
    from sciencebox.settings import Settings

PROXY_USER = 999  # of images/proxy
READ_IN_CONTAINERS = ("Caddyfile", "repository.Caddyfile", "prometheus.yml", "client/keep")
PASSED_TO_STACK = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PIP_INDEX_URL")


@dataclass
class Deployment:
    """One deployment on this server: its settings, and what was learnt on the way."""

    settings: Settings
    checkout: Path
    environment: Mapping[str, str]
    with_stack: bool = True
    rebuild: bool = False
    host: Host | None = None
    client: Any = None
    compose: engine.Compose | None = None
    _lock: TextIO | None = field(default=None, repr=False)

    @property
    def places(self) -> Places:
        """Where things are."""
        return Places(self.settings.data_root, self.checkout / "deploy" / "compose")

    @property
    def secrets(self) -> Secrets:
        """The generated secrets."""
        return Secrets(self.places.state / "secrets")

    @property
    def socket(self) -> Path:
        """The engine's socket."""
        return engine.choose_socket(self.settings.engine.socket, self.environment.get("DOCKER_HOST"))

    @property
    def network(self) -> dict[str, str]:
        """Proxies and indexes."""
        return network_environment(self.settings, self.environment)

    @cached_property
    def hostname(self) -> str:
        """The name that users type. Asked for once: without network that takes long, and the answers might differ."""
        return read_server_name() if self.settings.server.hostname == "auto" else self.settings.server.hostname

    @property
    def address(self) -> str:
        """The address that users type."""
        return self.settings.server.address(self.hostname)

    def steps(self) -> list[Step]:
        """Everything that `deploy` does, in order."""
        return [
            Step("Server", self.check_host),
            Step("Container engine", self.provide_engine),
            Step("Images", self.build_images),
            Step("Secrets", self.provide_secrets),
            Step("Software stack", self.provide_stack),
            *([Step("Repository", self.publish_stack)] if self.settings.stack.publish.enabled else []),
            *([Step("Demo data", self.draw_demo_data)] if self.settings.accounts.demo_users else []),
            Step("Services", self.bring_up),
            Step("Ready", self.wait),
        ]

    def check_host(self, screen: Screen) -> str:
        """Look at the server; stop at what would make a later step fail."""
        if backup.is_unfinished(self.settings.data_root):
            raise StepError("A restore of this data was interrupted; run `make restore` again first.")
        host = self.host = read_host(self.settings, self.checkout, self.environment)
        table = doctor.before_engine(host, self.settings)
        failed = failures(table)
        if failed:
            raise StepError(" ".join(f"{row.what}: {row.found}. {row.advice}" for row in failed))
        for row in [*table, *gpus(host, self.settings)]:
            if row.state is not State.OK:
                screen.warn(f"{row.what}: {row.found}. {row.advice}")
        if host.engine.answers:
            with contextlib.closing(engine.connect(self.socket)) as client:
                if lost := watch.lost_data(client, self.settings.name, self.places):
                    raise StepError(lost)
        if backup.are_lost(root := self.settings.data_root):
            screen.warn(
                f"{root}/homes has no home, though users are known: is its disk mounted? Else they get empty ones."
            )
        self._make_folders()
        self._lock_deployment()
        screen.log_to((self.places.state / erase.MARK).open("a", encoding="utf-8", errors="backslashreplace"))
        free = min(host.free.values()) / doctor.GIB
        return f"{host.system.name}, {free:.0f} GiB free"

    def provide_engine(self, screen: Screen) -> str:
        """The engine and Compose; installed where they are missing."""
        state = engine.provide_engine(self.socket, screen)
        self.compose = engine.provide_compose(screen)
        self.client = engine.connect(self.socket)
        if conflict := watch.conflict(self.client, self.settings.name, self.places):
            raise StepError(conflict)
        if self.host and not self.host.engine.answers:  # what was read without an engine is not the whole truth
            self.host = read_host(self.settings, self.checkout, self.environment)
        return f"Docker {state.version}, Compose {self.compose.version}"

    def build_images(self, screen: Screen) -> str:
        """Build the images whose inputs changed."""
        try:
            optional_ones = {"monitoring": self.settings.monitoring.enabled, FIREWALL: self.settings.firewall.enabled}
            without = [name for name, enabled in optional_ones.items() if not enabled]
            wanted = images.plans(self.checkout, build.identify_debian(self.settings), without=without)
        except images.InputsError as error:
            raise StepError(f"{error} Restore it (`git status` shows what is missing), then run this again.") from error
        if self.settings.stack.client.enabled:
            build.pull(self.client, self.settings.stack.client.image, screen)
        return build.build_images(self.client, wanted, self.settings, self.network, screen, rebuild=self.rebuild)

    def provide_secrets(self, screen: Screen) -> str:
        """Generate what is missing."""
        accounts = self.settings.accounts
        made = self.secrets.provide(
            accounts.demo_users,
            accounts_exist=accounts.source != "local"
            or has_account(self.places.state / "hub.sqlite", accounts.administrator),
        )
        try:
            self.secrets.keep(DIRECTORY_SECRET, accounts.secret_file)
        except OSError as error:
            raise StepError(f"{error.filename} cannot be read: {error.strerror}; see `accounts`.") from error
        # Proxy and Prometheus are not root; each container is given this one file.
        for name in ("proxy_token", "metrics_token"):
            os.chown(self.secrets.folder / name, PROXY_USER, PROXY_USER)
        screen.log(f"generated: {', '.join(made) or 'nothing'}")
        return f"generated {len(made)}" if made else "kept"

    def provide_stack(self, screen: Screen) -> str:
        """Build the release of the software stack, where it is not there yet; one that is mounted is looked at.

        Where that is not there now the service comes up all the same, as it goes on. What to do `check_host` has said.
        """
        if self.settings.stack.source == "client":
            views, fault = stack.look(self.settings)
            if fault and self.settings.stack.client.enabled:
                return "the service `client` mounts it"
            return " ".join([f"mounted: {', '.join(view.name for view in views) or 'nothing'}.", fault]).strip(" .")
        if not self.with_stack:
            there = published(self._repository(), self.settings.stack.repository)
            return "left as it is" if there else "left out; sessions have no kernels until `make stack`"
        if not (self.checkout / "images/cvmfs/Dockerfile").exists():
            return "left out; this checkout has no builder"
        passed = {name: value for name, value in self.network.items() if name in PASSED_TO_STACK}
        # Others, of whose sessions this engine knows nothing, may share a folder that is a link.
        in_use = self._repository().is_symlink() or bool(self.sessions())
        wanted = stack.arguments(self.settings, self._repository(), self.variant(), passed, in_use=in_use)
        return stack.run(self.client, wanted, screen, "The software stack could not be built")

    def publish_stack(self, screen: Screen) -> str:
        """Sign what is new in the stack and put it where the web server has it. Keys are made at the first time."""
        if not published(self._repository(), self.settings.stack.repository):
            return "left out; there is no stack yet"
        for command in ("keys", "publish"):
            wanted = self.repository_job(command)
            told = stack.run(self.client, wanted, screen, "The repository could not be published")
        return told

    def repository_job(self, command: str, arguments: Sequence[str] = ()) -> dict[str, Any]:
        """The container for a command about the published repository. Raises StepError for one that there is not."""
        return stack.repository_job(self.settings, self._repository(), self.places.state / "keys", command, arguments)

    def draw_demo_data(self, screen: Screen) -> str:
        """Synthetic heads for the classification notebook, so that a demonstration has data at once."""
        if (self.settings.data_root / "data/synthetic").exists():
            return "there already"
        views = published(self._repository(), self.settings.stack.repository)
        if not views:
            return "left out; it needs the software stack"
        wanted = stack.demo_data(self.settings, self._repository(), views[0].path)
        return stack.run(self.client, wanted, screen, "The demonstration's data could not be drawn")

    def variant(self) -> str:
        """Which libraries the stack gets."""
        return variant(self.settings, self.host.driver if self.host else None)

    def bring_up(self, screen: Screen) -> str:
        """Write what Compose needs, and let it start or replace what changed. Sessions are not touched."""
        addresses = network.provide(self.client, self.settings, in_use=bool(self.sessions()))
        with_overlay = self._write_files(addresses)
        before = watch.read_services(self.client, self.settings.name)
        if not self.settings.firewall.enabled:
            network.lift_rules(self.client, before)
        compose = self._compose(with_overlay=with_overlay)
        environment = caller_environment(self.environment, self.socket)
        if self.compose and numbers(self.compose.version) < (2, 0):
            self._remove_outdated(compose, environment)
        run(
            [*compose, "up", "-d", "--remove-orphans"],
            screen,
            env=environment,
            on_failure="The services could not be started.",
        )
        after = watch.read_services(self.client, self.settings.name)
        changed = [name for name, service in after.items() if name not in before or before[name].id != service.id]
        return f"started {', '.join(sorted(changed))}" if changed else "unchanged"

    def wait(self, screen: Screen) -> str:
        """Wait until the service answers."""
        return watch.wait_until_ready(self.client, self.settings, self.hostname, screen)

    def take_down(self, screen: Screen) -> str:
        """Stop the service and its sessions. Homes, data, accounts and the stack stay."""
        if self.places.state.is_dir():
            self._lock_deployment()
        if engine.is_absent(self.socket):
            return "nothing runs here, for there is no container engine"
        self.client = engine.reach(self.socket)
        ended = self._end_sessions()  # while the hub sees it and writes down until when they had their GPUs
        for job in ("stack", "demo-data", "keys", "publish"):
            remove(self.client.api, f"{self.settings.name}-{job}")
        compose = self.compose = engine.find_compose()
        network.lift_rules(self.client, watch.read_services(self.client, self.settings.name))
        if self.places.env_file.exists() and compose:
            command = [*self._compose(with_overlay=self.places.overlay.exists()), "down", "--remove-orphans"]
            environment = caller_environment(self.environment, self.socket)
            run(command, screen, env=environment, on_failure="The services could not be stopped.")
        for service in watch.read_services(self.client, self.settings.name).values():
            # That of which Compose has lost the values, with the data or by another `data_root`.
            engine.end(self.client, service.id)
        ended += self._end_sessions()  # that somebody has started meanwhile
        network.remove(self.client, self.settings)
        return f"stopped, with {ended} sessions" if ended else "stopped"

    def see_that_it_is_down(self) -> None:
        """Raises StepError where the service is here: it would go on with the folders that it was made with."""
        if engine.look(self.socket).answers:
            with contextlib.closing(engine.connect(self.socket)) as client:
                if watch.read_services(client, self.settings.name):
                    raise StepError("The service is here, with the folders that it was made with: `make down` first.")

    def sessions(self) -> list[Mapping[str, Any]]:
        """Containers of users' sessions, as the engine lists them."""
        label = f"sciencebox.deployment={self.settings.name}"
        found: list[Mapping[str, Any]] = self.client.api.containers(all=True, filters={"label": label})
        return found

    def erase(self, screen: Screen) -> str:
        """Remove all data of this deployment."""
        return erase.erase(self.settings.data_root, screen)

    def _remove_outdated(self, compose: list[str], environment: Mapping[str, str]) -> None:
        """Compose 1 cannot replace a container under engines that no longer tell `ContainerConfig`; it can make one."""
        told = ask([*compose, "config", "--hash=*"], env=environment)
        if told is None:
            raise StepError("Compose cannot read its configuration; see `compose.env` in the state folder.")
        for container in watch.outdated(self.client, self.settings.name, parse_hashes(told)):
            engine.end(self.client, container)

    def _end_sessions(self) -> int:
        found = self.sessions()
        for container in found:
            remove(self.client.api, container["Id"])
        return len(found)

    def _repository(self) -> Path:
        return folder_of(self.settings, self.settings.stack.repository)

    def _make_folders(self) -> None:
        root, state = self.settings.data_root, self.places.state
        public = [root, root / "homes", root / "data", root / "cvmfs"]
        public += [self._repository()] if self.settings.stack.source == "local" else []
        public += [root / "repository"] if self.settings.stack.publish.enabled else []
        public += [root / "client", self.settings.stack.mount] if self.settings.stack.client.enabled else []
        private = [state, state / "caddy", self.places.certificates, state / "prometheus"]
        try:
            for folder, mode in [*((folder, 0o755) for folder in public), *((folder, 0o700) for folder in private)]:
                if not folder.exists():
                    if folder.is_symlink():
                        raise StepError(f"{folder} leads to {folder.readlink()}, which is not there. Is it mounted?")
                    folder.mkdir(parents=True)
                    folder.chmod(mode)
            for folder in private[1:]:
                os.chown(folder, PROXY_USER, PROXY_USER)
        except OSError as error:
            raise StepError(f"{error.filename} cannot be made: {error.strerror}; see `data_root`.") from error

    def _lock_deployment(self) -> None:
        """One at a time. The lock ends with this process, however it ends."""
        self._lock = (self.places.state / "deploy.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise StepError("Another deployment of the same name is at work; wait until it has ended.") from error

    def _compose(self, *, with_overlay: bool) -> list[str]:
        if self.compose is None:
            raise StepError("Compose was not found.")
        extra = optional(self.settings)
        return command_line(self.compose, self.settings.name, self.places, with_overlay=with_overlay, extra=extra)

    def _write_files(self, addresses: Addresses) -> bool:
        """Write compose.env, the overlay, the hub's settings and the certificates. Whether there is an overlay."""
        if self.host is None:
            raise StepError("The server was not looked at.")
        deployed = as_deployed(self.settings, self.hostname, self.network, self.variant())
        gpu, driver = None, self.host.driver
        if driver.usable and not self.settings.gpus.simulate:
            gpu = overlay(driver, self.host.cdi_folders(self.settings), copy_nodes(driver, self.places.nodes))
        certificates = certificate.copy(self.settings.server, self.places.certificates, PROXY_USER)
        if gpu:
            write_whole(self.places.overlay, gpu)
        else:
            self.places.overlay.unlink(missing_ok=True)
        write_if_changed(self.places.settings, deployed)
        client = mounting.read_files(self.settings, self.network)
        write_folder(self.places.client, client)
        rules = firewall.rules(self.settings, addresses)
        write_whole(self.places.firewall, rules)
        read = self.places.compose_folder.joinpath
        for name in READ_IN_CONTAINERS:
            let_everybody_read(read(name))
        values = env_file(
            self.settings,
            self.places,
            socket=self.socket,
            hostname=self.hostname,
            addresses=addresses,
            hub_inputs=digest([deployed, gpu or "", self.secrets.age(DIRECTORY_SECRET)]),
            caddy_inputs=digest([read("Caddyfile").read_bytes(), *certificates]),
            firewall_inputs=digest([rules]),
            monitoring_inputs=digest([read("prometheus.yml").read_bytes()]),
            repository_inputs=digest([read("repository.Caddyfile").read_bytes()]),
            client_inputs=digest([read("client/keep").read_bytes(), str(client)]),
        )
        write_whole(self.places.env_file, values)
        return gpu is not None

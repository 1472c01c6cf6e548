"""Container engines for the tests: one with CDI, as NVIDIA recommends it, and the one that Debian 12 ships.

Both need root. Each has a socket, a bridge and a folder for its images of its own. The images stay between runs; what
else a killed run left on an engine is removed when the next run starts it. Two engines in one network would overwrite
each other's packet filter, so the rig never starts one beside another, unless it is in a network of its own: alone
there (`isolated`), or with the tests that use it (`apart`).

    python -m tests.engine.rig start [debian]      start an engine and leave it running
    python -m tests.engine.rig stop [debian]
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket as sockets
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import docker

from tests import built

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

START_S = 60
ANSWER_S = 10
STOP_S = 40
POLL_S = 0.1
DEBIAN = Path("/usr/sbin/dockerd")
SYSTEM_RUN = Path("/var/run")
CLONE_NEWNET = 0x40000000  # of <sched.h>; Python has unshare() and setns() from 3.12 on

_RUNTIME_CONFIG = """\
[nvidia-container-cli]
root = "{root}"
[nvidia-container-runtime]
mode = "auto"
runtimes = ["runc"]
[nvidia-ctk]
path = "{tools}/nvidia-ctk"
"""

_started: dict[Path, subprocess.Popen[bytes]] = {}  # by socket


class RigError(RuntimeError):
    """An engine cannot be had here; the message says what is missing."""


@dataclass(frozen=True)
class Engine:
    """One installation of an engine, running or not. `run` is for its socket and log, `images` for its images."""

    program: Path
    run: Path
    images: Path
    arguments: tuple[str, ...] = ()
    bridge: tuple[str, str] | None = None  # name and address of a bridge made for it
    isolated: bool = False  # in a network of its own, which nobody else is in

    @property
    def socket(self) -> Path:
        return self.run / "docker.sock"

    @property
    def url(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self.socket}"

    @property
    def cdi(self) -> Path:
        """Where it looks for CDI specifications, if it has CDI."""
        return self.run / "cdi"

    def connect(self) -> docker.APIClient:
        return docker.APIClient(base_url=self.url, version="auto", timeout=120)

    def command(self) -> list[str]:
        options = {
            "--host": self.url,
            "--data-root": self.images,
            "--exec-root": self.run / "exec",
            "--pidfile": self.run / "docker.pid",
            **({"--bridge": self.bridge[0]} if self.bridge else {}),
        }
        prefix = ["unshare", "--net"] if self.isolated else []
        return [
            *prefix,
            str(self.program),
            *(f"{option}={value}" for option, value in options.items()),
            *self.arguments,
        ]


def tools() -> tuple[Path, Path]:
    """The folders of the engine and of NVIDIA's container toolkit, as tests/tools/build.sh built them."""
    engine, toolkit = built.program("dockerd"), built.program("nvidia-ctk")
    if not (engine and toolkit):
        raise RigError("no engine with CDI: run `make test-tools` (Go)")
    return engine.parent, toolkit.parent


def cached() -> Engine:
    """The engine of tests/tools, which has CDI."""
    run = Path("/run/sciencebox-engine")
    return Engine(tools()[0] / "dockerd", run, _cache() / "engine", (f"--cdi-spec-dir={run / 'cdi'}",))


def debian() -> Engine:
    """The distribution's engine (docker.io), which has no CDI."""
    if not DEBIAN.exists():
        raise RigError("the distribution's engine is missing: `apt-get install docker.io`")
    return Engine(
        DEBIAN,
        Path("/run/sciencebox-debian"),
        _cache() / "engine-debian",
        ("--default-address-pool=base=172.31.0.0/17,size=24",),
        ("sciencebox-deb", "172.31.255.1/24"),
    )


def isolated(runtimes: Mapping[str, Path]) -> Engine:
    """Another of the distribution's, whose containers reach nobody. `runtimes` are programs to use in place of runc."""
    return replace(
        debian(),
        run=Path("/run/sciencebox-isolated"),
        images=_cache() / "engine-isolated",
        arguments=tuple(f"--add-runtime={name}={path}" for name, path in runtimes.items()),
        bridge=None,
        isolated=True,
    )


@contextmanager
def apart(engine: Engine) -> Iterator[Engine]:
    """The engine in a network of its own, in which are, meanwhile, the caller and what it starts. Raises RigError."""
    if os.geteuid() != 0:
        raise RigError("a network of its own needs root")
    stop(engine)  # one that a killed run left is in another network, where nobody reaches its containers
    with _network_of_its_own(), running(replace(engine, bridge=None)) as started:
        yield started


@contextmanager
def _network_of_its_own() -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as before:
        if libc.unshare(CLONE_NEWNET):
            raise RigError(f"no network of its own: {os.strerror(ctypes.get_errno())}")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            libc.setns(before.fileno(), CLONE_NEWNET)


def answers(socket: Path) -> bool:
    """Whether an engine is behind this socket."""
    try:
        with sockets.socket(sockets.AF_UNIX) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(str(socket))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


@contextmanager
def running(engine: Engine) -> Iterator[Engine]:
    """The engine, started if it does not run; one that ran before is left running. Raises RigError."""
    started = start(engine)
    try:
        if started:
            _clear(engine)
        yield engine
    finally:
        if started:
            stop(engine)


def start(engine: Engine) -> bool:
    """Start the engine and wait until it answers. False: it ran already. Raises RigError."""
    if answers(engine.socket):
        return False
    if os.geteuid() != 0:
        raise RigError("starting a container engine needs root")
    if not engine.isolated:
        _refuse_beside_another(engine)
    for folder in (engine.run, engine.cdi, engine.images):
        folder.mkdir(parents=True, exist_ok=True)
    if engine.bridge:
        _make_bridge(*engine.bridge)
    path = f"{engine.program.parent}:{os.environ['PATH']}"
    log = engine.run / "engine.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            engine.command(),
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_S
    while not answers(engine.socket):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise RigError(f"{engine.program} did not start:\n{log.read_text()[-2000:]}")
        time.sleep(POLL_S)
    _started[engine.socket] = process
    return True


def stop(engine: Engine) -> None:
    """Stop the engine with its containers, and wait until it is gone."""
    pid = _pid(engine.run)
    if pid is None:
        return
    with contextlib.suppress(docker.errors.DockerException), contextlib.closing(engine.connect()) as client:
        for container in client.containers():
            client.kill(container["Id"])
    _terminate(engine, pid)
    if engine.bridge:
        subprocess.run(["ip", "link", "delete", engine.bridge[0]], check=False, capture_output=True)


def _clear(engine: Engine) -> None:
    """Remove all but its images."""
    with contextlib.closing(engine.connect()) as client:
        for container in client.containers(all=True):
            client.remove_container(container["Id"], force=True, v=True)
        for volume in client.volumes()["Volumes"] or ():
            client.remove_volume(volume["Name"], force=True)
        client.prune_networks()


def restart(engine: Engine) -> None:
    """As a restart of the engine's service: it stops the containers itself, and starts again those that it should."""
    pid = _pid(engine.run)
    if pid is not None:
        _terminate(engine, pid)
    start(engine)


def copy_image(tag: str, source: Engine, target: Engine) -> None:
    """Give an engine the image that another has under this tag, unless it has it already."""
    with contextlib.closing(source.connect()) as giver, contextlib.closing(target.connect()) as taker:
        if not _has_image(taker, tag, giver.inspect_image(tag)["Id"]):
            for message in taker.load_image(giver.get_image(tag)):
                if "error" in message:
                    raise RigError(f"{tag} cannot be loaded: {message['error']}")


def _has_image(client: docker.APIClient, tag: str, image_id: str) -> bool:
    try:
        return bool(client.inspect_image(tag)["Id"] == image_id)
    except docker.errors.ImageNotFound:
        return False


def write_cdi_spec(driver_root: Path, spec_dir: Path) -> Path:
    """Describe a driver's cards to an engine, with NVIDIA's own tool. The engine sees it at once."""
    _, nvidia = tools()
    spec_dir.mkdir(parents=True, exist_ok=True)
    spec = spec_dir / "nvidia.yaml"
    command = [nvidia / "nvidia-ctk", "--quiet", "cdi", "generate", "--mode=nvml", "--format=yaml"]
    places = {
        "--driver-root": driver_root,
        "--dev-root": driver_root,
        "--nvidia-cdi-hook-path": nvidia / "nvidia-cdi-hook",
        "--output": spec,
    }
    done = subprocess.run(
        [*command, *(f"{option}={value}" for option, value in places.items())],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RigError(f"nvidia-ctk made no CDI specification:\n{done.stderr[-2000:]}")
    return spec


def write_runtime(driver_root: Path) -> Path:
    """A program that starts NVIDIA's container runtime for the driver at `driver_root`."""
    _, nvidia = tools()
    config, program = driver_root / "etc/nvidia-container-runtime.toml", driver_root / "nvidia-container-runtime"
    config.write_text(_RUNTIME_CONFIG.format(root=driver_root, tools=nvidia))
    program.write_text(
        "#!/bin/sh\n"
        f"export PATH='{nvidia}':$PATH NVIDIA_CTK_CONFIG_FILE_PATH='{config}'\n"
        'exec nvidia-container-runtime "$@"\n'
    )
    program.chmod(0o755)
    return program


def _terminate(engine: Engine, pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    child = _started.pop(engine.socket, None)
    while child.poll() is None if child else _alive(pid):
        if time.monotonic() > deadline:
            raise RigError(f"{engine.program} (process {pid}) did not stop within {STOP_S} s")
        time.sleep(POLL_S)


def _cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("SCIENCEBOX_CACHE") or home / "sciencebox")


def _refuse_beside_another(engine: Engine) -> None:
    others = {SYSTEM_RUN, cached().run}
    with contextlib.suppress(RigError):
        others.add(debian().run)
    for run in others - {engine.run}:
        socket = run / "docker.sock"
        if answers(socket) and _network(_pid(run)) in {_network("thread-self"), None}:
            raise RigError(f"another engine runs at {socket}; stop it first")


def _network(process: int | str | None) -> int | None:
    """Which network a process is in, by its name in /proc; None where that is not known."""
    try:
        return Path(f"/proc/{process}/ns/net").stat().st_ino
    except OSError:
        return None


def _make_bridge(name: str, address: str) -> None:
    if not Path("/sys/class/net", name).exists():
        subprocess.run(["ip", "link", "add", "name", name, "type", "bridge"], check=True)
        subprocess.run(["ip", "address", "add", address, "dev", name], check=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True)


def _pid(run: Path) -> int | None:
    """The process of the engine of this folder; None when it does not run."""
    try:
        pid = int((run / "docker.pid").read_text())
    except (OSError, ValueError):
        return None
    return pid if _alive(pid) else None


def _alive(pid: int) -> bool:
    """Whether the process is a running engine."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("dockerd")
    except OSError:
        return False


def main(arguments: list[str]) -> int:
    """Start or stop an engine by hand."""
    action, *which = arguments or ["help"]
    if action not in {"start", "stop"} or which not in ([], ["debian"]):
        print(__doc__)
        return 2
    try:
        engine = debian() if which else cached()
        if action == "start":
            start(engine)
            print(f"export DOCKER_HOST={engine.url}")
        else:
            stop(engine)
    except RigError as error:
        print(f"tests/engine: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

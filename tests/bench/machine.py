"""Under what conditions something was measured: this server, the versions, how busy it was, the command."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import sciencebox
from sciencebox.host import images

from tests.bench.hubs import PLAIN_IMAGE

if TYPE_CHECKING:
    import docker

_VERSIONS = "import importlib.metadata as m, sys; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ')"


def conditions() -> dict[str, str]:
    """What the page says of a run, in words; to be asked before it. `engine` and `versions` are known later."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "time": f"{now:%Y-%m-%d %H:%M} UTC",
        "command": command(sys.argv[1:]),
        "machine": _machine(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def versions(client: docker.DockerClient) -> str:
    """What is inside the images."""
    python = ("/opt/sciencebox/bin/python", "-I")
    parts = (
        ("hub", images.tag("hub"), (*python, "-c", _VERSIONS, "jupyterhub", "dockerspawner")),
        ("session", images.tag("session"), (*python, "-c", _VERSIONS, "jupyterhub", "jupyterlab")),
        ("plain image", PLAIN_IMAGE, ("python3", "-c", _VERSIONS, "jupyterhub", "jupyterlab")),
    )
    found = (
        f"{name}: {client.containers.run(image, list(asked), remove=True, network_mode='none').decode().strip()}"
        for name, image, asked in parts
    )
    return "; ".join((ours(), *found))


def ours() -> str:
    """What this is."""
    return f"ScienceBox GPU {sciencebox.__version__}"


def command(arguments: list[str]) -> str:
    """The command as it is typed."""
    return f"make bench ARGS={shlex.quote(' '.join(arguments))}" if arguments else "make bench"


def cpu_model(cpuinfo: str) -> str:
    """The processor's name in /proc/cpuinfo; not every architecture has one."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == "model name"), platform.machine())


def _machine() -> str:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1024**3
    model = cpu_model(Path("/proc/cpuinfo").read_text())
    kernel = platform.release().partition("-")[0]  # without what a builder added
    return f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, Linux {kernel}"


def engine(client: docker.DockerClient) -> str:
    """The engine, and where it keeps images."""
    info = client.info()
    backing = dict(info.get("DriverStatus") or []).get("Backing Filesystem", "")
    storage = f"{info['Driver']} on {backing}" if backing else info["Driver"]
    return f"Docker {info['ServerVersion']}, storage {storage}, cgroup v{info.get('CgroupVersion', '1')}"

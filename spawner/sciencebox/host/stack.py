"""What is built in containers that see the stack where sessions will: the stack itself, and a demonstration's data."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import docker

from sciencebox.host import images
from sciencebox.host.steps import StepError
from sciencebox.sessions.engine import remove
from sciencebox.sessions.stack import Stacks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from sciencebox.host.steps import Screen
    from sciencebox.sessions.stack import View
    from sciencebox.settings import Settings

ROLE_LABEL = "sciencebox.role"


def arguments(
    settings: Settings, repository: Path, variant: str, network: Mapping[str, str], *, in_use: bool
) -> dict[str, Any]:
    """The container that builds the release, in the words of docker-py. Pure.

    What is left of earlier builds goes, unless sessions that may run from it are `in_use`.
    """
    root = f"/cvmfs/{settings.stack.repository}"
    environment = dict(network)
    prune = [] if in_use else ["--prune"]
    if index := network.get("PIP_INDEX_URL"):
        environment["UV_DEFAULT_INDEX"] = index
    return {
        "image": images.tag("cvmfs"),
        "command": ["build", settings.stack.release, "--variant", variant, "--root", root, *prune],
        "name": f"{settings.name}-stack",
        "environment": environment,
        "volumes": {str(repository): {"bind": root, "mode": "rw"}},
        "labels": {ROLE_LABEL: "stack"},
    }


def demo_data(settings: Settings, repository: Path, view: str) -> dict[str, Any]:
    """The container that draws synthetic heads into the data folder, with the published stack. Pure."""
    # Plain lesions, for so few heads teach a network nothing of faint ones. Seed 0 draws the heads that networks learn
    # from first: what is asked about afterwards must be others.
    heads = ["--patients", "120", "--difficulty", "0", "--seed", "1"]
    return {
        "image": images.tag("session"),
        "command": [f"{view}/bin/brainmri", "synthetic", "/data/synthetic", *heads],
        "name": f"{settings.name}-demo-data",
        "user": "0:0",
        "network_mode": "none",
        "volumes": {
            str(repository): {"bind": f"/cvmfs/{settings.stack.repository}", "mode": "ro"},
            str(settings.data_root / "data"): {"bind": "/data", "mode": "rw"},
        },
        "labels": {ROLE_LABEL: "demo-data"},
    }


def repository_job(
    settings: Settings, repository: Path, keys: Path, command: str, arguments: Sequence[str] = ()
) -> dict[str, Any]:
    """The container for a command of `sciencebox-stack` about the published repository. Without network. Pure."""
    name, root = settings.stack.repository, f"/cvmfs/{settings.stack.repository}"
    out, with_keys = ["--out", "/repository"], ["--keys", "/keys"]
    known = {
        "keys": with_keys,
        "publish": ["--source", root, *out, *with_keys],
        "resign": [*out, *with_keys],
        "rollback": [*out, *with_keys],
        "gc": [*out, *with_keys],
        "tags": out,
        "verify": ["/repository", "--key", f"/keys/{name}.pub"],
    }
    if command not in known:
        raise StepError(f"There is no command {command!r} for the repository; use {', '.join(known)}.")
    return {
        "image": images.tag("cvmfs"),
        "command": [command, *known[command], "--repository", name, *arguments],
        "name": f"{settings.name}-{command}",
        "network_mode": "none",
        "volumes": {
            str(repository): {"bind": root, "mode": "ro"},
            str(settings.data_root / "repository"): {"bind": "/repository", "mode": "rw"},
            str(keys): {"bind": "/keys", "mode": "rw"},
        },
        "labels": {ROLE_LABEL: command},
    }


def look(settings: Settings) -> tuple[tuple[View, ...], str]:
    """What is mounted here, and a sentence on what is wrong with it. Takes seconds at the most."""
    stacks = Stacks(settings)
    asyncio.run(stacks.look())
    return stacks.views, stacks.fault


def run(client: Any, wanted: Mapping[str, Any], screen: Screen, failure: str) -> str:
    """Run a container to its end, showing what it says. Returns its last line; raises StepError with `failure`."""
    last = ""

    def show(line: str) -> None:
        nonlocal last
        last = line.strip()
        screen.now(last)

    if status := follow(client, wanted, show):
        raise StepError(f"{failure}: {last or f'status {status}'}")
    return last


def follow(client: Any, wanted: Mapping[str, Any], show: Callable[[str], None]) -> int:
    """Run a container to its end; `show` gets each line that it says. Returns its status."""
    remove(client.api, wanted["name"])
    try:
        container = client.containers.create(**wanted)
    except docker.errors.ImageNotFound as error:
        raise StepError(f"The image {wanted['image']} is not there; `make deploy` builds it.") from error
    try:
        container.start()
        for line in _lines(container.logs(stream=True, follow=True)):
            show(line)
        return int(container.wait()["StatusCode"])
    finally:
        remove(client.api, wanted["name"])


def _lines(chunks: Any) -> Any:
    rest = ""
    for chunk in chunks:
        *complete, rest = (rest + chunk.decode(errors="replace")).split("\n")
        yield from (line.rstrip() for line in complete if line.strip())
    if rest.strip():
        yield rest.rstrip()

"""Building images with the engine: the Debian that all stand on, then each image whose inputs changed."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import requests
from docker.utils import parse_repository_tag

from sciencebox.host import apt, images
from sciencebox.host.command import run
from sciencebox.host.steps import StepError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sciencebox.host.steps import Screen
    from sciencebox.settings import Settings

BOOTSTRAPPED = "sciencebox/debian:bookworm"
SUITE = "bookworm"
# Debian 12's archive keys, as its package debian-archive-keyring has them: Ubuntu's is older than the suite.
KEYRING = Path(__file__).with_name("debian-archive-bookworm.gpg")
# What Debian's own slim images leave out, too, and what is anybody's cache. Licences stay.
LEFT_OUT = (
    "usr/share/doc/*/[!c]*",
    "usr/share/doc/*/changelog*",
    "usr/share/info/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "var/cache/apt/*",
    "var/lib/apt/lists/*",
    "var/log/*",
)
KEEP_FOR = "168h"
BUILD_TIMEOUT_S = 1800  # between two lines of a build
_STEP = re.compile(r"^Step (\d+/\d+) : (.*)")
_ENGINE_FAULTS = (docker.errors.DockerException, requests.RequestException)


def identify_debian(settings: Settings) -> str:
    """What the base image is built from, for its hash: known before anything is pulled or bootstrapped."""
    return f"{settings.images.debian} {settings.network.apt_mirror or ''}"


def build_images(
    client: Any,
    plans: Sequence[images.Plan],
    settings: Settings,
    network: Mapping[str, str],
    screen: Screen,
    *,
    rebuild: bool = False,
) -> str:
    """Build the images whose inputs changed, or all with `rebuild`. Returns what was done, in a few words."""
    wanted = list(plans) if rebuild else due(client, plans)
    base_image = settings.images.debian
    for plan in wanted:
        if plan.name == images.BASE:
            base_image = provide_debian(client, settings, screen, fresh=rebuild)
        _build(client, plan, images.build_arguments(network, base_image), screen, rebuild=rebuild)
    if wanted:
        # What earlier builds left behind; that of recent ones is what makes the next build quick.
        with contextlib.suppress(*_ENGINE_FAULTS):  # as when another deployment is at that, or a disk is slow
            client.images.prune(filters={"dangling": True, "label": images.INPUTS_LABEL, "until": KEEP_FOR})
    kept = len(plans) - len(wanted)
    built = f"built {', '.join(plan.name for plan in wanted)}" if wanted else "all up to date"
    return f"{built}; {kept} up to date" if wanted and kept else built


def due(client: Any, plans: Sequence[images.Plan]) -> list[images.Plan]:
    """The images that the engine does not have as they are planned."""
    return [plan for plan in plans if _label(client, plan.tag) != plan.inputs]


def provide_debian(client: Any, settings: Settings, screen: Screen, *, fresh: bool = False) -> str:
    """The image that the base is built from: pulled, or bootstrapped from packages where no registry answers."""
    wanted, mirror = settings.images.debian, settings.network.apt_mirror
    if not mirror:
        if not fresh and _exists(client, wanted):
            return wanted
        screen.now(f"pulling {wanted}")
        try:
            client.api.pull(*parse_repository_tag(wanted))
            client.images.get(wanted)
        except _ENGINE_FAULTS as error:
            screen.log(f"{wanted} cannot be pulled: {error}")
        else:
            return wanted
    made = bootstrapped(mirror)
    if fresh or not _exists(client, made):
        bootstrap(client, mirror, screen)
    return made


def bootstrapped(mirror: str | None) -> str:
    """The image bootstrapped from a mirror, or from Debian's own. Images get their packages from where it was made."""
    return f"{BOOTSTRAPPED}-{hashlib.sha256(mirror.encode()).hexdigest()[:8]}" if mirror else BOOTSTRAPPED


def pull(client: Any, image: str, screen: Screen) -> None:
    """Have an image that others build. Raises StepError with what to do where no registry has it."""
    if _exists(client, image):
        return
    screen.now(f"pulling {image}")
    try:
        client.api.pull(*parse_repository_tag(image))
        client.images.get(image)
    except _ENGINE_FAULTS as error:
        advice = "Check its name, the network and the engine's own proxies, or bring it here with `docker load`."
        raise StepError(f"The image {image} cannot be pulled: {error} {advice}") from error


def bootstrap(client: Any, mirror: str | None, screen: Screen) -> None:
    """Make a Debian image from packages. It never leaves this server."""
    if not shutil.which("debootstrap"):
        apt.install(["debootstrap"], screen)
    with tempfile.TemporaryDirectory(prefix="sciencebox-debian-", dir="/var/tmp") as folder:
        root = Path(folder) / "root"
        command = ["debootstrap", "--force-check-gpg", f"--keyring={KEYRING}", "--variant=minbase"]
        run(
            [*command, "--include=ca-certificates", SUITE, str(root), *([mirror] if mirror else [])],
            screen,
            on_failure="Debian could not be bootstrapped; check the network, or set `network.apt_mirror`.",
        )
        for package in (root / "var/cache/apt/archives").glob("*.deb"):
            package.unlink()
        _add_updates(root / "etc/apt/sources.list", screen)
        screen.now("importing Debian into the engine")
        _import(client, root, bootstrapped(mirror))


def _add_updates(sources: Path, screen: Screen) -> None:
    """Add Debian's updates; and its security updates, which mirrors keep beside the suite, where they are there."""
    origin = sources.read_text(encoding="utf-8").split()[1].rstrip("/")
    lines = [f"deb {origin} {SUITE} main", f"deb {origin} {SUITE}-updates main"]
    security = f"{origin}-security"
    if _answers(f"{security}/dists/{SUITE}-security/Release"):
        lines.append(f"deb {security} {SUITE}-security main")
    else:
        screen.warn(f"No security updates are found at {security}; the images get none.")
    sources.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _import(client: Any, root: Path, image: str) -> None:
    left_out = [f"--exclude=./{pattern}" for pattern in LEFT_OUT]
    command = ["tar", "-C", str(root), "--numeric-owner", *left_out, "-c", "."]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tar:
        repository, version = image.split(":")
        client.api.import_image_from_data(tar.stdout, repository=repository, tag=version)
    if tar.returncode:
        raise StepError("Debian could not be packed into an image; is the disk full?")


def _build(client: Any, plan: images.Plan, arguments: Mapping[str, str], screen: Screen, *, rebuild: bool) -> None:
    screen.now(f"{plan.name}: sending the files")
    stream = client.api.build(
        fileobj=images.archive(plan.files),
        custom_context=True,
        dockerfile=plan.dockerfile,
        tag=plan.tag,
        buildargs=dict(arguments),
        labels={images.INPUTS_LABEL: plan.inputs},
        rm=True,
        forcerm=True,
        nocache=rebuild,
        decode=True,
        timeout=BUILD_TIMEOUT_S,
    )
    try:
        follow(stream, plan.name, screen)
    except _ENGINE_FAULTS as error:
        raise StepError(f"The engine broke off the build of {plan.name}; run the command again. ({error})") from error


def follow(stream: Iterable[Mapping[str, Any]], name: str, screen: Screen) -> None:
    """Show a build's steps. Raises StepError with the last line that it printed."""
    last = ""
    for message in stream:
        if "error" in message:
            raise StepError(f"The image {name} could not be built: {message['error'].strip()} Last line: {last}")
        for line in str(message.get("stream", "")).splitlines():
            last = line.strip() or last
            step = _STEP.match(line)
            if step:
                screen.now(f"{name}: step {step[1]}, {step[2][:70]}")
            elif line.strip():
                screen.log(line)


def _label(client: Any, tag: str) -> str | None:
    try:
        return str(client.images.get(tag).labels.get(images.INPUTS_LABEL))
    except docker.errors.ImageNotFound:
        return None


def _exists(client: Any, tag: str) -> bool:
    try:
        client.images.get(tag)
    except docker.errors.ImageNotFound:
        return False
    return True


def _answers(url: str) -> bool:
    if not url.startswith(("http://", "https://")):
        return False
    try:
        with urllib.request.urlopen(url, timeout=20):  # noqa: S310 - the scheme is checked above
            return True
    except (urllib.error.URLError, OSError):
        return False

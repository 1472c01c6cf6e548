"""Mounts below /cvmfs: what the client is told that mounts repositories, and whether mounts reach containers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sciencebox.settings import Settings

MOUNTINFO = Path("/proc/self/mountinfo")
KEYS = "/etc/cvmfs/sciencebox"  # in the container; beside those that its image brings


def configuration(settings: Settings, network: Mapping[str, str]) -> dict[str, str]:
    """The client's own files, by their path below /etc/cvmfs, as CernVM-FS reads them: lines of a shell.

    `network` has the site's proxies. What is not said here is as the image has it. Pure.
    """
    client = settings.stack.client
    site = f"{network['HTTP_PROXY']};DIRECT" if network.get("HTTP_PROXY") else "DIRECT"
    default = {
        "CVMFS_HTTP_PROXY": client.proxy or site,
        "CVMFS_QUOTA_LIMIT": str(client.cache // 10**6),  # in MB
        "CVMFS_REPOSITORIES": ",".join(settings.stack.mounted),
    }
    files = {"default.local": _lines(default)}
    for origin in client.origins:
        here = {"CVMFS_SERVER_URL": origin.url, "CVMFS_PUBLIC_KEY": f"{KEYS}/{origin.name}.pub"}
        files[f"config.d/{origin.name}.conf"] = _lines(here)
    return files


def key_sources(settings: Settings) -> dict[str, Path]:
    """The public keys that the client is given, by their path below /etc/cvmfs."""
    stack = settings.stack
    wanted = stack.client.origins if stack.client.enabled else ()
    return {f"{KEYS.rpartition('/')[2]}/{origin.name}.pub": origin.key for origin in wanted}


def read_files(settings: Settings, network: Mapping[str, str]) -> dict[str, str]:
    """All that the client is told, keys included; nothing where it is no service of this deployment."""
    if not settings.stack.client.enabled:
        return {}
    keys = {name: key.read_text("ascii", "replace") for name, key in key_sources(settings).items()}
    return configuration(settings, network) | keys


def read_mounts() -> str:
    """What the kernel tells of this server's mounts, for the functions below. Raises OSError."""
    return MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape")


def propagates(folder: Path, mountinfo: str, *, back: bool = False) -> bool:
    """Whether what is mounted below `folder` later reaches containers.

    With `back`: whether what a container mounts there reaches the server, too.
    """
    found, fields = "", list[str]()
    for point, described in _mounts(mountinfo):
        if folder.is_relative_to(point) and len(point) >= len(found):
            found, fields = point, described
    return any(field.startswith("shared:" if back else ("shared:", "master:")) for field in fields)


def mounted_below(folder: Path, mountinfo: str) -> list[str]:
    """Mount points at or below a folder."""
    points = [point for point, _ in _mounts(mountinfo)]
    return sorted(point for point in points if point == str(folder) or point.startswith(f"{folder}/"))


def _mounts(mountinfo: str) -> Iterator[tuple[str, list[str]]]:
    """Each mount point with its optional fields and what follows them: proc(5)."""
    for line in mountinfo.splitlines():
        if line:
            fields = line.split()
            yield fields[4].replace("\\040", " "), fields[6:]


def _lines(values: Mapping[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())

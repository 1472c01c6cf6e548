"""Which images the service needs, and whether one must be built anew. Only `build` talks to the engine.

An image is built from its Dockerfile and the files that it copies, nothing else is sent to the engine. The hash of
these, and of the image it stands on, is the label `sciencebox.inputs` of the built image: equal hashes, nothing to do.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import os
import shlex
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sciencebox

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

INPUTS_LABEL = "sciencebox.inputs"
CERTIFICATES = "images/base/certificates"
HOST_CERTIFICATES = Path("/usr/local/share/ca-certificates")
BASE = "base"
NAMES = (BASE, "session", "proxy", "hub", "cvmfs", "firewall", "monitoring")
_MTIME = 0  # the same files make the same archive, whenever they were checked out


class InputsError(Exception):
    """A Dockerfile names a file that the checkout does not have."""


@dataclass(frozen=True)
class File:
    """A file of a build's context: its path there, its content, and whether it may be run."""

    path: str
    content: bytes
    executable: bool = False


@dataclass(frozen=True)
class Plan:
    """An image that is to exist: its tag, what it is built from and the hash of that."""

    name: str
    tag: str
    files: tuple[File, ...]
    inputs: str

    @property
    def dockerfile(self) -> str:
        """Path of the Dockerfile in the context."""
        return f"images/{self.name}/Dockerfile"


def tag(name: str) -> str:
    """The tag of one of the service's images."""
    return f"sciencebox/{name}:{sciencebox.__version__}"


def plans(
    checkout: Path, debian: str, certificates: Path = HOST_CERTIFICATES, without: Collection[str] = ()
) -> list[Plan]:
    """All images in building order, but those `without`. `debian` identifies what the base image is built from."""
    made: list[Plan] = []
    stands_on = debian
    for name in NAMES:
        if name in without or not (checkout / "images" / name / "Dockerfile").is_file():
            continue
        files = context(checkout, f"images/{name}/Dockerfile")
        if name == BASE:
            files = with_certificates(files, certificates)
        plan = Plan(name, tag(name), tuple(files), inputs_hash(files, stands_on))
        made.append(plan)
        if name == BASE:
            stands_on = plan.inputs
    return made


def context(checkout: Path, dockerfile: str) -> list[File]:
    """The Dockerfile and every file that it copies from the checkout, sorted by path."""
    ignored = ignored_names((checkout / ".dockerignore").read_text(encoding="utf-8"))
    found = {dockerfile: checkout / dockerfile}
    for source in copied((checkout / dockerfile).read_text(encoding="utf-8")):
        matches = [checkout / source] if not any(c in source for c in "*?[") else sorted(checkout.glob(source))
        if not matches or not matches[0].exists():
            raise InputsError(f"{dockerfile} copies {source}, which this checkout does not have.")
        for match in matches:
            found |= {str(path.relative_to(checkout)): path for path in _files(match, ignored)}
    return [_read(path, found[path]) for path in sorted(found)]


def with_certificates(files: Sequence[File], folder: Path) -> list[File]:
    """The context of the base image with the certificate authorities that the host trusts beside its system's own."""
    host = {f"{CERTIFICATES}/{path.relative_to(folder)}": path for path in trusted(folder)}
    added = {name: File(name, path.read_bytes()) for name, path in host.items()}
    return sorted([file for file in files if file.path not in added] + list(added.values()), key=lambda file: file.path)


def trusted(folder: Path = HOST_CERTIFICATES) -> list[Path]:
    """The certificates of authorities in a folder, also where links lead; not a link to one that is gone."""
    found = (Path(place, name) for place, _, names in os.walk(folder, followlinks=True) for name in names)
    return sorted(path for path in found if path.suffix == ".crt" and path.is_file())


def copied(dockerfile: str) -> list[str]:
    """The sources of the COPY instructions that copy from the context, not from another stage."""
    sources: list[str] = []
    for line in dockerfile.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True) if line.upper().startswith("COPY ") else []
        if words and not any(word.startswith("--from=") for word in words):
            sources += [word.rstrip("/") for word in words[1:-1] if not word.startswith("--")]
    return sources


def ignored_names(dockerignore: str) -> list[str]:
    """The names that `.dockerignore` leaves out at any depth (`**/NAME`)."""
    return [line.removeprefix("**/") for line in dockerignore.splitlines() if line.startswith("**/")]


def inputs_hash(files: Sequence[File], stands_on: str) -> str:
    """A hash that changes exactly when a build would get something else."""
    digest = hashlib.sha256(stands_on.encode())
    for file in files:
        head = f"\0{file.path}\0{int(file.executable)}\0{len(file.content)}\0"
        digest.update(head.encode() + file.content)
    return digest.hexdigest()[:16]


def archive(files: Sequence[File]) -> io.BytesIO:
    """The context as the engine takes it: readable by everybody, whatever umask the checkout was made with."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for file in files:
            member = tarfile.TarInfo(file.path)
            member.size, member.mtime, member.mode = len(file.content), _MTIME, 0o755 if file.executable else 0o644
            tar.addfile(member, io.BytesIO(file.content))
    packed.seek(0)
    return packed


def build_arguments(network: Mapping[str, str], base_image: str) -> dict[str, str]:
    """Arguments of a build. Proxies and indexes are how files arrive, not what arrives, so they are not in the hash."""
    return {**network, "BASE_IMAGE": base_image}


def _files(path: Path, ignored: Sequence[str]) -> Iterator[Path]:
    if any(fnmatch.fnmatch(path.name, pattern) for pattern in ignored):
        return
    if path.is_dir():
        for child in sorted(path.iterdir()):
            yield from _files(child, ignored)
    else:
        yield path


def _read(path: str, file: Path) -> File:
    return File(path, file.read_bytes(), bool(file.stat().st_mode & 0o100))

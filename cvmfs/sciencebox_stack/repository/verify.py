"""The chain of trust, link by link: master key, whitelist, certificate, manifest, catalogs, objects."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ..errors import StackError
from . import catalog as catalogs
from .history import read_history
from .keys import fingerprint, is_by_certificate, is_by_master
from .letters import MANIFEST, WHITELIST, Manifest, Whitelist, unseal, unsigned
from .objects import CATALOG, CERTIFICATE, HISTORY, DamagedError, ObjectName
from .source import MissingError, read_letter, read_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from .catalog import Catalog
    from .source import Source

SHOWN = 10  # damaged objects that are named


@dataclass(frozen=True)
class Trusted:
    """What the signatures vouch for."""

    whitelist: Whitelist
    manifest: Manifest


@dataclass
class Inventory:
    """What a full verification looked at. The files are those of the last revision."""

    revisions: int = 1
    catalogs: int = 0
    files: int = 0
    objects: int = 0
    damaged: list[str] = field(default_factory=list)


def read_whitelist(source: Source, public_pem: bytes, now: datetime | None = None) -> Whitelist:
    """A whitelist that the master key signed and that has not expired.

    Raises:
        MissingError: there is none.
        DamagedError: it is another's, was changed, or its time is over.
    """
    try:
        letter = read_letter(source, WHITELIST)
    except MissingError as error:
        raise MissingError(f"{error} A repository is named as in http://server.example.org/cvmfs/NAME.") from None
    text = unseal(letter, lambda signature, digest: is_by_master(public_pem, signature, digest), WHITELIST)
    whitelist = Whitelist.parse(text)
    if whitelist.expires <= (now or datetime.now(timezone.utc)):
        raise DamagedError(
            f"{WHITELIST} expired on {whitelist.expires:%Y-%m-%d %H:%M} UTC. "
            "Whoever has the master key renews it with `sciencebox-stack resign`."
        )
    return whitelist


def signed_manifest(source: Source) -> tuple[Manifest, bytes]:
    """The manifest and the certificate that it names, by whose key it is signed; whoever that may be.

    Raises:
        MissingError: there is none.
        DamagedError: it was changed.
    """
    letter = read_letter(source, MANIFEST)
    manifest = Manifest.parse(unsigned(letter, MANIFEST))
    pem = read_object(source, ObjectName(manifest.certificate, CERTIFICATE))
    unseal(letter, lambda signature, digest: is_by_certificate(pem, signature, digest), MANIFEST)
    return manifest, pem


def read_manifest(source: Source, whitelist: Whitelist) -> Manifest:
    """A manifest that a listed certificate signed, for the whitelist's repository.

    Raises:
        DamagedError: it is another's, or was changed.
    """
    manifest, pem = signed_manifest(source)
    if fingerprint(pem) not in whitelist.fingerprints:
        raise DamagedError(f"{MANIFEST} is signed by a key that the whitelist does not name.")
    if manifest.repository != whitelist.repository:
        raise DamagedError(f"{MANIFEST} is of {manifest.repository}, the whitelist of {whitelist.repository}.")
    return manifest


def verify(source: Source, public_pem: bytes, repository: str = "", now: datetime | None = None) -> Trusted:
    """Follow the chain down to the root catalog. With ``repository``, it must be that one.

    Raises:
        DamagedError: a link does not hold; the sentence says which.
    """
    whitelist = read_whitelist(source, public_pem, now)
    if repository and whitelist.repository != repository:
        raise DamagedError(f"This is the repository {whitelist.repository}, not {repository}.")
    manifest = read_manifest(source, whitelist)
    read_catalog(source, manifest.root, manifest.root_size)
    return Trusted(whitelist, manifest)


def read_catalog(source: Source, digest: str, size: int) -> Catalog:
    """A catalog. Raises DamagedError."""
    return catalogs.read(read_object(source, ObjectName(digest, CATALOG), size))


def all_catalogs(
    source: Source, roots: Iterable[tuple[str, int]], seen: set[str] | None = None
) -> Iterator[tuple[ObjectName, Catalog]]:
    """The catalogs with these digests and sizes, and all nested in them, each once; those in `seen` are left out.

    Raises:
        DamagedError: one is missing, or not what its name says.
    """
    pending, seen = list(roots), set() if seen is None else seen
    while pending:
        digest, size = pending.pop()
        if digest in seen:
            continue
        seen.add(digest)
        catalog = read_catalog(source, digest, size)
        yield ObjectName(digest, CATALOG), catalog
        pending.extend((nested.digest, nested.size) for nested in catalog.nested)


def verify_all(
    source: Source, manifest: Manifest, workers: int, on_progress: Callable[[int, int], None] | None = None
) -> Inventory:
    """Read every object of the revision and of those to which one can go back; hold it against its name and its size.

    Raises:
        DamagedError: a catalog of the revision is damaged, so that what is below it is not known.
    """
    found, seen = Inventory(), set[str]()
    sizes: dict[ObjectName, int] = {}
    tags = read_history(read_object(source, ObjectName(manifest.history, HISTORY))) if manifest.history else ()
    for _, catalog in all_catalogs(source, [(manifest.root, manifest.root_size)], seen):
        found.catalogs += 1
        found.files += sum(not (entry.is_folder or entry.is_link) for entry in catalog.entries)
        sizes.update(_objects(catalog))
    for tag in tags:
        found.revisions += tag.root not in seen
        try:
            for _, catalog in all_catalogs(source, [(tag.root, tag.size)], seen):
                found.catalogs += 1
                sizes.update(_objects(catalog))
        except DamagedError as error:
            found.damaged.append(f"{error} One cannot go back to {tag.name}.")

    def damage(wanted: tuple[ObjectName, int]) -> str:
        try:
            read_object(source, *wanted)
        except DamagedError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(workers) as pool:
        for problem in pool.map(damage, sizes.items()):
            found.objects += 1
            if problem:
                found.damaged.append(problem)
            if on_progress:
                on_progress(found.objects, len(sizes))
    return found


def require_not_older(manifest: Manifest, seen: Path) -> None:
    """Refuse a revision that is older than the one seen last, which ``seen`` remembers; then remember this one.

    A server that was broken into, or sits between, cannot sign anything, but can show what was signed long ago.

    Raises:
        DamagedError: the revision is older, or another one with the same number.
    """
    known = _read_seen(seen)
    revision, root = known.get(manifest.repository, (0, ""))
    if manifest.revision < revision:
        raise DamagedError(
            f"The repository shows revision {manifest.revision}, but {revision} was seen before: "
            f"an old state is being shown. If it was rolled back on purpose, remove {seen}."
        )
    if manifest.revision == revision and manifest.root != root:
        raise DamagedError(f"There are two different revisions {revision}: one of them was not published by its owner.")
    known[manifest.repository] = (manifest.revision, manifest.root)
    draft = seen.with_name(f".{seen.name}.new")
    draft.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    draft.replace(seen)


def _read_seen(seen: Path) -> dict[str, tuple[int, str]]:
    try:
        stored = json.loads(seen.read_text(encoding="utf-8"))
        return {str(name): (int(revision), str(root)) for name, (revision, root) in stored.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        raise StackError(f"{seen} is not a file that `verify --seen` wrote. Remove it, or name another one.") from None


def _objects(catalog: Catalog) -> Iterator[tuple[ObjectName, int]]:
    """The objects of its files, each with the size of its content."""
    for entry in catalog.entries:
        if entry.digest:
            yield entry.objects()[0], entry.size
        elif entry.chunks:
            _require_whole(entry)
            yield from zip(entry.objects(), (piece.size for piece in entry.chunks), strict=True)


def _require_whole(entry: catalogs.Entry) -> None:
    expected = 0
    for piece in entry.chunks:
        if piece.offset != expected:
            raise DamagedError(f"{entry.path} has a gap at byte {expected}.")
        expected += piece.size
    if expected != entry.size:
        raise DamagedError(f"The pieces of {entry.path} are {expected} bytes, the file {entry.size}.")

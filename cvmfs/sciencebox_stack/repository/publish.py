"""From a folder to the next revision of a repository.

Objects come first, then catalogs, then what refers to them, and the manifest last of all: a reader finds the old
revision or the new one, also when the publisher was killed. Files that the last revision has with the same size, time
and mode are not read again.
"""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from ..errors import StackError
from ..tree import locked
from . import catalog as catalogs
from .catalog import Catalog, Entry, Nested, Piece
from .history import (
    REFLOG,
    Tag,
    generic_name,
    read_history,
    read_reflog,
    require_name,
    write_history,
    write_reflog,
)
from .keys import fingerprint
from .letters import MANIFEST, WHITELIST, Manifest, Whitelist, seal, unsigned
from .objects import CATALOG, CERTIFICATE, CHUNK, HISTORY, LARGEST, DamagedError, ObjectName, Store, Written
from .scan import scan
from .source import FolderSource, MissingError, read_letter, read_object
from .verify import read_catalog, signed_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator
    from pathlib import Path

    from .keys import Master, Signer
    from .scan import Folder

    OnProgress = Callable[[int, int], None]
    Stored = dict[str, tuple[Catalog, Nested]]

WHITELIST_DAYS = 30
REPLICABLE = ".cvmfs_master_replica"  # lets other servers copy the repository


@dataclass(frozen=True)
class Published:
    """A revision that was published, or the one that was there already. `advice` are sentences for the publisher."""

    manifest: Manifest
    is_new: bool
    files: int
    bytes_read: int
    written: Written
    advice: tuple[str, ...] = ()


@dataclass
class Repository:
    """A repository in the folder ``root``, which a web server hands out."""

    root: Path
    name: str

    def __post_init__(self) -> None:
        self.store = Store(self.root)
        self.source = FolderSource(self.root)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the publisher's lock; the kernel releases it however the process ends.

        Raises:
            StackError: another publisher holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with locked(self.root / ".lock", f"Another publisher is at work in {self.root}; wait for it to end."):
            self.store.open()
            yield

    def manifest(self) -> Manifest | None:
        """The manifest of the last revision, signed by the certificate that it names; None where there is none.

        Raises:
            DamagedError: it was changed.
            StackError: it is of another repository.
        """
        if not (self.root / MANIFEST).exists():
            return None
        manifest, _ = signed_manifest(self.source)
        if manifest.repository != self.name:
            raise StackError(f"{self.root} holds the repository {manifest.repository}, not {self.name}.")
        return manifest

    def tags(self, manifest: Manifest | None) -> tuple[Tag, ...]:
        """The named revisions, newest first."""
        if manifest is None:
            return ()
        return read_history(read_object(self.source, ObjectName(manifest.history, HISTORY)))

    def whitelist(self) -> Whitelist | None:
        """The whitelist as it is, not verified; None where there is none that can be read."""
        try:
            return Whitelist.parse(unsigned(read_letter(self.source, WHITELIST), WHITELIST))
        except DamagedError:  # there is none, too
            return None

    def renew_whitelist(self, master: Master, certificate: bytes, days: int = WHITELIST_DAYS) -> Whitelist:
        """Sign a whitelist that names the certificate, for so many days from now."""
        now = datetime.now(timezone.utc).replace(microsecond=0)
        whitelist = Whitelist(self.name, now, now + timedelta(days=days), (fingerprint(certificate),))
        self.store.write_file(WHITELIST, seal(whitelist.text(), master.sign))
        return whitelist

    def commit(
        self,
        signer: Signer,
        root: tuple[str, int],
        revision: int,
        tags: tuple[Tag, ...],
        only: Container[ObjectName] | None = None,
    ) -> Manifest:
        """Make ``root`` (a stored catalog's digest and size) the content of ``revision``.

        With ``only``, the reference log forgets all other objects: they are about to be removed.
        """
        now = _now(self.manifest())
        history = ObjectName(self.store.add(write_history(self.name, tags), HISTORY), HISTORY)
        certificate = ObjectName(self.store.add(signer.certificate, CERTIFICATE), CERTIFICATE)
        kept = [(name, moment) for name, moment in self._references() if only is None or name in only]
        new = [(name, now) for name in (ObjectName(root[0], CATALOG), certificate, history)]
        reflog = write_reflog(self.name, [*kept, *new])
        manifest = Manifest(
            repository=self.name, revision=revision, root=root[0], root_size=root[1], timestamp=now,
            certificate=certificate.digest, history=history.digest,
            reflog=hashlib.sha1(reflog, usedforsecurity=False).hexdigest(),
        )  # fmt: skip
        os.sync()  # what the manifest leads to is on the disk before it is
        self.store.write_file(REFLOG, reflog)
        self.store.write_file(MANIFEST, seal(manifest.text(), signer.sign))
        return manifest

    def _references(self) -> list[tuple[ObjectName, int]]:
        try:
            return read_reflog(self.source.read(REFLOG))
        except MissingError:
            return []


def publish(
    repository: Repository,
    source: Path,
    signer: Signer,
    *,
    tag: str = "",
    checksum: bool = False,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Published:
    """Publish ``source``. With ``checksum`` every file is read, whatever its size and time say, and every object of it
    that is damaged or missing is written anew.

    ``on_progress`` gets the bytes done and those to do. The caller holds ``repository.writing()``.

    Raises:
        StackError: something cannot be published; the last revision is as before.
    """
    before = repository.manifest()
    now = _now(before)
    tags = repository.tags(before)
    _require_listed(repository, signer)
    _require_free(tag, tags)
    root = scan(source)
    repository.store.thorough = checksum
    ingest = _Ingest(repository.store, source, on_progress)
    last = _last(repository, before, checksum)
    stored = {} if checksum or last is None else _last_catalogs(repository, last, root)
    known = {} if checksum or last is None else _files_of([last, *(catalog for catalog, _ in stored.values())])
    filled = ingest.run(root, known, workers or os.cpu_count() or 1)
    content = _write_catalogs(repository.store, root, filled, stored)
    advice = tuple(folder.advice for folder in root.all() if folder.advice)
    if before is not None and last is not None and _is_same(last, content):
        manifest = before
        if repaired := repository.store.written.objects:
            advice += (f"{repaired:,} objects of it were damaged or missing, and were written anew.",)
        if tag:
            named = Tag(tag, before.root, before.revision, now, before.root_size)
            tags = (named, *tags)
            manifest = repository.commit(signer, (before.root, before.root_size), before.revision, tags)
        return Published(manifest, False, ingest.files, ingest.done, repository.store.written, advice)
    revision = before.revision + 1 if before else 1
    (repository.root / REPLICABLE).touch()
    manifest = commit_content(repository, signer, content, revision, tag)
    return Published(manifest, True, ingest.files, ingest.done, repository.store.written, advice)


def commit_content(repository: Repository, signer: Signer, content: Catalog, revision: int, tag: str) -> Manifest:
    """Store a root catalog as ``revision`` and commit it, with a tag."""
    before = repository.manifest()
    now = _now(before)
    database = catalogs.write(_as_revision(content, revision, now, before.root if before else ""))
    root = (repository.store.add(database, CATALOG), len(database))
    named = Tag(tag or generic_name(revision, now), root[0], revision, now, root[1])
    return repository.commit(signer, root, revision, (named, *repository.tags(before)))


def _now(before: Manifest | None) -> int:
    """This second, but never one before the last revision: where a clock was set back, clients would not take it."""
    return max(int(time.time()), before.timestamp if before else 0)


class _Ingest:
    """Stores the files that are not known yet."""

    def __init__(self, store: Store, source: Path, on_progress: OnProgress | None) -> None:
        self._store, self._source, self._on_progress = store, source, on_progress
        self.files = self.done = 0

    def run(self, root: Folder, known: dict[str, Entry], workers: int) -> dict[str, Entry]:
        """All files' entries with their objects, by path."""
        files = [e for folder in root.all() for e in folder.entries if not (e.is_folder or e.is_link)]
        self.files = len(files)
        filled = {entry.path: known[entry.path] for entry in files if _unchanged(known.get(entry.path), entry)}
        missing = [entry for entry in files if entry.path not in filled]
        total = sum(entry.size for entry in missing)
        with ThreadPoolExecutor(workers) as pool:
            try:
                for entry in pool.map(self._store_file, missing):
                    filled[entry.path] = entry
                    self.done += entry.size
                    if self._on_progress:
                        self._on_progress(self.done, total)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return filled

    def _store_file(self, entry: Entry) -> Entry:
        path = self._source / entry.path.lstrip("/")
        try:
            with path.open("rb", buffering=0) as file:
                parts = iter(lambda: _read_part(file.read), b"")
                if entry.size <= LARGEST:
                    content = next(parts, b"")
                    stored = replace(entry, digest=self._store.add(content))
                    read = len(content) + len(next(parts, b""))
                else:
                    pieces, read = [], 0
                    for part in parts:
                        pieces.append(Piece(read, len(part), self._store.add(part, CHUNK)))
                        read += len(part)
                    stored = replace(entry, chunks=tuple(pieces))
        except (PermissionError, FileNotFoundError) as error:
            raise StackError(f"{path} cannot be read: {error.strerror}.") from None
        if read != entry.size:
            raise StackError(f"{path} was changed while it was being read. Publish again when it is finished.")
        return stored


def _read_part(read: Callable[[int], bytes | None]) -> bytes:
    """Up to LARGEST bytes; a single read may give fewer than there are."""
    part = read(LARGEST) or b""
    while 0 < len(part) < LARGEST and (more := read(LARGEST - len(part))):
        part += more
    return part


def _unchanged(before: Entry | None, now: Entry) -> bool:
    same = before is not None and (before.size, before.mtime_ns, before.mode) == (now.size, now.mtime_ns, now.mode)
    return same and bool(before and before.objects())


def _last(repository: Repository, before: Manifest | None, checksum: bool) -> Catalog | None:
    """The root catalog of the last revision. Where it is damaged, ``checksum`` does without."""
    try:
        return read_catalog(repository.source, before.root, before.root_size) if before else None
    except DamagedError:
        if checksum:
            return None
        raise


def _last_catalogs(repository: Repository, last: Catalog, root: Folder) -> Stored:
    """The nested catalogs of the last revision, of folders that still begin one."""
    wanted = {folder.path for folder in root.all()}
    found: Stored = {}
    pending = [last]
    while pending:
        for below in pending.pop().nested:
            if below.path in wanted:
                catalog = read_catalog(repository.source, below.digest, below.size)
                found[below.path] = (catalog, below)
                pending.append(catalog)
    return found


def _files_of(catalogs: Iterable[Catalog]) -> dict[str, Entry]:
    return {entry.path: entry for catalog in catalogs for entry in catalog.entries if not entry.is_folder}


def _write_catalogs(store: Store, root: Folder, filled: dict[str, Entry], stored: Stored) -> Catalog:
    """Store the nested catalogs, but for those that are `stored`; return the root's, which is no revision yet."""
    done: dict[str, tuple[Catalog, Nested]] = {}
    for folder in root.all():
        inner = [done.pop(nested.path) for nested in folder.nested]
        entries = tuple(filled.get(entry.path, entry) for entry in folder.entries)
        nested = tuple(sorted((place for _, place in inner), key=lambda place: place.path))
        catalog = Catalog(folder.path, entries, nested).counted(below for below, _ in inner)
        if folder is root:
            return catalog
        before, place = stored.get(folder.path, (None, None))
        if place is None or before is None or not _is_same(before, catalog):
            database = catalogs.write(catalog)
            place = Nested(folder.path, store.add(database, CATALOG), len(database))
        done[folder.path] = (replace(catalog, entries=()), place)
    raise AssertionError("the root is the last of all folders")


def _as_revision(content: Catalog, revision: int, moment: int, previous: str) -> Catalog:
    properties = {"revision": str(revision), "last_modified": str(moment)}
    if previous:
        properties["previous_revision"] = previous
    return replace(content, properties=properties)


def _is_same(last: Catalog, content: Catalog) -> bool:
    return (last.entries, last.nested, last.sums) == (content.entries, content.nested, content.sums)


def _require_listed(repository: Repository, signer: Signer) -> None:
    whitelist = repository.whitelist()
    if whitelist is None or fingerprint(signer.certificate) not in whitelist.fingerprints:
        raise StackError(
            f"The whitelist of {repository.name} does not name this certificate. "
            "Whoever has the master key signs one with `sciencebox-stack resign`."
        )


def _require_free(tag: str, tags: tuple[Tag, ...]) -> None:
    if not tag:
        return
    require_name(tag)
    if any(known.name == tag for known in tags):
        raise StackError(f"There is a tag {tag!r} already. `sciencebox-stack tags` lists them; choose another name.")

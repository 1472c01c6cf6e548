"""What keeps a repository in order: going back to a tag, and removing what no kept revision needs."""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import StackError
from .objects import CERTIFICATE, HISTORY, DamagedError, ObjectName
from .publish import commit_content
from .verify import all_catalogs, read_catalog

if TYPE_CHECKING:
    from collections.abc import Callable

    from .history import Tag
    from .keys import Signer
    from .letters import Manifest
    from .objects import Store
    from .publish import Repository

_DAY_S = 86400


@dataclass(frozen=True)
class Keep:
    """Which revisions stay: every one that a person named, the newest ``revisions``, and those of the last ``days``.

    A client may still read a revision that is not the last, for as long as files of it are open.
    """

    revisions: int = 3
    days: float = 7.0

    def of(self, tags: tuple[Tag, ...], now: float) -> tuple[Tag, ...]:
        """The tags to keep, in the same order. The last revision is always among them."""
        newest = sorted({tag.revision for tag in tags}, reverse=True)[: max(1, self.revisions)]
        limit = now - self.days * _DAY_S
        return tuple(tag for tag in tags if not tag.is_generic or tag.revision in newest or tag.timestamp >= limit)


@dataclass(frozen=True)
class Collected:
    """What a clean-up removed, or would."""

    tags: tuple[Tag, ...]
    objects: int
    freed_bytes: int


def rollback(repository: Repository, signer: Signer, tag: str) -> Manifest:
    """Publish the content of ``tag`` as a new revision. Nothing is lost: going back is undone by the newer tag.

    Raises:
        StackError: there is no such tag, or it is what the last revision shows.
        DamagedError: objects of it are missing.
    """
    manifest = _require_manifest(repository)
    known = {one.name: one for one in repository.tags(manifest)}
    if (found := known.get(tag)) is None:
        raise StackError(f"There is no tag {tag!r}. `sciencebox-stack tags` lists them.")
    content = read_catalog(repository.source, found.root, found.size)
    now = read_catalog(repository.source, manifest.root, manifest.root_size)
    if (content.entries, content.nested) == (now.entries, now.nested):
        raise StackError(f"{tag} is what revision {manifest.revision} shows already.")
    if missing := sum(not repository.store.has(name) for name in _needed(repository, [(found.root, found.size)])):
        raise DamagedError(f"{missing} objects of {tag} are missing, so clients could not read it.")
    return commit_content(repository, signer, content, manifest.revision + 1, "")


def collect(
    repository: Repository,
    signer: Signer,
    keep: Keep,
    *,
    dry_run: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Collected:
    """Forget revisions that are not to be kept, and remove every object that none of the others needs.

    The caller holds ``repository.writing()``.

    Raises:
        DamagedError: a kept revision is damaged, so that what it needs is not known; nothing is removed.
    """
    manifest = _require_manifest(repository)
    tags = repository.tags(manifest)
    kept = keep.of(tags, time.time())
    root = (manifest.root, manifest.root_size)
    needed = _needed(repository, [root, *((tag.root, tag.size) for tag in kept)])
    sweep = _Sweep(repository.store, dry_run, on_progress)
    if not dry_run:  # first nothing leads to what is removed, then it is removed
        try:
            manifest = repository.commit(signer, root, manifest.revision, kept, only=needed)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            # A publisher that filled the disk left objects that no revision has; without them there is room.
            every = _needed(repository, [(tag.root, tag.size) for tag in tags])
            sweep.remove_all_but(needed | every | _named_by(manifest))
            manifest = repository.commit(signer, root, manifest.revision, kept, only=needed)
    sweep.remove_all_but(needed | _named_by(manifest))
    return Collected(tuple(tag for tag in tags if tag not in kept), sweep.count, sweep.freed)


@dataclass
class _Sweep:
    """Removes objects, or only counts them."""

    store: Store
    dry_run: bool
    on_progress: Callable[[int], None] | None
    count: int = 0
    freed: int = 0

    def remove_all_but(self, needed: set[ObjectName]) -> None:
        for name in self.store.names():
            if name in needed:
                continue
            self.freed += self.store.size(name) if self.dry_run else self.store.remove(name)
            self.count += 1
            if self.on_progress:
                self.on_progress(self.count)


def _named_by(manifest: Manifest) -> set[ObjectName]:
    return {ObjectName(manifest.history, HISTORY), ObjectName(manifest.certificate, CERTIFICATE)}


def _needed(repository: Repository, roots: list[tuple[str, int]]) -> set[ObjectName]:
    needed: set[ObjectName] = set()
    for name, catalog in all_catalogs(repository.source, roots):
        needed.add(name)
        needed.update(one for entry in catalog.entries for one in entry.objects())
    return needed


def _require_manifest(repository: Repository) -> Manifest:
    manifest = repository.manifest()
    if manifest is None:
        raise StackError(f"Nothing is published in {repository.root} yet. `sciencebox-stack publish` begins.")
    return manifest

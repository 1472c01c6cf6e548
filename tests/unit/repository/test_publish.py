"""Publishing: what a reader finds, what a second publish moves, and what a killed one leaves."""

from __future__ import annotations

import multiprocessing
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from sciencebox_stack.errors import StackError
from sciencebox_stack.repository import publish as publishing
from sciencebox_stack.repository.history import read_reflog
from sciencebox_stack.repository.objects import CATALOG, ObjectName, Store
from sciencebox_stack.repository.source import read_object
from sciencebox_stack.repository.verify import all_catalogs, verify_all

if TYPE_CHECKING:
    from pathlib import Path

    from sciencebox_stack.repository.catalog import Entry

    from .conftest import Site

TREE = "/lcg/releases/pytorch/0123/x86_64"


def entries(site: Site) -> dict[str, Entry]:
    """Everything that the last revision has, by path."""
    manifest = site.verify().manifest
    catalogs = all_catalogs(site.repository.source, [(manifest.root, manifest.root_size)])
    return {entry.path: entry for _, catalog in catalogs for entry in catalog.entries}


def content(site: Site, path: str) -> bytes:
    """A file of the last revision, as a client puts it together."""
    entry = entries(site)[path]
    sizes = [piece.size for piece in entry.chunks] or [entry.size]
    parts = zip(entry.objects(), sizes, strict=True)
    return b"".join(read_object(site.repository.source, name, size) for name, size in parts)


def test_every_file_is_in_the_repository_as_it_is_in_the_folder(published_site: Site) -> None:
    found = entries(published_site)
    there = {f"/{path.relative_to(published_site.source)}" for path in published_site.source.rglob("*")}
    assert set(found) == {""} | {path for path in there if not path.startswith("/.build")}
    for path in ("/README", f"{TREE}/bin/python", f"{TREE}/lib/long.so", f"{TREE}/lib/empty.txt"):
        assert content(published_site, path) == (published_site.source / path[1:]).read_bytes()
    assert found[f"{TREE}/bin/python"].mode & 0o7777 == 0o755, "it is root's now, and must not run as root"
    assert found[f"{TREE}/bin/python3"].target == "./python", "a link is kept to the letter"
    assert len(found[f"{TREE}/lib/long.so"].chunks) == 3


def test_a_tree_of_the_stack_has_a_catalog_of_its_own(published_site: Site) -> None:
    manifest = published_site.verify().manifest
    roots = [(manifest.root, manifest.root_size)]
    assert {c.path for _, c in all_catalogs(published_site.repository.source, roots)} == {"", TREE, "/lcg/views/SB_1"}


def test_the_folder_may_name_its_catalogs(site: Site) -> None:
    (site.source / ".cvmfsdirtab").write_text("# ours\n/lcg/*\n! /lcg/views\n")
    site.publish()
    manifest = site.verify().manifest
    roots = [(manifest.root, manifest.root_size)]
    assert {catalog.path for _, catalog in all_catalogs(site.repository.source, roots)} == {"", "/lcg/releases"}


def test_counters_add_up_over_nested_catalogs(published_site: Site) -> None:
    manifest = published_site.verify().manifest
    (_, root), *_ = all_catalogs(published_site.repository.source, [(manifest.root, manifest.root_size)])
    assert root.sums["self_nested"] == 2
    assert root.sums["self_regular"] + root.sums["subtree_regular"] == 5
    assert root.sums["subtree_chunks"] == 3


def test_an_unchanged_folder_moves_nothing_and_makes_no_revision(site: Site) -> None:
    before = site.objects()
    again = site.publish()
    assert (again.is_new, again.bytes_read, again.manifest.revision) == (False, 0, 1)
    assert site.objects() == before


def test_a_changed_file_moves_itself_and_the_catalogs_above_it(site: Site) -> None:
    (site.source / TREE[1:] / "bin/python").write_text("#!/bin/bash\n")
    again = site.publish()
    assert again.is_new
    assert again.bytes_read == len("#!/bin/bash\n")
    assert again.written.objects == 4, "the file, two catalogs, the history"
    assert content(site, f"{TREE}/bin/python") == b"#!/bin/bash\n"


def test_a_file_changed_behind_its_date_is_found_by_its_content(site: Site) -> None:
    path = site.source / "README"
    before = path.stat()
    path.write_text("A stock.\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not site.publish().is_new
    assert site.publish(checksum=True).is_new
    assert content(site, "/README") == b"A stock.\n"


def test_what_was_damaged_or_lost_is_written_anew_where_all_is_read(site: Site) -> None:
    objects = sorted(name for name in site.objects() if name[-1] not in "HX")
    for number, name in enumerate(objects):
        place = site.repository.root / name
        place.write_bytes(place.read_bytes()[::-1]) if number % 2 else place.unlink()
    done = site.publish(checksum=True)
    assert not verify_all(site.repository.source, site.verify().manifest, 2).damaged[1:], "the first one is past help"
    assert (done.is_new, done.manifest.revision) == (True, 2), "its root catalog was damaged, too"
    lost = next(name for name in objects if name.endswith("P"))
    (site.repository.root / lost).unlink()
    again = site.publish(checksum=True)
    assert (again.is_new, again.advice) == (False, ("1 objects of it were damaged or missing, and were written anew.",))


def test_the_same_content_is_stored_once(site: Site) -> None:
    (site.source / "COPY").write_bytes((site.source / TREE[1:] / "lib/long.so").read_bytes())
    assert site.publish().written.objects == 2, "the root's catalog and the history"


def test_a_tag_can_be_put_on_what_is_published(site: Site) -> None:
    done = site.publish(tag="release")
    assert (done.is_new, done.manifest.revision) == (False, 1)
    assert {tag.name for tag in site.repository.tags(site.repository.manifest())} == {"release", "first"}


@pytest.mark.parametrize("name", ["first", "generic-1", "a b", "../x"])
def test_a_tag_that_cannot_be_is_refused(site: Site, name: str) -> None:
    with pytest.raises(StackError, match="tag"):
        site.publish(tag=name)


def test_every_reference_is_in_the_log(site: Site) -> None:
    (site.source / "README").write_text("More.\n")
    site.publish()
    log = dict(read_reflog((site.repository.root / ".cvmfsreflog").read_bytes()))
    roots = {tag.root for tag in site.repository.tags(site.repository.manifest())}
    assert {ObjectName(root, CATALOG) for root in roots} <= set(log)
    assert len(roots) == 2


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda source: os.mkfifo(source / "pipe"), "pipe or a socket"),
        (lambda source: (source / os.fsdecode(b"caf\xe9")).write_text(""), "not UTF-8"),
        (lambda source: (source / ".cvmfsdirtab").write_bytes(b"/caf\xe9\n"), "not text in UTF-8"),
        (lambda source: (source / "odd").symlink_to(os.fsdecode(b"\xff")), "not UTF-8"),
    ],
)
def test_what_cannot_be_published_is_named_and_nothing_changes(site: Site, spoil: object, words: str) -> None:
    spoil(site.source)  # type: ignore[operator]
    with pytest.raises(StackError, match=words):
        site.publish()
    assert site.verify().manifest.revision == 1


def test_a_file_that_grows_while_it_is_read_stops_the_publish(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = publishing.scan

    def scan(source: Path) -> object:
        found = real(source)
        (source / "README").write_text("This file has grown in the meantime.\n")
        return found

    monkeypatch.setattr(publishing, "scan", scan)
    with pytest.raises(StackError, match="changed while it was being read"):
        site.publish(checksum=True)
    assert site.verify().manifest.revision == 1


def test_a_clock_that_was_set_back_makes_no_revision_that_clients_take_for_an_older_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = site.verify().manifest
    monkeypatch.setattr("time.time", lambda: before.timestamp - 86400.0)
    (site.source / "README").write_text("A day before.\n")
    assert site.publish().manifest.timestamp == before.timestamp
    assert site.publish(tag="named").manifest.timestamp == before.timestamp


def test_two_publishers_do_not_meet(site: Site) -> None:
    with site.repository.writing(), pytest.raises(StackError, match="Another publisher"):
        site.publish()


def test_a_repository_of_another_name_is_not_overwritten(site: Site) -> None:
    site.repository.name = "other.example.org"
    with pytest.raises(StackError, match=r"holds the repository software\.example\.org"):
        site.publish()


def test_a_certificate_that_the_whitelist_does_not_name_cannot_publish(site: Site) -> None:
    (site.repository.root / ".cvmfswhitelist").unlink()
    with pytest.raises(StackError, match="resign"):
        site.publish()


@pytest.mark.parametrize("stop_at", ["add", "write_file"])
def test_a_publisher_killed_anywhere_leaves_the_last_revision_whole(site: Site, stop_at: str) -> None:
    """Killed at every call of a kind in turn, until one run gets through."""
    (site.source / "README").write_text("A second edition.\n")
    (site.source / TREE[1:] / "lib/more.txt").write_text("more\n")
    real = getattr(Store, stop_at)

    def publish(calls: int) -> None:
        left = iter(range(calls))

        def stop(*arguments: Any) -> Any:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        setattr(Store, stop_at, stop)
        site.publish()

    for calls in range(20):
        process = multiprocessing.get_context("fork").Process(target=publish, args=(calls,))
        process.start()
        process.join()
        manifest = site.verify().manifest
        assert not verify_all(site.repository.source, manifest, 2).damaged
        if process.exitcode == 0:
            break
        assert (process.exitcode, manifest.revision) == (-signal.SIGKILL, 1)
    assert (calls > 1, manifest.revision) == (True, 2)

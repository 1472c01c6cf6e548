"""Going back, and tidying up."""

from __future__ import annotations

import errno
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as some
from sciencebox_stack.errors import StackError
from sciencebox_stack.repository.history import REFLOG, Tag, read_reflog
from sciencebox_stack.repository.keys import Master
from sciencebox_stack.repository.maintain import Keep, collect, rollback
from sciencebox_stack.repository.objects import CATALOG, DamagedError, ObjectName, Store
from sciencebox_stack.repository.verify import verify_all

if TYPE_CHECKING:
    from .conftest import Site


def editions(site: Site, count: int) -> None:
    """Publish the README in so many further editions."""
    for number in range(count):
        (site.source / "README").write_text(f"Edition {number}.\n")
        site.publish()


def root(site: Site) -> str:
    return site.verify().manifest.root


def test_going_back_shows_the_old_content_as_a_new_revision_and_can_be_undone(site: Site) -> None:
    editions(site, 1)
    newer = site.repository.tags(site.repository.manifest())[0].name
    with site.repository.writing():
        assert rollback(site.repository, site.signer, "first").revision == 3
        with pytest.raises(StackError, match="already"):
            rollback(site.repository, site.signer, "first")
        assert rollback(site.repository, site.signer, newer).revision == 4
    assert not site.publish().is_new, "the folder still has what the newer revision has"
    assert not verify_all(site.repository.source, site.verify().manifest, 2).damaged


def test_going_back_to_what_never_was_is_refused(site: Site) -> None:
    with site.repository.writing(), pytest.raises(StackError, match="no tag 'nothing'"):
        rollback(site.repository, site.signer, "nothing")


def test_tidying_up_removes_exactly_what_no_kept_revision_needs(site: Site) -> None:
    before = site.objects()
    editions(site, 4)
    keep = Keep(revisions=1, days=0)
    with site.repository.writing():
        would = collect(site.repository, site.signer, keep, dry_run=True)
        all_there = site.objects()
        done = collect(site.repository, site.signer, keep)
        assert collect(site.repository, site.signer, keep).objects == 0, "once is enough"
    assert [tag.revision for tag in done.tags] == [4, 3, 2], "a name that a person gave is kept, and the last revision"
    assert len(all_there - site.objects()) == done.objects
    assert would.objects == done.objects - 1, "the history, which forgets revisions, is another one then"
    assert {path for path in before if not path.endswith("H")} <= site.objects(), "the tag still works"
    assert not verify_all(site.repository.source, site.verify().manifest, 2).damaged
    with site.repository.writing():
        rollback(site.repository, site.signer, "first")
    assert not verify_all(site.repository.source, site.verify().manifest, 2).damaged
    log = read_reflog((site.repository.root / REFLOG).read_bytes())
    assert all((site.repository.root / name.path).exists() for name, _ in log)


def test_it_makes_room_on_a_disk_that_a_publisher_filled(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    editions(site, 1)
    store, write = site.repository.store, Store.write_file
    left = store.root / ObjectName(store.add(b"of a revision that never came")).path

    def write_file(self: Store, name: str, content: bytes) -> None:
        if left.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, name, content)

    monkeypatch.setattr(Store, "write_file", write_file)
    with site.repository.writing():
        done = collect(site.repository, site.signer, Keep(revisions=1, days=0))
        assert collect(site.repository, site.signer, Keep(revisions=1, days=0)).objects == 0
    assert (done.objects > 1, left.exists()) == (True, False)
    assert not verify_all(site.repository.source, site.verify().manifest, 2).damaged


def test_a_revision_that_is_not_whole_is_told_and_not_gone_back_to(site: Site) -> None:
    before = site.objects()
    shutil.rmtree(site.source / "lcg")
    site.publish()
    lost = next(name for name in before if name.endswith("P"))
    (site.repository.root / lost).unlink()
    found = verify_all(site.repository.source, site.verify().manifest, 2)
    assert (found.revisions, found.files, len(found.damaged), lost in found.damaged[0]) == (2, 1, 1, True)
    with site.repository.writing(), pytest.raises(DamagedError, match="1 objects of first are missing"):
        rollback(site.repository, site.signer, "first")
    manifest = site.repository.manifest()
    (site.repository.root / ObjectName(site.repository.tags(manifest)[-1].root, CATALOG).path).unlink()
    told = verify_all(site.repository.source, site.verify().manifest, 2).damaged
    assert [sentence.endswith("One cannot go back to first.") for sentence in told] == [True]


def test_nothing_is_removed_when_a_kept_catalog_cannot_be_read(site: Site) -> None:
    editions(site, 3)
    damaged = site.repository.root / next(name for name in site.objects() if name.endswith("C"))
    damaged.write_bytes(b"damaged")
    before = site.objects()
    with site.repository.writing(), pytest.raises(DamagedError):
        collect(site.repository, site.signer, Keep(revisions=9))
    assert site.objects() == before


tags = some.lists(
    some.builds(
        Tag,
        name=some.sampled_from(["generic-1", "generic-2", "release"]),
        root=some.just("0" * 40),
        revision=some.integers(1, 9),
        timestamp=some.integers(0, 30 * 86400),
        size=some.just(1),
    ),
    min_size=1,
).map(tuple)


@given(tags, some.integers(0, 5), some.floats(0, 30))
def test_the_last_revision_and_every_named_one_are_kept(found: tuple[Tag, ...], revisions: int, days: float) -> None:
    kept = Keep(revisions, days).of(found, now=30 * 86400)
    assert max(tag.revision for tag in found) in {tag.revision for tag in kept}
    assert {tag for tag in found if not tag.is_generic} <= set(kept)
    assert {tag for tag in found if tag.timestamp >= (30 - days) * 86400} <= set(kept)


def test_a_whitelist_is_renewed_for_as_long_as_asked(site: Site) -> None:
    with site.repository.writing():
        site.repository.renew_whitelist(Master.read(site.keys), site.signer.certificate, days=90)
    assert 89 * 86400 < site.verify().whitelist.expires.timestamp() - time.time() < 91 * 86400

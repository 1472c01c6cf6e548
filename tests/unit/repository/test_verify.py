"""Every kind of tampering is noticed, and named."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from sciencebox_stack.errors import StackError
from sciencebox_stack.repository.keys import KeyFiles, Master, Signer, make_keys
from sciencebox_stack.repository.letters import MANIFEST, WHITELIST, seal, unsigned
from sciencebox_stack.repository.objects import CATALOG, DamagedError, ObjectName, pack
from sciencebox_stack.repository.source import MissingError, WebSource, read_object
from sciencebox_stack.repository.verify import require_not_older, verify, verify_all

from tests.cvmfs import served

from .conftest import NAME

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Site


@pytest.fixture(scope="session")
def thief(tmp_path_factory: pytest.TempPathFactory) -> KeyFiles:
    """Keys of somebody else, for a repository of the same name."""
    keys = KeyFiles(tmp_path_factory.mktemp("thief"), NAME)
    make_keys(keys)
    return keys


def change(path: Path, position: int) -> None:
    """Turn one bit."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def largest(site: Site) -> Path:
    return max((site.repository.root / name for name in site.objects()), key=lambda path: path.stat().st_size)


def test_a_genuine_repository_is_accepted(published_site: Site) -> None:
    trusted = published_site.verify()
    assert (trusted.manifest.revision, trusted.whitelist.repository) == (1, NAME)
    found = verify_all(published_site.repository.source, trusted.manifest, 2)
    assert (found.catalogs, found.files, found.damaged) == (3, 5, [])


@pytest.mark.parametrize("position", [3, 20, 40, -1], ids=["date", "expiry", "name", "signature"])
def test_a_whitelist_with_a_changed_bit(site: Site, position: int) -> None:
    change(site.repository.root / WHITELIST, position)
    with pytest.raises(DamagedError, match=WHITELIST):
        site.verify()


def test_a_whitelist_forged_with_another_master_key(site: Site, thief: KeyFiles) -> None:
    with site.repository.writing():
        site.repository.renew_whitelist(Master.read(thief), Signer.read(thief).certificate)
    with pytest.raises(DamagedError, match="not by the key"):
        site.verify()


def test_an_expired_whitelist_says_what_to_do(site: Site) -> None:
    later = datetime.now(timezone.utc) + timedelta(days=31)
    with pytest.raises(DamagedError, match=r"expired on .* resign"):
        verify(site.repository.source, site.keys.public.read_bytes(), now=later)


def test_the_master_key_of_another_site(site: Site, thief: KeyFiles) -> None:
    with pytest.raises(DamagedError, match="not by the key"):
        verify(site.repository.source, thief.public.read_bytes())


def test_another_repository_than_the_one_that_was_asked_for(site: Site) -> None:
    with pytest.raises(DamagedError, match="not other"):
        verify(site.repository.source, site.keys.public.read_bytes(), "other.example.org")


@pytest.mark.parametrize("position", [1, 60, -1], ids=["root", "middle", "signature"])
def test_a_manifest_with_a_changed_bit(site: Site, position: int) -> None:
    change(site.repository.root / MANIFEST, position)
    with pytest.raises(DamagedError):
        site.verify()


def test_a_manifest_with_a_number_beyond_all_bounds(site: Site) -> None:
    path = site.repository.root / MANIFEST
    path.write_bytes(path.read_bytes().replace(b"\nS1\n", b"\nS" + b"9" * 5000 + b"\n"))
    with pytest.raises(DamagedError, match="where a number must be"):
        site.verify()


def test_a_manifest_signed_anew_by_a_key_that_nobody_listed(site: Site, thief: KeyFiles) -> None:
    manifest = site.repository.manifest()
    assert manifest is not None
    with site.repository.writing():
        root = (manifest.root, manifest.root_size)
        site.repository.commit(Signer.read(thief), root, 2, site.repository.tags(manifest))
    with pytest.raises(DamagedError, match="whitelist does not name"):
        site.verify()


def test_a_manifest_of_another_repository_of_the_same_owner(site: Site) -> None:
    manifest = site.repository.manifest()
    assert manifest is not None
    other = replace(manifest, repository="other.example.org").text()
    (site.repository.root / MANIFEST).write_bytes(seal(other, site.signer.sign))
    with pytest.raises(DamagedError, match=r"is of other\.example\.org, the whitelist of"):
        site.verify()


def test_a_manifest_that_names_the_right_certificate_but_was_signed_with_another_key(
    site: Site, thief: KeyFiles
) -> None:
    path = site.repository.root / MANIFEST
    path.write_bytes(seal(unsigned(path.read_bytes(), MANIFEST), Signer.read(thief).sign))
    with pytest.raises(DamagedError, match="not by the key"):
        site.verify()


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_catalog_cut_short(site: Site, cut: int) -> None:
    path = site.repository.root / ObjectName(site.verify().manifest.root, CATALOG).path
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DamagedError, match="not what its name says"):
        site.verify()


def test_a_catalog_that_is_missing(site: Site) -> None:
    (site.repository.root / ObjectName(site.verify().manifest.root, CATALOG).path).unlink()
    with pytest.raises(DamagedError, match="missing"):
        site.verify()


def test_swapped_objects_are_found_by_a_full_verification(site: Site) -> None:
    first, second = sorted(
        (site.repository.root / name for name in site.objects() if name.endswith("P")), key=lambda path: path.name
    )[:2]
    shutil.copy(first, second)
    manifest = site.verify().manifest
    assert len(verify_all(site.repository.source, manifest, 2).damaged) == 1


def test_an_object_that_unpacks_to_more_than_its_catalog_says_is_not_unpacked(site: Site) -> None:
    """A small object can be made that fills a client's memory; its name cannot be right, but is checked last here."""
    name, stored = pack(b"\0" * 100_000_000)
    from sciencebox_stack.repository.objects import unpack

    with pytest.raises(DamagedError, match="larger than its catalog"):
        unpack(name, stored, 1000)


def test_no_more_is_read_than_what_a_letter_or_an_object_can_be(site: Site) -> None:
    root = site.verify().manifest.root
    catalog = site.repository.root / ObjectName(root, CATALOG).path
    catalog.write_bytes(b"x" * 2_000_000)
    with served(site.repository.root) as url, closing(WebSource(url)) as web:
        for source in (web, site.repository.source):
            with pytest.raises(DamagedError, match="larger than it can be"):
                read_object(source, ObjectName(root, CATALOG), 40_000)
        (site.repository.root / MANIFEST).write_bytes(b"x" * 2_000_000)
        with pytest.raises(DamagedError, match=r"cvmfspublished is larger than it can be"):
            verify(web, site.keys.public.read_bytes(), NAME)


def test_an_old_state_shown_again(site: Site, tmp_path: Path) -> None:
    seen, old = tmp_path / "seen.json", tmp_path / "old"
    shutil.copytree(site.repository.root, old)
    (site.source / "README").write_text("A second edition.\n")
    site.publish()
    require_not_older(site.verify().manifest, seen)
    shutil.rmtree(site.repository.root)
    shutil.copytree(old, site.repository.root)
    manifest = site.verify().manifest  # everything is signed
    with pytest.raises(DamagedError, match="revision 1, but 2 was seen"):
        require_not_older(manifest, seen)


def test_two_different_revisions_with_one_number(site: Site, tmp_path: Path) -> None:
    seen, other = tmp_path / "seen.json", tmp_path / "other"
    shutil.copytree(site.repository.root, other)
    (site.source / "README").write_text("One.\n")
    site.publish()
    require_not_older(site.verify().manifest, seen)
    shutil.rmtree(site.repository.root)
    shutil.copytree(other, site.repository.root)
    (site.source / "README").write_text("Two.\n")
    site.publish()
    with pytest.raises(DamagedError, match="two different revisions 2"):
        require_not_older(site.verify().manifest, seen)


def test_objects_are_named_by_what_is_stored(published_site: Site) -> None:
    stored = largest(published_site).read_bytes()
    name = largest(published_site)
    assert name.parent.name + name.name[:38] == hashlib.sha1(stored, usedforsecurity=False).hexdigest()


def test_a_web_server_is_read_and_verified_as_a_folder_is(published_site: Site) -> None:
    with served(published_site.repository.root) as url, closing(WebSource(url)) as source:
        trusted = verify(source, published_site.keys.public.read_bytes(), NAME)
        assert verify_all(source, trusted.manifest, 4).damaged == []
        with pytest.raises(MissingError, match="nothing is missing at"):
            source.read("nothing")
    with closing(WebSource(url)) as source, pytest.raises(StackError, match="does not answer"):
        source.read(MANIFEST)

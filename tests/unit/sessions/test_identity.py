"""A user's uid and home: allocated once, theirs alone, never given to another."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sciencebox.sessions.identity import FIRST_UID, Identities, IdentityError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif("os.geteuid() != 0", reason="only root may give a home to another uid")


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    (tmp_path / "state").mkdir()
    return Identities(tmp_path / "homes", tmp_path / "state")


def test_a_home_belongs_to_its_user_alone(identities: Identities) -> None:
    maria = identities.prepare("maria")

    status = maria.home.stat()
    assert maria.uid == FIRST_UID
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (maria.uid, maria.uid, 0o700)


def test_the_uid_stays_and_is_nobody_elses(identities: Identities, tmp_path: Path) -> None:
    first = identities.prepare("maria")
    second = identities.prepare("jonas")
    again = Identities(tmp_path / "homes", tmp_path / "state").prepare("maria")

    assert again == first
    assert second.uid == first.uid + 1


def test_many_at_once_get_different_uids(identities: Identities) -> None:
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(identities.prepare, [f"user{n}" for n in range(40)]))

    assert len({identity.uid for identity in found}) == 40


def test_the_session_knows_its_user_by_name(identities: Identities) -> None:
    maria = identities.prepare("maria")

    assert f"maria:x:{maria.uid}:{maria.uid}::/home/maria:/bin/bash" in maria.passwd.read_text().splitlines()
    assert f"maria:x:{maria.uid}:" in maria.group.read_text().splitlines()


def test_a_home_with_somebody_elses_files_is_not_taken_over(identities: Identities, tmp_path: Path) -> None:
    home = tmp_path / "homes" / "maria"
    home.mkdir(parents=True)
    (home / "thesis.txt").write_text("mine")

    with pytest.raises(IdentityError, match=r"has files and belongs to uid 0, not to 20000"):
        identities.prepare("maria")
    assert (home / "thesis.txt").read_text() == "mine"


def test_a_home_that_is_a_link_is_not_followed(identities: Identities, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "homes").mkdir()
    (tmp_path / "homes" / "maria").symlink_to(elsewhere)

    with pytest.raises(IdentityError, match="is a link"):
        identities.prepare("maria")
    assert elsewhere.stat().st_uid == 0


def test_a_full_or_missing_disk_is_named(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"the home of maria under .*homes cannot be prepared"):
        Identities(tmp_path / "homes", tmp_path / "no-such-state").prepare("maria")

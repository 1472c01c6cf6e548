"""The commands about repositories, as whoever publishes meets them."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from sciencebox_stack import cli
from sciencebox_stack.repository.keys import KeyFiles, Master

from .conftest import NAME

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Site


class Run:
    """Runs the command as the program does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.setattr("signal.signal", lambda *_: None)

    def __call__(self, *arguments: object) -> tuple[int, str]:
        """Status, and what was said."""
        self._monkeypatch.setattr(sys, "argv", ["sciencebox-stack", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = self._capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(monkeypatch, capsys)


def places(site: Site) -> list[object]:
    return ["--repository", NAME, "--out", site.repository.root, "--keys", site.keys.folder]


def test_from_nothing_to_a_verified_repository(run: Run, site: Site, tmp_path: Path) -> None:
    where = ["--repository", "new.example", "--keys", tmp_path / "k[/x]"]
    status, said = run("publish", "--source", site.source, *where, "--out", tmp_path / "w")
    assert (status, "`sciencebox-stack keys` makes" in said) == (1, True)
    assert f"are in {tmp_path}/k[/x]." in run("keys", *where)[1]
    status, said = run("publish", "--source", site.source, *where, "--out", tmp_path / "w", "--tag", "v1")
    assert (status, "Revision 1 of new.example: 5 files" in said) == (0, True)
    status, said = run("publish", "--source", site.source, *where, "--out", tmp_path / "w")
    assert "Nothing has changed since revision 1" in said
    status, said = run("publish", "--source", site.source, *where, "--out", tmp_path / "w", "--tag", "v2")
    assert "It has the name v2 now." in said
    status, said = run("tags", "--repository", "new.example", "--out", tmp_path / "w", "--json")
    assert [tag["name"] for tag in json.loads(said)] == ["v1", "v2"]
    key = tmp_path / "k[/x]/new.example.pub"
    status, said = run("verify", tmp_path / "w", "--key", key, "--full", "--json")
    assert (status, '"files": 5' in said, '"revisions": 1' in said) == (0, True, True)


def test_neither_private_keys_nor_the_repository_itself_are_published(run: Run, site: Site) -> None:
    site.keys.folder.rename(site.source / "keys")
    inside = ["--repository", NAME, "--out", site.repository.root, "--keys", site.source / "keys"]
    status, said = run("publish", "--source", site.source, *inside)
    assert (status, "lie inside the published folder" in said) == (1, True)
    (site.source / "keys").rename(site.keys.folder)
    around = site.repository.root.parent
    elsewhere = site.keys.folder.rename(around.with_name(f"{around.name}-keys"))
    where = ["--repository", NAME, "--out", site.repository.root, "--keys", elsewhere]
    status, said = run("publish", "--source", around, *where)
    assert (status, "would be published in itself" in said) == (1, True)
    assert site.repository.manifest().revision == 1  # type: ignore[union-attr]


def test_a_damaged_object_is_named_and_the_status_tells(run: Run, site: Site) -> None:
    damaged = site.repository.root / next(name for name in site.objects() if name.endswith("P"))
    damaged.write_bytes(b"damaged")
    status, said = run("verify", site.repository.root, "--key", site.keys.public, "--full")
    assert (status, "1 of 10 objects are damaged" in said) == (1, True)
    assert damaged.name in said
    run("publish", "--source", site.source, *places(site), "--checksum")
    assert run("verify", site.repository.root, "--key", site.keys.public, "--full")[0] == 0


def test_going_back_and_tidying_up_say_what_they_did(run: Run, site: Site) -> None:
    (site.source / "README").write_text("A second edition.\n")
    run("publish", "--source", site.source, *places(site))
    assert "Revision 3 of" in run("rollback", "first", *places(site))[1]
    (site.source / "README").write_text("A third edition.\n")
    run("publish", "--source", site.source, *places(site))
    status, said = run("gc", *places(site), "--keep", "1", "--days", "0", "--dry-run")
    assert (status, "would be removed" in said, "2 revisions would be forgotten" in said) == (0, True, True)
    assert " removed" in run("gc", *places(site), "--keep", "1", "--days", "0")[1]
    assert run("verify", site.repository.root, "--key", site.keys.public, "--full")[0] == 0


def test_a_whitelist_that_ends_soon_is_renewed_where_the_master_key_is_and_said_where_it_is_not(
    run: Run, site: Site
) -> None:
    with site.repository.writing():
        site.repository.renew_whitelist(Master.read(site.keys), site.signer.certificate, days=3)
    away = site.keys.master.rename(site.keys.master.with_suffix(".away"))
    assert "Sign it where the master key is" in run("publish", "--source", site.source, *places(site))[1]
    away.rename(site.keys.master)
    with site.repository.writing():
        site.repository.renew_whitelist(Master.read(site.keys), site.signer.certificate, days=9)
    run("publish", "--source", site.source, *places(site))
    assert site.verify().whitelist.expires > datetime.now(timezone.utc) + timedelta(days=20)
    assert "is valid until" in run("resign", *places(site), "--days", "90")[1]


def test_the_whitelist_is_signed_where_the_master_key_is_with_the_certificate_alone(
    run: Run, site: Site, tmp_path: Path
) -> None:
    (tmp_path / "vault").mkdir(mode=0o700)
    site.keys.master.rename(tmp_path / "vault" / site.keys.master.name)
    shutil.copy(site.keys.certificate, tmp_path / "vault")
    status, said = run("resign", *places(site))
    assert (status, "Run this where the master key is kept." in said) == (1, True)
    where = ["--repository", NAME, "--out", site.repository.root, "--keys", tmp_path / "vault"]
    status, said = run("resign", *where, "--days", 300)
    assert (status, f"The whitelist of {NAME} is valid until" in said) == (0, True)
    assert (site.verify().whitelist.expires - datetime.now(timezone.utc)).days >= 299
    (site.repository.root / ".cvmfswhitelist").write_bytes(b"")
    status, said = run("publish", "--source", site.source, *places(site))
    assert (status, "signs one with `sciencebox-stack resign`" in said) == (1, True)
    assert run("resign", *where)[0] == 0
    with site.repository.writing():
        site.repository.renew_whitelist(Master.read(KeyFiles(tmp_path / "vault", NAME)), site.signer.certificate, -1)
    assert "The whitelist has expired, on" in run("publish", "--source", site.source, *places(site))[1]


def test_a_folder_that_was_named_by_mistake_is_left_as_it_is(run: Run, site: Site, tmp_path: Path) -> None:
    wrong = ["--repository", NAME, "--out", tmp_path / "wrong", "--keys", site.keys.folder]
    for command in (["gc"], ["rollback", "first"]):
        status, said = run(*command, *wrong)
        assert (status, "Nothing is published in" in said, (tmp_path / "wrong").exists()) == (1, True, False)
    run("keys", "--repository", "other.example.org", "--keys", site.keys.folder)
    status, said = run("resign", "--repository", "other.example.org", *places(site)[2:])
    assert (status, f"holds the repository {NAME}, not other.example.org" in said) == (1, True)
    site.verify()


def test_who_verifies_is_told_what_is_missing(run: Run, site: Site, tmp_path: Path) -> None:
    key, elsewhere = site.keys.public, tmp_path / "elsewhere"
    assert "Whoever publishes the repository gives it to you" in run("verify", "x", "--key", elsewhere)[1]
    assert "A repository is named as in http://server" in run("verify", elsewhere, "--key", key)[1]
    assert "http://a..b does not answer" in run("verify", "http://a..b", "--key", key)[1]


@pytest.mark.parametrize("name", ["Capital", "../x", "a/b", ""])
def test_a_name_that_cannot_be_a_folder_of_cvmfs_is_refused(run: Run, tmp_path: Path, name: str) -> None:
    status, said = run("keys", "--repository", name, "--keys", tmp_path / "k")
    assert (status, "software.example.org" in " ".join(said.split())) == (2, True)
    assert not (tmp_path / "k").exists()

"""A backup brings everything back as it was, is never half there, and is never put over other data."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from rich.console import Console
from sciencebox.host import backup
from sciencebox.host.deploy import Deployment
from sciencebox.host.steps import Screen, StepError
from sciencebox.sessions.identity import Uids
from sciencebox.settings import Settings

ROOT = os.geteuid() == 0
SCREEN = Screen(Console(quiet=True))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data of a deployment: two homes, a dataset that is elsewhere, accounts, a secret."""
    root = tmp_path / "data"
    for folder in ("state/secrets", "state/prometheus", "homes/ada", "homes/-rf", "data", "cvmfs/sciencebox.local"):
        (root / folder).mkdir(parents=True)
    (root / "state/.queue.json.new").write_text("being written")
    (root / "homes/ada/résultat\n1.txt").write_text("0.94")
    (root / "homes/ada").chmod(0o700)
    if ROOT:
        os.chown(root / "homes/ada", 20_001, 20_001)
    (root / "data/glioma").symlink_to("/mnt/archive/glioma")
    (root / "state/secrets/cookie").write_text("secret")
    (root / "state/secrets/cookie").chmod(0o600)
    (root / "state/prometheus/chunk").write_text("figures")
    with closing(sqlite3.connect(root / "state/hub.sqlite")) as database, database:
        database.execute("PRAGMA journal_mode=wal")
        database.execute("CREATE TABLE users (name)")
        database.execute("INSERT INTO users VALUES ('ada')")
    return root


def names(archive: Path) -> list[str]:
    """What is in it."""
    with tarfile.open(archive) as opened:
        return opened.getnames()


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_everything_is_back_as_it_was(data: Path, tmp_path: Path, ending: str) -> None:
    archive, target = tmp_path / f"box.{ending}", tmp_path / "elsewhere"
    with closing(sqlite3.connect(data / "state/hub.sqlite")) as hub:
        hub.execute("INSERT INTO users VALUES ('half')")  # a transaction that the hub has not ended
        said = backup.save("box", data, archive, SCREEN)

    assert said.startswith(f"2 homes, datasets and state in {archive}, ")
    assert archive.stat().st_mode & 0o777 == 0o600
    note = backup.look(archive)
    assert (note.name, note.users, note.homes) == ("box", 2, True)
    backup.check_target("box", target, note)
    umask = os.umask(0o077)  # of a server that is kept strictly
    try:
        backup.restore(archive, note, target, SCREEN)
    finally:
        os.umask(umask)
    for folder in (target, target / "homes", target / "data"):
        assert folder.stat().st_mode & 0o777 == 0o755

    assert (target / "homes/ada/résultat\n1.txt").read_text() == "0.94"
    assert (target / "homes/-rf").is_dir()
    assert (target / "data/glioma").readlink() == Path("/mnt/archive/glioma")
    home, secret = (target / "homes/ada").stat(), (target / "state/secrets/cookie").stat()
    assert (home.st_mode & 0o777, secret.st_mode & 0o777) == (0o700, 0o600)
    assert home.st_uid == (20_001 if ROOT else os.geteuid())
    with closing(sqlite3.connect(target / "state/hub.sqlite")) as database:
        assert database.execute("SELECT name FROM users").fetchall() == [("ada",)]
    assert sorted(path.name for path in target.iterdir()) == ["data", "homes", "state"]
    assert not (target / "state/prometheus").exists()
    assert not (target / "state/.queue.json.new").exists(), "it may be gone before tar comes to it"
    assert sorted(path.name for path in (data / "state").iterdir() if "sqlite" not in path.name) == [
        ".queue.json.new",
        "prometheus",
        "secrets",
    ]


def test_a_time_in_the_name_is_no_server(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    archive = Path("box-10:30.tar")
    backup.save("box", data, archive, SCREEN)
    backup.restore(archive, backup.look(archive), tmp_path / "elsewhere", SCREEN)
    assert (tmp_path / "elsewhere/homes/ada").is_dir()


def test_the_state_alone(data: Path, tmp_path: Path) -> None:
    archive = tmp_path / "box.tar"
    assert backup.save("box", data, archive, SCREEN, homes=False).startswith("the state without homes and datasets")
    assert not [name for name in names(archive) if name.startswith(("homes", "data"))]
    assert "state/hub.sqlite" in names(archive)
    target = tmp_path / "new"  # with homes that were never lost, on a disk of their own
    (target / "homes/ada").mkdir(parents=True)
    note = backup.look(archive)
    backup.check_target("box", target, note)
    backup.restore(archive, note, target, SCREEN)
    assert (target / "state/hub.sqlite").exists()


def test_one_that_fails_leaves_nothing(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    monkeypatch.setattr(backup, "archive_command", lambda *_: ["sh", "-c", "echo No space left on device; exit 2"])
    with pytest.raises(StepError, match=r"could not be written\. It said: No space left on device"):
        backup.save("box", data, tmp_path / "full/box.tar", SCREEN)
    assert list((tmp_path / "full").iterdir()) == []
    assert not list((data / "state").glob("backup-*"))


def test_what_is_removed_meanwhile_does_not_fail_it_and_what_cannot_be_read_does(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = backup._stage

    def late(root: Path, work: Path, note: backup.Note) -> None:
        stage(root, work, note)
        shutil.rmtree(root / "homes/-rf")

    def unmounted(root: Path, work: Path, note: backup.Note) -> None:
        stage(root, work, note)
        shutil.rmtree(root / "homes/ada")

    monkeypatch.setattr(backup, "_stage", late)
    backup.save("box", data, tmp_path / "box.tar", SCREEN)
    assert "homes/ada" in names(tmp_path / "box.tar")
    assert "homes/-rf" not in names(tmp_path / "box.tar")
    monkeypatch.setattr(backup, "_stage", unmounted)
    with pytest.raises(StepError, match=r"/homes is empty now; was its disk unmounted\?"):
        backup.save("box", data, tmp_path / "other.tar", SCREEN)
    assert not list(tmp_path.glob("*other.tar*"))

    bad = "tar: homes/ada: Cannot stat: No such file or directory\ntar: homes/bob/x: Cannot open: Input/output error\n"
    monkeypatch.setattr(backup, "_stage", stage)
    monkeypatch.setattr(backup, "archive_command", lambda *_: ["sh", "-c", f"printf '{bad}'; exit 2"])
    with pytest.raises(StepError, match=r"could not be written\. It said: tar: homes/bob/x: .* Input/output error"):
        backup.save("box", data, tmp_path / "next.tar", SCREEN)


def test_a_full_disk_is_told(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # of a `write`, which knows no name
    for error in (full, sqlite3.OperationalError("database or disk is full")):
        monkeypatch.setattr(backup, "_stage", Mock(side_effect=error))
        with pytest.raises(StepError, match=r"^(/.*box\.tar|The databases in .*) could not be .*: .*(full|space)"):
            backup.save("box", data, tmp_path / "box.tar", SCREEN)
    monkeypatch.undo()
    monkeypatch.setattr(backup.os, "fsync", Mock(side_effect=full))  # as of a server of files, which tells it late
    with pytest.raises(StepError, match=r"box\.tar could not be written: No space left"):
        backup.save("box", data, tmp_path / "box.tar", SCREEN)
    assert not list(tmp_path.glob("*box.tar*"))


def test_nobody_else_gets_the_archive_by_a_link_or_a_file_laid_out_for_it(data: Path, tmp_path: Path) -> None:
    open_to_all = tmp_path / "tmp"
    open_to_all.mkdir(mode=0o777)
    (tmp_path / "victim").write_text("precious")
    draft = open_to_all / ".box.tar.unfinished"
    draft.symlink_to(tmp_path / "victim")
    backup.save("box", data, open_to_all / "box.tar", SCREEN)
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (open_to_all / "box.tar").is_symlink()

    (open_to_all / ".next.tar.unfinished").touch()
    (open_to_all / ".next.tar.unfinished").chmod(0o666)
    backup.save("box", data, open_to_all / "next.tar", SCREEN)
    assert (open_to_all / "next.tar").stat().st_mode & 0o777 == 0o600


KILLED = """import os, sys, pathlib
from rich.console import Console
from sciencebox.host import backup, steps
backup._tar = lambda *_, **__: os.kill(os.getpid(), 9)
backup.save("box", *map(pathlib.Path, sys.argv[1:]), steps.Screen(Console(quiet=True)))
"""


def test_what_a_killed_one_left_is_removed_and_what_runs_is_left_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.StringIO()
    screen = Screen(Console(file=shown))
    (data / "state/backup-of-an-earlier-version").mkdir()
    ended = subprocess.run([sys.executable, "-c", KILLED, data, tmp_path / "killed.tar"], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (tmp_path / ".killed.tar.unfinished").exists()

    elsewhere = data / "state/backup-to-a-disk-that-is-read-only-now"
    elsewhere.mkdir()
    (elsewhere / backup.DRAFT).write_bytes(b"/proc/version")
    tar = backup._tar

    def while_it_runs(*how: Any, **more: Any) -> list[str]:
        monkeypatch.setattr(backup, "_tar", tar)
        backup.save("box", data, tmp_path / "state.tar", screen, homes=False)
        with pytest.raises(StepError, match="Another backup writes this archive; wait until it has ended"):
            backup.save("box", data, tmp_path / "box.tar", SCREEN)
        return tar(*how, **more)

    monkeypatch.setattr(backup, "_tar", while_it_runs)
    backup.save("box", data, tmp_path / "box.tar", screen)
    assert shown.getvalue().count("A backup was cut off before; what it left is removed") == 2
    assert not (tmp_path / ".killed.tar.unfinished").exists()
    assert not list((data / "state").glob("*backup-*"))
    assert "homes/ada" in names(tmp_path / "box.tar")
    assert "homes/ada" not in names(tmp_path / "state.tar")


def test_a_disk_that_is_not_mounted_is_not_backed_up_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "box/state/secrets").mkdir(parents=True)  # as the engine makes them when the server starts
    with pytest.raises(StepError, match=r"has no data of a deployment: .* or its disk is not mounted"):
        backup.save("box", tmp_path / "box", tmp_path / "box.tar", SCREEN)


def test_homes_whose_disk_is_not_mounted_are_not_backed_up_as_none(data: Path, tmp_path: Path) -> None:
    Uids(data / "state/identities.sqlite").of("ada")
    backup.save("box", data, tmp_path / "box.tar", SCREEN)
    shutil.rmtree(data / "homes")
    (data / "homes/lost+found").mkdir(parents=True)
    unmounted = (data / "homes").rename
    for where in (lambda: None, lambda: unmounted(data / "mounted"), lambda: (data / "homes").symlink_to("/mnt/none")):
        where()
        with pytest.raises(StepError, match=r"/homes has no home, though users are known\. Is its disk mounted\?"):
            backup.save("box", data, tmp_path / "next.tar", SCREEN)
    backup.save("box", data, tmp_path / "state.tar", SCREEN, homes=False)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("box.zip", r"should end in \.tar, \.tar\.gz, \.tar\.zst"),
        ("data/state/box.tar", "belongs onto another disk"),
        ("there.tar", "is there already"),
        ("no/where.tar", "There is no folder .*/no; is its disk mounted"),
    ],
)
def test_where_a_backup_cannot_go(data: Path, tmp_path: Path, target: str, told: str) -> None:
    (tmp_path / "there.tar").write_text("the last one")
    with pytest.raises(StepError, match=told):
        backup.save("box", data, tmp_path / target, SCREEN)
    assert (tmp_path / "there.tar").read_text() == "the last one"


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.tar"
    with tarfile.open(foreign, "w"):
        pass
    for archive in (foreign, tmp_path / "missing.tar"):
        with pytest.raises(StepError, match="is no backup that `make backup` wrote"):
            backup.look(archive)


def test_a_backup_of_a_later_version_is_refused(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def later(note: backup.Note) -> dict[str, Any]:
        return {**vars(note), "version": "99.0.0", "what_this_one_does_not_know": 1}

    with monkeypatch.context() as patched:
        patched.setattr(backup, "asdict", later)
        backup.save("box", data, tmp_path / "box.tar", SCREEN)
    with pytest.raises(StepError, match=r"made by version 99\.0\.0; update this checkout"):
        backup.look(tmp_path / "box.tar")


def test_other_data_is_never_overwritten(data: Path, tmp_path: Path) -> None:
    backup.save("box", data, tmp_path / "box.tar", SCREEN)
    note = backup.look(tmp_path / "box.tar")
    with pytest.raises(StepError, match=r"has data already \(state, homes, data\)"):
        backup.check_target("box", data, note)
    (tmp_path / "new/data/glioma").mkdir(parents=True)
    with pytest.raises(StepError, match=r"has data already \(data\)\. Move that away"):
        backup.check_target("box", tmp_path / "new", note)
    with pytest.raises(StepError, match="is of the deployment other, the settings are for box"):
        backup.check_target("box", tmp_path / "new", replace(note, name="other"))


def test_half_a_restore_is_not_deployed_and_can_be_done_again(data: Path, tmp_path: Path) -> None:
    archive, target = tmp_path / "box.tar", tmp_path / "new"
    backup.save("box", data, archive, SCREEN)
    whole = archive.read_bytes()
    note = backup.look(archive)
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StepError, match=r"could not be unpacked\. It said: tar: .*[Uu]nexpected"):
        backup.restore(archive, note, target, SCREEN)
    deployment = Deployment(Settings.model_validate({"data_root": str(target)}), tmp_path, {})
    with pytest.raises(StepError, match="run `make restore` again"):
        deployment.check_host(SCREEN)

    (target / "state").mkdir(exist_ok=True)
    (target / "state/hub.sqlite").touch()
    with pytest.raises(StepError, match=r"its data is not whole: run `make restore` again first"):
        backup.save("box", target, tmp_path / "half.tar", SCREEN)

    with pytest.raises(StepError, match=f"restore of the backup of {note.made} .* was interrupted: restore that one"):
        backup.check_target("box", target, replace(note, made="2020-01-01 00:00:00 UTC"))
    archive.write_bytes(whole)
    backup.check_target("box", target, note)
    with (target / backup.UNFINISHED).open() as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        with pytest.raises(StepError, match=r"Another restore to .*/new is at work; wait until it has ended"):
            backup.restore(archive, note, target, SCREEN)
    backup.check_target("box", target, note)
    backup.restore(archive, note, target, SCREEN)
    assert not backup.is_unfinished(target)

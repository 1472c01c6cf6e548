"""Backups: accounts, homes and datasets in one archive of tar, and the way back onto a server that has none."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import sciencebox
from sciencebox.host.command import run
from sciencebox.host.engine import numbers
from sciencebox.host.steps import StepError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sciencebox.host.steps import Screen

NOTE = "sciencebox-backup.json"
UNFINISHED = ".restore-unfinished"
WORK = "backup"
MEMBERS = "members"
DRAFT = "draft"
# By the end of the archive's name: what tar is told, and the program that it then needs.
COMPRESSION = {
    ".tar": ((), "tar"),
    ".tar.gz": (("--gzip",), "gzip"),
    ".tar.zst": (("--zstd",), "zstd"),
}
# Of the state: figures that Prometheus collects anew, what only means something while a command runs, and device nodes,
# which are another server's.
LEFT_OUT = frozenset({"prometheus", "deploy.lock", "nodes"})
FOLDERS = ("homes", "data")
TAR = ("tar", "--force-local")  # a colon in an archive's name is part of a time, and of no server's address
TAR_SAW_CHANGES = 1  # a file was written to while it was read: a service that is up does that
TAR_FAILED = 2  # also where a home or a dataset was removed before tar came to it, which may be after hours
GONE = re.compile(r"^tar: (.*): Cannot stat: No such file or directory$")
WITHOUT_LOSS = re.compile(
    r"(written|read)$|: (File|file) (removed|changed|shrank) |: socket ignored$"
    r"|^tar: Exiting with failure status due to previous errors$"
)
SHOW_EVERY = 2_000  # records of 10 KiB


@dataclass(frozen=True)
class Note:
    """What an archive says of itself."""

    name: str
    """The deployment's."""
    version: str
    """Of the software that made it."""
    made: str
    """When, in UTC."""
    users: int
    """Homes in it."""
    homes: bool
    """Whether homes and datasets are in it, or the state alone."""


def save(name: str, root: Path, target: Path, screen: Screen, *, homes: bool = True) -> str:
    """Write the data in `root` of the deployment `name` to the archive `target`, while the service goes on.

    A home that is in the archive has its owner there: homes are listed before the databases are copied. Raises
    StepError; then there is no archive.
    """
    compression = _compression(target)
    if not any((root / "state").glob("*.sqlite")):
        raise StepError(f"{root} has no data of a deployment: it has not run yet, or its disk is not mounted.")
    if is_unfinished(root):
        raise StepError(f"A restore to {root} was interrupted; its data is not whole: run `make restore` again first.")
    if not target.parent.is_dir():
        raise StepError(f"There is no folder {target.parent}; is its disk mounted?")
    if target.exists():
        raise StepError(f"{target} is there already; choose another name.")
    if target.resolve().is_relative_to(root.resolve()):
        raise StepError(f"{target} is in {root} itself; a backup belongs onto another disk.")
    if homes and are_lost(root):
        advice = "Is its disk mounted? With ARGS=--state-only homes and datasets are left out."
        raise StepError(f"{root / 'homes'} has no home, though users are known. {advice}")
    draft = target.with_name(f".{target.name}.unfinished")
    try:
        with _workplace(root / "state", draft) as work:
            _look_at_others(work, draft, screen)
            members = _members(root, homes=homes)
            users = sum(member.startswith("homes/") for member in members)
            made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
            (work / MEMBERS).write_bytes(b"\0".join(map(os.fsencode, members)))
            _stage(root, work, Note(name, sciencebox.__version__, made, users, homes))
            with _becoming(target, draft):
                command, failure = archive_command(root, work, draft, compression), f"{target} could not be written."
                if gone := _tar(command, failure, screen, accepted=(0, TAR_SAW_CHANGES, TAR_FAILED)):
                    _see_that_disks_are_there(root, members)
                    screen.warn(f"Removed before it was read: {', '.join(gone)}.")
    except OSError as error:  # a full disk has no file's name
        raise StepError(f"{error.filename or target} could not be written: {error.strerror}.") from error
    except sqlite3.Error as error:
        raise StepError(f"The databases in {root}/state could not be copied: {error}.") from error
    what = f"{_homes(users)}, datasets and state" if homes else "the state without homes and datasets"
    return f"{what} in {target}, {_size(target.stat().st_size)}"


def are_lost(root: Path) -> bool:
    """Whether none of the users has a home, though some are known: as where the disk of homes is not mounted."""
    try:
        where = (root / "state/identities.sqlite").absolute().as_uri()
        with closing(sqlite3.connect(f"{where}?mode=ro", uri=True)) as database:
            names = [name for (name,) in database.execute("SELECT name FROM identity")]
    except sqlite3.Error:  # nobody has had a session yet
        return False
    return bool(names) and not any((root / "homes" / name).is_dir() for name in names)


def look(archive: Path) -> Note:
    """What the archive says of itself. Raises StepError where it is none of ours, or of a later version."""
    command = [*TAR, "--extract", "--to-stdout", "--occurrence=1", f"--file={archive}", *_compression(archive), NOTE]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    try:
        told = json.loads(done.stdout)
        if numbers(told["version"]) > numbers(sciencebox.__version__):
            raise StepError(f"{archive} was made by version {told['version']}; update this checkout to it first.")
        return Note(**told)
    except (ValueError, TypeError, KeyError) as error:
        said = f": {done.stderr.strip().splitlines()[0]}" if done.stderr.strip() else ""
        raise StepError(f"{archive} is no backup that `make backup` wrote{said}.") from error


def check_target(name: str, root: Path, note: Note) -> None:
    """See that restoring loses nothing. Raises StepError with what to do."""
    if note.name != name:
        raise StepError(f"The backup is of the deployment {note.name}, the settings are for {name}; set `name`.")
    if is_unfinished(root):
        begun = (root / UNFINISHED).read_text(encoding="utf-8")
        if begun != note.made:  # of two backups nobody knows what is what, nor where a link of the one leads the other
            advice = f"restore that one, or remove {root} first"
            raise StepError(f"A restore of the backup of {begun} to {root} was interrupted: {advice}.")
        return
    written = ("state", *FOLDERS) if note.homes else ("state",)
    taken = [folder for folder in written if any(_children(root / folder))]
    if taken:
        advice = "Move that away, or restore to another `data_root`."
        raise StepError(f"{root} has data already ({', '.join(taken)}). {advice}")


def restore(archive: Path, note: Note, root: Path, screen: Screen) -> str:
    """Unpack the archive to `root`. Until that has ended well, no deployment takes the data for whole."""
    try:
        # Not in the archive, and made by tar they would be nobody else's where root's umask is strict.
        for folder in (root, *((root / name for name in FOLDERS) if note.homes else ())):
            if not folder.exists():
                folder.mkdir(parents=True)
                folder.chmod(0o755)
        mark = (root / UNFINISHED).open("a", encoding="utf-8")
    except OSError as error:
        what = error.filename or root
        raise StepError(f"{what} could not be made: {error.strerror}; see `data_root`.") from error
    with mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StepError(f"Another restore to {root} is at work; wait until it has ended.") from None
        mark.truncate(0)
        mark.write(note.made)
        mark.flush()
        _tar(unpack_command(archive, root, _compression(archive)), f"{archive} could not be unpacked.", screen)
        (root / NOTE).unlink(missing_ok=True)
        (root / UNFINISHED).unlink()
    return f"{_homes(note.users)} as of {note.made}" if note.homes else f"the state as of {note.made}, without homes"


def is_unfinished(root: Path) -> bool:
    """Whether a restore to `root` was interrupted."""
    return (root / UNFINISHED).exists()


def archive_command(root: Path, work: Path, target: Path, compression: Sequence[str]) -> list[str]:
    """Tar for the members that are listed in `work`, after what was staged there. Pure."""
    return [
        *TAR,
        "--create",
        *compression,
        f"--file={target}",
        "--numeric-owner",
        "--sparse",
        "--xattrs",
        "--acls",
        *_shown("written"),
        f"--directory={work}",
        NOTE,
        "state",
        f"--directory={root}",
        "--null",
        "--verbatim-files-from",
        f"--files-from={work / MEMBERS}",
    ]


def unpack_command(archive: Path, root: Path, compression: Sequence[str]) -> list[str]:
    """Tar, which gives everything its owner and mode back. A folder that is a link to another disk stays one. Pure."""
    return [
        *TAR,
        "--extract",
        *compression,
        f"--file={archive}",
        f"--directory={root}",
        "--numeric-owner",
        "--same-owner",
        "--preserve-permissions",
        "--keep-directory-symlink",
        "--xattrs",
        "--acls",
        *_shown("read"),
    ]


def _shown(what: str) -> list[str]:
    return [f"--checkpoint={SHOW_EVERY}", f"--checkpoint-action=echo=%{{}}T {what}"]


def _compression(archive: Path) -> Sequence[str]:
    ending = next((ending for ending in COMPRESSION if archive.name.endswith(ending)), None)
    if ending is None:
        raise StepError(f"{archive} should end in {', '.join(COMPRESSION)}: the name tells how it is compressed.")
    told, program = COMPRESSION[ending]
    if shutil.which(program) is None:
        raise StepError(f"{ending} needs the program {program}: apt-get install {program}.")
    return told


def _tar(command: Sequence[str], failure: str, screen: Screen, accepted: Collection[int] = (0,)) -> list[str]:
    """Run tar; what was gone when it came there. Raises StepError with the first of anything else that it says."""
    gone, bad = list[str](), list[str]()

    def judge(line: str) -> None:
        if found := GONE.match(line):
            gone.append(found[1])
        elif not WITHOUT_LOSS.search(line):
            bad.append(line)

    status = run(command, screen, env={**os.environ, "LC_ALL": "C"}, accepted=None, each=judge)
    if status not in accepted or (status == TAR_FAILED and bad):
        said = f" It said: {bad[0]}" if bad else ""
        raise StepError(f"{failure}{said}", "\n".join(bad[:15]))
    return gone


@contextmanager
def _workplace(state: Path, draft: Path) -> Iterator[Path]:
    """A folder for what is put together for `draft`. The lock in it ends with this process, however it ends."""
    hidden = Path(mkdtemp(prefix=f".{WORK}-", suffix=".new", dir=state))
    try:
        with (hidden / DRAFT).open("wb") as lock:
            lock.write(os.fsencode(draft))
            lock.flush()
            fcntl.flock(lock, fcntl.LOCK_EX)
            work = hidden.rename(state / hidden.name.removeprefix(".").removesuffix(".new"))
            try:
                yield work
            finally:
                work.rename(hidden)  # as long as the lock lasts: half removed, another would take it for abandoned
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


@contextmanager
def _becoming(target: Path, draft: Path) -> Iterator[None]:
    """Have an empty `draft` that its owner alone can read, which becomes `target` when it is whole and on the disk."""
    draft.unlink(missing_ok=True)  # left by one who was cut off, or laid out for us in a folder of everybody's
    opened = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        yield
        os.fsync(opened)
        draft.rename(target)
    finally:
        os.close(opened)
        draft.unlink(missing_ok=True)


def _look_at_others(work: Path, draft: Path, screen: Screen) -> None:
    """Remove what backups that were killed have left. Raises StepError where one writes to `draft` at this moment."""
    for other in sorted(work.parent.glob(f"{WORK}-*")):
        if other == work:
            continue
        theirs = None
        with suppress(FileNotFoundError), (other / DRAFT).open("rb") as lock:
            theirs = Path(os.fsdecode(lock.read()))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if theirs == draft:
                    raise StepError("Another backup writes this archive; wait until it has ended.") from None
                continue
        if not other.exists():  # it has ended just now
            continue
        shutil.rmtree(other, ignore_errors=True)
        if theirs:
            with suppress(OSError):  # its disk may be read-only now
                theirs.unlink(missing_ok=True)
        screen.warn(f"A backup was cut off before; what it left is removed{f', with {theirs}' if theirs else ''}.")


def _see_that_disks_are_there(root: Path, members: Sequence[str]) -> None:
    """Nobody removes all homes, or all datasets, while they are backed up; a disk may be unmounted."""
    for folder in FOLDERS:
        if any(member.startswith(f"{folder}/") for member in members) and not _children(root / folder):
            raise StepError(f"{root / folder} is empty now; was its disk unmounted?")


def _members(root: Path, *, homes: bool) -> list[str]:
    """What goes into the archive from where it lies; databases do not, for they change while they are read."""
    found = [f"state/{name}" for name in _children(root / "state") if not _is_passing(name)]
    if homes:
        found += [f"{folder}/{name}" for folder in FOLDERS for name in _children(root / folder)]
    return found


def _is_passing(name: str) -> bool:
    """Whether something in the state is copied in another way, or is gone soon: tar fails for what it does not find."""
    of_a_moment = name.startswith(f"{WORK}-") or (name.startswith(".") and name.endswith(".new"))
    return of_a_moment or name in LEFT_OUT or ".sqlite" in name


def _stage(root: Path, work: Path, note: Note) -> None:
    """Write the note, and a copy of each database as of one moment, to `work`."""
    (work / NOTE).write_text(json.dumps(asdict(note)), encoding="utf-8")
    staged = work / "state"
    staged.mkdir(mode=0o700)
    for database in sorted((root / "state").glob("*.sqlite")):
        copy = staged / database.name
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        there = database.stat()
        copy.chmod(there.st_mode & 0o777)
        os.chown(copy, there.st_uid, there.st_gid)


def _children(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _homes(count: int) -> str:
    return "1 home" if count == 1 else f"{count} homes"


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"

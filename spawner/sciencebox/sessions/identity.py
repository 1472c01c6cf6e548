"""Who a user is inside a session: a uid of their own, a home folder, and a passwd file that names both.

A uid is allocated once and never given to anyone else, also after the user was deleted, so that files keep their owner.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sciencebox.files import write_if_changed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FIRST_UID = 20_000
_TABLE = "CREATE TABLE IF NOT EXISTS identity (name TEXT PRIMARY KEY, uid INTEGER NOT NULL UNIQUE)"
_ALLOCATE = """
INSERT INTO identity (name, uid)
SELECT :name,
    CASE WHEN :wanted IS NULL OR EXISTS (SELECT 1 FROM identity WHERE uid = :wanted)
        THEN COALESCE(MAX(uid) + 1, :first) ELSE :wanted END
FROM identity WHERE true
ON CONFLICT (name) DO NOTHING
"""


class IdentityError(RuntimeError):
    """A user's identity or home cannot be prepared; the message is for the operator."""


@dataclass(frozen=True)
class Identity:
    """A user as the session's container sees them. `home` is the folder on the server."""

    name: str  # safe as a file name and as a login name
    uid: int
    home: Path
    passwd: Path
    group: Path

    @property
    def home_in_session(self) -> str:
        """Where the home lies inside the container."""
        return f"/home/{self.name}"


class Uids:
    """The table of users and their uids, in a file."""

    def __init__(self, file: Path) -> None:
        """Nothing is read before it is asked."""
        self._file = file

    def of(self, name: str, wanted: int | None = None) -> int:
        """A user's uid; somebody new gets the next one, or the `wanted` one if nobody ever had it.

        Blocking; may be called any number of times. Raises IdentityError.
        """
        return self.note({name: wanted})[name]

    def note(self, wanted: Mapping[str, int | None]) -> dict[str, int]:
        """The same for many."""
        asked = [{"name": name, "first": FIRST_UID, "wanted": uid} for name, uid in wanted.items()]
        try:
            with closing(sqlite3.connect(self._file, timeout=10)) as database, database:
                database.execute(_TABLE)
                database.executemany(_ALLOCATE, asked)
                known = dict(database.execute("SELECT name, uid FROM identity"))
        except sqlite3.Error as error:
            raise IdentityError(f"uids cannot be read in {self._file}: {error}") from error
        return {name: int(known[name]) for name in wanted}


class Identities:
    """Users with their uids, and the folders that belong to them."""

    def __init__(self, homes: Path, state: Path) -> None:
        self._homes = homes
        self._state = state
        self._uids = Uids(state / "identities.sqlite")

    def prepare(self, name: str) -> Identity:
        """Allocate the uid at the first call; make the home and the passwd file if they are missing.

        Blocking; may be called any number of times. Raises IdentityError with the path that could not be made.
        """
        try:
            uid = self._uids.of(name)
            folder = self._state / "identities" / name
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            identity = Identity(name, uid, self._homes / name, folder / "passwd", folder / "group")
            write_if_changed(identity.passwd, passwd(name, uid, identity.home_in_session), mode=0o644)
            write_if_changed(identity.group, f"root:x:0:\n{name}:x:{uid}:\n", mode=0o644)
            self._make_home(identity)
        except (OSError, IdentityError) as error:
            raise IdentityError(f"the home of {name} under {self._homes} cannot be prepared: {error}") from error
        return identity

    def _make_home(self, identity: Identity) -> None:
        home = identity.home
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if home.is_symlink():  # whoever made it would have us bind, and give away, another folder
            raise OSError(f"{home} is a link")
        status = home.lstat()
        if status.st_uid != identity.uid:
            if any(home.iterdir()):
                raise OSError(f"{home} has files and belongs to uid {status.st_uid}, not to {identity.uid}")
            os.chown(home, identity.uid, identity.uid, follow_symlinks=False)


def passwd(name: str, uid: int, home: str) -> str:
    """The text of a session's /etc/passwd: programs ask it for the user's name, and some, such as Java, insist."""
    return f"root:x:0:0:root:/root:/usr/sbin/nologin\n{name}:x:{uid}:{uid}::{home}:/bin/bash\n"

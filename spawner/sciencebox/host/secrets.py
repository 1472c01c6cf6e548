"""Secrets of a deployment: generated once, readable by root only, never printed except the one-time passwords."""

from __future__ import annotations

import json
import secrets
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sciencebox.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Without letters and digits that are taken for one another when they are typed from paper.
_LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


TOKENS = ("cookie_secret", "proxy_token", "service_token", "metrics_token")


@dataclass(frozen=True)
class Secrets:
    """The folder of a deployment's secrets."""

    folder: Path

    @property
    def first_password(self) -> str | None:
        """The administrator's one-time password, until it was changed."""
        path = self.folder / "first_password"
        return path.read_text(encoding="utf-8").strip() if path.exists() else None

    @property
    def demo_passwords(self) -> Mapping[str, str]:
        """Passwords of the demonstration accounts, by name."""
        path = self.folder / "demo_passwords.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def provide(self, demo_users: Sequence[str], *, accounts_exist: bool) -> list[str]:
        """Generate what is missing, and name it. With `accounts_exist` the administrator has a password already."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        wanted = {name: secrets.token_hex(32) for name in TOKENS}
        if not accounts_exist:
            wanted["first_password"] = password()
        missing = [name for name in wanted if not (self.folder / name).exists()]
        for name in missing:
            write_whole(self.folder / name, wanted[name] + "\n")
        return missing + self._provide_demo_passwords(demo_users)

    def keep(self, name: str, source: Path | None) -> None:
        """A secret of the site's, from a file of the administrator's; without one none is kept. Raises OSError."""
        kept = self.folder / name
        if source is None:
            kept.unlink(missing_ok=True)
            return
        content = source.read_text(encoding="utf-8", errors="replace").strip() + "\n"
        if not kept.exists() or kept.read_text(encoding="utf-8") != content:
            write_whole(kept, content)

    def age(self, name: str) -> str:
        """Changes when a secret does, and tells nothing of it."""
        kept = self.folder / name
        return str(kept.stat().st_mtime_ns) if kept.exists() else ""

    def _provide_demo_passwords(self, users: Sequence[str]) -> list[str]:
        known = dict(self.demo_passwords)
        added = [user for user in users if user not in known]
        if added:
            known |= {user: password() for user in added}
            write_whole(self.folder / "demo_passwords.json", json.dumps(known, indent=2) + "\n")
        return [f"password of {user}" for user in added]


def password() -> str:
    """A password that can be typed: four groups of four, 93 bits."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(4))


def has_account(database: Path, name: str) -> bool:
    """Whether the hub's database has an account of this name; one that cannot be read is taken to have it."""
    if not database.exists():
        return False
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'users_info'").fetchone()
            if not there:  # the site's directory knew everybody until now
                return False
            return connection.execute("SELECT 1 FROM users_info WHERE username = ?", (name,)).fetchone() is not None
    except sqlite3.Error:
        return True

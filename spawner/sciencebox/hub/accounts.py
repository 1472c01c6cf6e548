"""Accounts that the hub itself keeps, and the one-time password that the administrator must replace.

The deployment writes the first administrator's password to `secrets/first_password`. The hub makes the account, sends
whoever signs in with it to the page that changes it, and removes the file once that is done.
"""

from __future__ import annotations

import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import bcrypt
from jupyterhub import orm
from nativeauthenticator import NativeAuthenticator
from nativeauthenticator.orm import UserInfo
from tornado.web import HTTPError
from traitlets import Unicode

from sciencebox.hub import account_pages

NAME = re.compile(r"[^\W_][\w.@+-]{0,63}")
MOST_WAITING = 200  # accounts; anybody can ask for one
LONGEST_PASSWORD = 72  # bytes, which is all that bcrypt looks at


class ScienceBoxAuthenticator(NativeAuthenticator):
    """NativeAuthenticator with accounts made by the deployment, and pages of our own.

    Passwords are hashed in threads: that is meant to take long, and the hub answers others meanwhile.
    """

    administrator = Unicode("admin", config=True, help="Name of the first administrator.")
    first_password_file = Unicode(
        "", config=True, help="File with the administrator's one-time password; removed when it was changed."
    )
    demo_passwords_file = Unicode("", config=True, help="JSON file, name to password, of demonstration accounts.")

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._threads = ThreadPoolExecutor(2, "passwords")

    def make_first_accounts(self) -> None:
        """Make the accounts that the deployment asks for and that are not there yet."""
        first = self._first_password()
        if first and not self.user_exists(self.administrator):
            self._take_back(first)
            self._add(self.administrator, _hash(first), approved=True)
        if self.demo_passwords_file and Path(self.demo_passwords_file).exists():
            passwords = json.loads(Path(self.demo_passwords_file).read_text(encoding="utf-8"))
            for name, password in passwords.items():
                self._add(name, _hash(password), approved=True)

    def must_change_password(self, name: str) -> bool:
        """Whether this account still has the password that `make deploy` printed."""
        first = self._first_password()
        info = self.get_user(name) if first and name == self.administrator else None
        return info is not None and _is_first(first, info.password)

    async def authenticate(self, _handler: Any, data: dict[str, str]) -> str | None:
        """The name of whoever has this password. Raises 403 for one whose account is not approved."""
        info = await self.find(data["username"], data["password"])
        if info and not info.is_authorized:
            raise HTTPError(403, "The administrator has not approved your account yet.")
        return info and str(info.username)

    async def find(self, name: str, password: str) -> UserInfo | None:
        """The account with this name and password; none for a while after too many wrong ones."""
        info = self.get_user(name)
        if info is None or self.is_blocked(info.username):
            return None
        self.add_login_attempt(info.username)  # before the answer: who asks many times at once has no more tries
        if not await self._in_thread(_matches, password, info.password):
            return None
        self.successful_login(info.username)
        return info

    async def refresh_user(self, user: Any, _handler: Any = None, **_more: Any) -> bool:
        """Whether somebody who is signed in still may be: not once the approval was withdrawn."""
        info = self.get_user(user.name)
        return info is None or bool(info.is_authorized)  # without an account, an administrator made a user for programs

    def pre_spawn_start(self, user: Any, spawner: Any) -> Any:
        """No session for a one-time password, whichever way it is asked for."""
        if self.must_change_password(user.name):
            raise HTTPError(403, "Sign in and change your one-time password first.")
        return super().pre_spawn_start(user, spawner)

    def fault_of_name(self, name: str) -> str:
        """Why nobody can ask for an account of this name, in a sentence; empty where one can.

        Not by an administrator's name, although there may be no such account yet.
        """
        if not NAME.fullmatch(name):
            return "A user name has up to 64 letters, digits and . _ - @ +, the first a letter or a digit."
        if self.get_user(name) or self.normalize_username(name) in self.admin_users:
            return "This user name is in use already; choose another one."
        if self.db.query(UserInfo).filter(UserInfo.is_authorized.is_(False)).count() >= MOST_WAITING:
            return "Too many people wait for approval already; tell the administrator."
        return ""

    def fault_of_password(self, name: str, password: str, again: str) -> str:
        """Why this cannot be somebody's new password, in a sentence; empty where it can."""
        if password != again:
            return "The two passwords are not the same; type them again."
        if len(password) < self.minimum_password_length:
            return f"A password has at least {self.minimum_password_length} characters."
        if len(password.encode()) > LONGEST_PASSWORD:
            return f"A password has at most {LONGEST_PASSWORD} characters, fewer with accents; choose a shorter one."
        if self.is_password_common(password):
            return "This password is too common: it is among those that are tried first. Choose another one."
        if name == self.administrator and password == self._first_password():
            return "The one-time password cannot stay; choose another one."
        return ""

    async def ask(self, name: str, password: str) -> None:
        """An account that waits for approval."""
        self._add(name, await self._in_thread(_hash, password), approved=self.open_signup)

    async def set_password(self, name: str, password: str) -> None:
        """Set it, and sign the user out everywhere."""
        digest = await self._in_thread(_hash, password)
        if info := self.get_user(name):
            info.password = digest
        if user := orm.User.find(self.db, name):
            user.cookie_id = orm.new_token()
        self.db.commit()
        if name == self.administrator:
            self._forget_first_password()

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        """The pages of accounts."""
        return account_pages.HANDLERS

    async def _in_thread(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def _first_password(self) -> str:
        path = Path(self.first_password_file) if self.first_password_file else None
        return path.read_text(encoding="utf-8").strip() if path and path.exists() else ""

    def _forget_first_password(self) -> None:
        with suppress(OSError):  # a secret that a cluster mounts stays; it opens nothing any more
            if self.first_password_file:
                Path(self.first_password_file).unlink(missing_ok=True)

    def _take_back(self, first: str) -> None:
        """The account of an administrator who never signed in, and whom the settings call otherwise now."""
        for info in self.db.query(UserInfo).all():
            if _matches(first, info.password):
                if user := orm.User.find(self.db, info.username):
                    user.admin = False
                self.db.delete(info)

    def _add(self, name: str, digest: bytes, *, approved: bool) -> None:
        if self.user_exists(name):
            return
        self.db.add(UserInfo(username=self.normalize_username(name), password=digest, is_authorized=approved))
        self.db.commit()


def _hash(password: str) -> bytes:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt())


def _matches(password: str, digest: bytes) -> bool:
    given = password.encode()
    return len(given) <= LONGEST_PASSWORD and bcrypt.checkpw(given, digest)


# Asked at each visit of the form; the answer changes only with the password.
_is_first = lru_cache(maxsize=1)(_matches)

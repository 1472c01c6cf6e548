"""Accounts that exist from the first start, and the one-time password that the administrator must replace.

The deployment writes the first administrator's password to `secrets/first_password`. The hub makes the account, sends
whoever signs in with it to the page that changes it, and removes the file once that is done.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import bcrypt
from jupyterhub.utils import url_path_join
from nativeauthenticator import NativeAuthenticator
from nativeauthenticator.handlers import (
    ChangePasswordHandler,
    DiscardHandler,
    LoginHandler,
    ToggleAuthorizationHandler,
)
from nativeauthenticator.orm import UserInfo
from tornado.escape import url_escape
from tornado.httputil import url_concat
from tornado.web import HTTPError
from traitlets import Unicode


class SignInHandler(LoginHandler):
    """The sign-in page. A one-time password leads to its change before anything else.

    NativeAuthenticator's own handler counts on parts of JupyterHub that version 6 has no more.
    """

    def get_next_url(self, user: Any = None, default: str | None = None) -> str:
        """Where a user goes after signing in."""
        if user is not None and self.authenticator.must_change_password(user.name):
            return url_path_join(self.hub.base_url, "change-password")
        return super().get_next_url(user, default)

    async def post(self) -> None:
        """Sign in, or show the page again with the reason why not."""
        given = {name: self.get_argument(name, strip=False) for name in self.request.arguments}
        data = {"username": "", "password": "", **given}
        user = await self.login_user(data)
        if user:
            self._jupyterhub_user = user
            self.redirect(self.get_next_url(user))
            return
        name = data["username"]
        self.set_status(403)
        self.finish(await self._render(login_error=self._why_not(name, data["password"]), username=name))

    def _why_not(self, name: str, password: str) -> str:
        info = self.authenticator.get_user(name)
        if info is not None and info.is_valid_password(password) and not info.is_authorized:
            return "The administrator has not approved your account yet."
        return "Invalid user name or password."

    def _render(self, login_error: str | None = None, username: str | None = None, **options: Any) -> Any:
        """The page; `options` are those of JupyterHub's own handler, which shows errors by it."""
        next_url = self.get_argument("next", default="")
        return self.render_template(
            "native-login.html",
            next=url_escape(next_url),
            username=username,
            login_error=login_error,
            custom_html=self.authenticator.custom_html,
            login_url=self.settings["login_url"],
            enable_signup=self.authenticator.enable_signup,
            two_factor_auth=self.authenticator.allow_2fa,
            authenticator_login_url=url_concat(self.authenticator.login_url(self.hub.base_url), {"next": next_url}),
            **{name: value for name, value in options.items() if name == "sync"},
        )


class ApproveHandler(ToggleAuthorizationHandler):
    """Approving an account, or withdrawing that: by a form alone, for anybody could send an administrator a link."""

    def get(self, _slug: str) -> None:
        """Not by a link."""
        raise HTTPError(405)

    async def post(self, slug: str) -> None:
        """By the button of the accounts page."""
        await super().get(slug)
        self.log.info("%s changed the approval of the account %s", self.current_user.name, slug)


class RefuseHandler(DiscardHandler):
    """Discarding an account that waits for approval; by a form alone, too."""

    def get(self, _user_name: str) -> None:
        """Not by a link."""
        raise HTTPError(405)

    async def post(self, user_name: str) -> None:
        """By the button of the accounts page."""
        await super().get(user_name)
        self.log.info("%s discarded the account %s", self.current_user.name, user_name)


class OwnPasswordHandler(ChangePasswordHandler):
    """Changing one's password; who has a one-time password is told why this page comes first."""

    def render_template(self, name: str, **context: Any) -> Any:
        """The page."""
        user = self.current_user
        first = bool(user) and self.authenticator.must_change_password(user.name)
        return super().render_template(name, one_time=first, **context)


_OURS = {
    ChangePasswordHandler: OwnPasswordHandler,
    LoginHandler: SignInHandler,
    ToggleAuthorizationHandler: ApproveHandler,
    DiscardHandler: RefuseHandler,
}


class ScienceBoxAuthenticator(NativeAuthenticator):
    """NativeAuthenticator with accounts made by the deployment."""

    administrator = Unicode("admin", config=True, help="Name of the first administrator.")
    first_password_file = Unicode(
        "", config=True, help="File with the administrator's one-time password; removed when it was changed."
    )
    demo_passwords_file = Unicode("", config=True, help="JSON file, name to password, of demonstration accounts.")

    def make_first_accounts(self) -> None:
        """Make the accounts that the deployment asks for and that are not there yet."""
        first = self._first_password()
        if first:
            self._add(self.administrator, first)
        if self.demo_passwords_file and Path(self.demo_passwords_file).exists():
            passwords = json.loads(Path(self.demo_passwords_file).read_text(encoding="utf-8"))
            for name, password in passwords.items():
                self._add(name, password)

    def must_change_password(self, name: str) -> bool:
        """Whether this account still has the password that `make deploy` printed."""
        first = self._first_password()
        info = self.get_user(name) if first and name == self.administrator else None
        return bool(info and info.is_valid_password(first))

    def create_user(self, username: str, password: str, **kwargs: Any) -> UserInfo | None:
        """An account for somebody who asks for it.

        Not by an administrator's name: NativeAuthenticator would approve that at once, whoever asks first.
        """
        if self.normalize_username(username) in self.admin_users:
            return None
        return super().create_user(username, password, **kwargs)

    def pre_spawn_start(self, user: Any, spawner: Any) -> Any:
        """No session for a one-time password, whichever way it is asked for."""
        if self.must_change_password(user.name):
            raise HTTPError(403, "Sign in and change your one-time password first.")
        return super().pre_spawn_start(user, spawner)

    def change_password(self, username: str, new_password: str) -> bool | None:
        """Change a password; the one-time password itself is not accepted as the new one."""
        if username == self.administrator and new_password == self._first_password():
            return None
        changed: bool | None = super().change_password(username, new_password)
        if changed and username == self.administrator and self.first_password_file:
            with suppress(OSError):  # a secret that a cluster mounts stays; it opens nothing any more
                Path(self.first_password_file).unlink(missing_ok=True)
        return changed

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        """NativeAuthenticator's pages, with ours in the place of some."""
        return [(path, _OURS.get(handler, handler)) for path, handler in super().get_handlers(app)]

    def _first_password(self) -> str:
        path = Path(self.first_password_file) if self.first_password_file else None
        return path.read_text(encoding="utf-8").strip() if path and path.exists() else ""

    def _add(self, name: str, password: str) -> None:
        if self.user_exists(name):
            return
        digest = bcrypt.hashpw(password.encode(), bcrypt.gensalt())
        self.db.add(UserInfo(username=self.normalize_username(name), password=digest, is_authorized=True))
        self.db.commit()

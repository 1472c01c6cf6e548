"""The pages of the hub's own accounts: signing in, asking for an account, passwords, and who may come in."""

from __future__ import annotations

from typing import Any

from jupyterhub.handlers.base import BaseHandler
from jupyterhub.handlers.login import LoginHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import url_path_join
from nativeauthenticator.orm import UserInfo
from tornado.web import HTTPError, authenticated

_accounts_scope = needs_scope("admin:users")


class SignInHandler(LoginHandler):
    """The sign-in page. A one-time password leads to its change before anything else."""

    def get_next_url(self, user: Any = None, default: str | None = None) -> str:
        """Where a user goes after signing in."""
        if user is not None and self.authenticator.must_change_password(user.name):
            return url_path_join(self.hub.base_url, "change-password")
        return str(super().get_next_url(user, default))

    async def post(self) -> None:
        """Sign in, or show the page again with the reason why not."""
        name = self.get_body_argument("username", "")
        user = await self.login_user(
            {"username": name, "password": self.get_body_argument("password", "", strip=False)}
        )
        if user:
            self._jupyterhub_user = user
            self.redirect(self.get_next_url(user))
            return
        self.set_status(403)
        self.finish(await self._render(login_error="Invalid user name or password.", username=name))


class SignUpHandler(BaseHandler):
    """Asking for an account."""

    async def get(self) -> None:
        """The form."""
        await self._show()

    async def post(self) -> None:
        """Ask; or show the form again with what is wrong."""
        accounts, name = self.authenticator, self.get_body_argument("username", "")
        password, again = _passwords(self, "signup_password")
        fault = accounts.fault_of_name(name) or accounts.fault_of_password(name, password, again)
        if not fault and accounts.enable_signup:
            await accounts.ask(name, password)
        await self._show(username=name, fault=fault, asked=not fault)

    async def _show(self, **context: Any) -> None:
        if not self.authenticator.enable_signup:
            raise HTTPError(404)
        self.finish(await self.render_template("signup.html", open=self.authenticator.open_signup, **context))


class OwnPasswordHandler(BaseHandler):
    """Changing one's password; who has a one-time password is told why this page comes first."""

    @authenticated
    async def get(self) -> None:
        """The form."""
        await self._show()

    @authenticated
    async def post(self) -> None:
        """Change it. This browser stays signed in, and no other one."""
        accounts, user = self.authenticator, self.current_user
        new, again = _passwords(self, "new_password")
        fault = accounts.fault_of_password(user.name, new, again)
        if not fault and not await accounts.find(user.name, self.get_body_argument("old_password", "", strip=False)):
            fault = "The present password is not right. After five wrong ones, wait a minute."
        if not fault:
            await accounts.set_password(user.name, new)
            self.set_hub_cookie(user)
        await self._show(fault=fault, changed=not fault)

    async def _show(self, **context: Any) -> None:
        name = self.current_user.name
        if not self.authenticator.user_exists(name):
            raise HTTPError(404, "You have no password here.")
        one_time = self.authenticator.must_change_password(name)
        self.finish(await self.render_template("change-password.html", user_name=name, one_time=one_time, **context))


class PasswordHandler(BaseHandler):
    """An administrator sets somebody's password."""

    @_accounts_scope
    async def get(self, name: str) -> None:
        """The form."""
        await self._show(name)

    @_accounts_scope
    async def post(self, name: str) -> None:
        """Set it."""
        new, again = _passwords(self, "new_password")
        fault = self.authenticator.fault_of_password(name, new, again)
        if not fault:
            await self.authenticator.set_password(name, new)
            self.log.info("%s set the password of %s", self.current_user.name, name)
        await self._show(name, fault=fault, changed=not fault)

    async def _show(self, name: str, **context: Any) -> None:
        _account(self, name)
        self.finish(await self.render_template("change-password-admin.html", user_name=name, **context))


class AccountsHandler(BaseHandler):
    """Who has an account, and who asks for one."""

    @_accounts_scope
    async def get(self) -> None:
        """The page."""
        users = self.db.query(UserInfo).order_by(UserInfo.is_authorized, UserInfo.username).all()
        self.finish(await self.render_template("authorization-area.html", users=users))


class ApproveHandler(BaseHandler):
    """Approving an account, or withdrawing that: by a form alone, for anybody could send an administrator a link."""

    @_accounts_scope
    async def post(self, name: str) -> None:
        """By a button of the accounts page; without `approved=no` it approves. Pressing twice does the same."""
        account, approved = _account(self, name), self.get_body_argument("approved", "yes") == "yes"
        if not approved and name == self.current_user.name:
            raise HTTPError(409, "You cannot lock yourself out; another administrator can withdraw your approval.")
        account.is_authorized = approved
        self.db.commit()
        self.log.info("%s %s the account %s", self.current_user.name, "approved" if approved else "locked", name)
        self.redirect(url_path_join(self.hub.base_url, "authorize"))


class DiscardHandler(BaseHandler):
    """Discarding an account that waits for approval; by a form alone, too."""

    @_accounts_scope
    async def post(self, name: str) -> None:
        """By the button of the accounts page."""
        account, user = _account(self, name), self.find_user(name)
        if account.is_authorized:
            raise HTTPError(409, "The account is approved by now; withdraw that first.")
        if user and user.spawner.active:
            raise HTTPError(409, f"{name} has a running session; stop it first, under Administration.")
        self.db.delete(account)
        self.db.commit()
        if user:
            self.users.delete(user)
        self.log.info("%s discarded the account %s", self.current_user.name, name)
        self.redirect(url_path_join(self.hub.base_url, "authorize"))


HANDLERS = [
    (r"/login", SignInHandler),
    (r"/signup", SignUpHandler),
    (r"/change-password", OwnPasswordHandler),
    (r"/change-password/([^/]+)", PasswordHandler),
    (r"/authorize", AccountsHandler),
    (r"/authorize/([^/]+)", ApproveHandler),
    (r"/discard/([^/]+)", DiscardHandler),
]


def _passwords(handler: BaseHandler, field: str) -> tuple[str, str]:
    """A new password, typed twice."""
    first, second = (handler.get_body_argument(name, "", strip=False) for name in (field, f"{field}_confirmation"))
    return first, second


def _account(handler: BaseHandler, name: str) -> UserInfo:
    """Raises 404 where there is none, as when it was discarded meanwhile."""
    account = handler.authenticator.get_user(name)
    if account is None:
        raise HTTPError(404, "There is no such account; load the page Accounts anew.")
    return account

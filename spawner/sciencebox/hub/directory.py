"""Signing in with an account of the site: its single sign-on (OpenID Connect), or its directory (LDAP).

Who somebody is, in which groups, and whether an administrator, is the site's to say, at each sign-in.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import ldap3
from ldap3.core.exceptions import LDAPBindError, LDAPException
from ldap3.utils.conv import escape_filter_chars
from ldapauthenticator import LDAPAuthenticator
from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.oauth2 import OAuthLoginHandler
from tornado.httpclient import HTTPClientError
from tornado.web import HTTPError
from traitlets import Set, Unicode

if TYPE_CHECKING:
    from sciencebox.sections import Network

NOT_IN_A_GROUP = "You are not in a group that may use this service. Ask its administrator."
NO_ANSWER = "The site's directory cannot be asked at the moment. Try again later."
LONGEST_ANSWER_S = 20.0
ANSWER_S = 6  # for one question of several; whole seconds


class SignOnHandler(OAuthLoginHandler):
    """Sends a visitor to the provider."""

    async def get(self) -> None:
        """Where the provider is asked, it says itself."""
        await self.authenticator.discover()
        super().get()


class SingleSignOn(GenericOAuthenticator):
    """Accounts of an OpenID Connect provider.

    What the provider says of itself (OpenID Connect Discovery 1.0) is read at the first sign-in and not at the start:
    a service must come up without it.
    """

    login_handler = SignOnHandler
    issuer = Unicode(config=True, help="Address of the provider.")
    token_url: str  # of the parent, as the other two
    authorize_url: str
    userdata_url: str

    async def discover(self) -> None:
        """Learn the provider's addresses. Raises HTTPError where it does not tell."""
        if self.token_url:
            return
        try:
            told = await self.httpfetch(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration", label="asking")
            if told["issuer"].rstrip("/") != self.issuer.rstrip("/"):
                raise ValueError(f"it calls itself {told['issuer']}")
            found = [told[name] for name in ("authorization_endpoint", "userinfo_endpoint", "token_endpoint")]
        except (HTTPClientError, HTTPError, OSError, KeyError, TypeError, ValueError) as error:
            self.log.error("The provider %s does not tell how to sign in: %r", self.issuer, error)
            raise HTTPError(503, NO_ANSWER) from error
        self.authorize_url, self.userdata_url, self.token_url = found

    async def get_token_info(self, handler: Any, params: Any) -> Any:
        """Also for somebody whom the hub sent there before it was started again."""
        await self.discover()
        return await super().get_token_info(handler, params)

    async def update_auth_model(self, auth_model: dict[str, Any]) -> dict[str, Any]:
        """Who is no administrator any more is none: without an answer JupyterHub leaves that as it was."""
        return {**auth_model, "admin": bool(auth_model["admin"])}


def names(claim: object) -> list[str]:
    """The groups of a claim: a list of names, or one name, as ADFS tells it of who is in one group alone."""
    told = [claim] if isinstance(claim, str) else claim
    return [name for name in told if isinstance(name, str)] if isinstance(told, list) else []


def by_way_of(network: Network) -> dict[str, Any]:
    """How the provider is reached: through the site's proxy, if there is one; trusting whom this system trusts."""

    def prepare(curl: Any) -> None:
        if network.https_proxy:
            curl.setopt(curl.PROXY, network.https_proxy)
            curl.setopt(curl.NOPROXY, network.no_proxy or "")

    return {"ca_certs": ssl.get_default_verify_paths().cafile, "prepare_curl_callback": prepare}


class SiteDirectory(LDAPAuthenticator):
    """Accounts of a directory, asked in threads, for its client blocks."""

    group_base = Unicode(config=True, help="Entry below which groups are; empty: they are not asked for.")
    group_attribute = Unicode("cn", config=True, help="The attribute with a group's name.")
    user_groups = Set(config=True, help="Groups whose members may sign in; empty: everybody.")
    admin_groups = Set(config=True, help="Groups whose members are administrators.")

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._threads = ThreadPoolExecutor(8, "directory")
        self._opened = threading.local()

    async def authenticate(self, _handler: Any, data: Any) -> dict[str, Any] | None:
        """Who it is, with groups and rights; nothing if name or password is wrong. Raises HTTPError."""
        asked = asyncio.get_running_loop().run_in_executor(self._threads, self._ask, data)
        try:
            found = await asyncio.wait_for(asked, LONGEST_ANSWER_S)
        except (LDAPException, OSError) as error:
            self.log.error("The directory %s cannot be asked: %r", self.server_address, error)
            raise HTTPError(503, NO_ANSWER) from error
        if found is None:
            return None
        groups = found.pop("auth_state")["user_attributes"]["groups"]
        name = self.normalize_username(found["name"])
        admin = name in self.admin_users or not self.admin_groups.isdisjoint(groups)
        return {"name": name, "groups": groups, "admin": admin}

    async def check_allowed(self, username: str, auth_model: dict[str, Any] | None) -> bool:
        """Whether somebody who is known may sign in. Raises HTTPError, which says why not."""
        if auth_model is None or auth_model["admin"] or not self.user_groups.isdisjoint(auth_model["groups"]):
            return True
        self.log.warning("%s is in none of the groups that may sign in", username)
        raise HTTPError(403, NOT_IN_A_GROUP)

    def get_connection(self, userdn: str, password: str) -> ldap3.Connection | None:
        """As the parent's, without waiting for ever: a directory that hangs would keep our threads, one each time."""
        encrypted = self.tls_strategy.name == "on_connect"
        bind = ldap3.AUTO_BIND_NO_TLS if encrypted else ldap3.AUTO_BIND_TLS_BEFORE_BIND
        server = ldap3.Server(
            self.server_address,
            port=self.server_port,
            use_ssl=encrypted,
            tls=ldap3.Tls(**self.tls_kwargs),
            connect_timeout=ANSWER_S,
        )
        try:
            opened = ldap3.Connection(server, userdn, password, auto_bind=bind, receive_timeout=ANSWER_S)
        except LDAPBindError:
            return None
        self._opened.connections.append(opened)
        return opened

    def get_user_attributes(self, conn: ldap3.Connection, userdn: str) -> dict[str, Any]:
        """The names of the groups that somebody is in, which is all that is asked for."""
        if not self.group_base:
            return {"groups": []}
        conn.search(userdn, "(objectClass=*)", ldap3.BASE, attributes=[self.user_attribute])
        name = str(conn.entries[0][self.user_attribute].value) if conn.entries else ""
        reader, password = self.lookup_dn_search_user, self.lookup_dn_search_password
        asking = (self.get_connection(reader, password) if reader else None) or conn
        who = self.group_search_filter.format(userdn=escape_filter_chars(userdn), uid=escape_filter_chars(name))
        asking.search(self.group_base, who, ldap3.SUBTREE, attributes=[self.group_attribute])
        found = {str(value) for group in asking.entries for value in group[self.group_attribute].values}
        return {"groups": sorted(found)}

    def _ask(self, data: Any) -> dict[str, Any] | None:
        """Blocking: the parent's coroutine waits for nothing but the directory's client."""
        self._opened.connections = []
        try:
            found: dict[str, Any] | None = asyncio.run(super().authenticate(None, data))
            return found
        finally:
            for opened in self._opened.connections:
                with suppress(LDAPException):  # who hangs up first is all the same
                    opened.unbind()

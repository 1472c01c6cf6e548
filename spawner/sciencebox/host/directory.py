"""Whether the site's single sign-on or directory answers this server, as it must when somebody signs in."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sciencebox.accounts_section import Accounts

TIMEOUT_S = 5.0
PORTS = {"ldap": 389, "ldaps": 636}


def fault(accounts: Accounts, network: Mapping[str, str]) -> str:
    """What is wrong, in a clause; nothing where all is well, or people are known here. Blocking, for seconds."""
    try:
        if accounts.source == "oidc":
            return _provider_fault(accounts.oidc.issuer or "", network)
        if accounts.source == "ldap":
            _connect(accounts.ldap.server or "")
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{accounts.oidc.issuer if accounts.source == 'oidc' else accounts.ldap.server} does not answer: {error}"
    return ""


def _provider_fault(issuer: str, network: Mapping[str, str]) -> str:
    proxy = network.get("HTTPS_PROXY")
    spared = proxy and urllib.request.proxy_bypass_environment(  # type: ignore[attr-defined]
        urlsplit(issuer).netloc, {"no": network.get("NO_PROXY", "")}
    )
    handler = urllib.request.ProxyHandler({"https": proxy} if proxy and not spared else {})
    address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    with urllib.request.build_opener(handler).open(address, timeout=TIMEOUT_S) as answer:
        told = json.load(answer)
    itself = str(told.get("issuer") if isinstance(told, dict) else told)
    return "" if itself.rstrip("/") == issuer.rstrip("/") else f"{issuer} calls itself {itself}"


def _connect(address: str) -> None:
    """Open a connection; with `ldaps:` its certificate is checked, with `ldap:` that comes with the first sign-in."""
    server = urlsplit(address)
    name = server.hostname or ""
    with socket.create_connection((name, server.port or PORTS[server.scheme]), timeout=TIMEOUT_S) as connection:
        if server.scheme == "ldaps":
            ssl.create_default_context().wrap_socket(connection, server_hostname=name).close()

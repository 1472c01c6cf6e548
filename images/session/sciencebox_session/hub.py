"""What the hub knows of this session, asked with the token that the session was started with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWER_S = 10.0


class HubError(Exception):
    """The hub gave no good answer: a sentence for the user, and the `status` with which to pass it on."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


async def session(environ: Mapping[str, str]) -> dict[str, Any]:
    """How long the session may run, see the hub's `/hub/sciencebox/session`. Raises HubError."""
    return await _ask(environ, "GET")


async def extend(environ: Mapping[str, str]) -> dict[str, Any]:
    """Let it run longer. Raises HubError."""
    return await _ask(environ, "POST")


async def _ask(environ: Mapping[str, str], method: str) -> dict[str, Any]:
    api, token = environ.get("JUPYTERHUB_API_URL"), environ.get("JUPYTERHUB_API_TOKEN")
    if not api or not token:
        raise HubError("This server was not started by a hub.", 404)
    address = f"{api.rstrip('/').removesuffix('/api')}/sciencebox/session"
    body = "" if method == "POST" else None
    headers = {"Authorization": f"token {token}", "Accept": "application/json"}
    request = HTTPRequest(address, method, headers, body, request_timeout=ANSWER_S, follow_redirects=False)
    try:
        answer = await AsyncHTTPClient().fetch(request)
        return dict(json.loads(answer.body))
    except HTTPClientError as error:
        raise HubError(_said(error), error.code if 400 <= error.code < 500 else 502) from error
    except (OSError, ValueError) as error:
        raise HubError("The service does not answer; try again in a minute.", 502) from error


def _said(error: HTTPClientError) -> str:
    try:
        return str(json.loads(error.response.body)["message"])
    except (AttributeError, ValueError, KeyError, TypeError):
        return "The service does not answer; try again in a minute."

"""A stand-in for the hub's API, as far as a single-user server needs one to start and to know its user.

`python hub_api.py PORT` answers the version check, takes activity reports, and knows the tokens of two users.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USER = "ada"
TOKENS = {"token-of-ada": "ada", "token-of-eve": "eve"}  # each may access their own server only
TOKEN = "token-of-ada"
END = {"seconds_left": None, "idle_seconds_left": None, "more_seconds": None, "faults": []}
SCOPES = [f"access:servers!user={USER}"]


class HubAPI(BaseHTTPRequestHandler):
    """The few answers that jupyterhub-singleuser asks for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.rstrip("/") == "/hub/api":
            self._answer(200, {"version": "6.1.1"})
        elif self.path == "/hub/api/user":
            name = TOKENS.get(self.headers.get("Authorization", "").removeprefix("token "))
            scopes = [f"access:servers!user={name}", f"read:users:name!user={name}"]
            if name:
                self._answer(200, {"kind": "user", "name": name, "groups": [], "scopes": scopes, "session_id": None})
            else:
                self._answer(403, {})
        elif self.path == "/hub/sciencebox/session" and self._is_ada():
            self._answer(200, END)
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/hub/sciencebox/session":
            self._answer(409, {"message": "Others wait for a GPU now."})
        else:
            self._answer(200, {})

    def _is_ada(self) -> bool:
        return self.headers.get("Authorization") == f"token {TOKEN}"

    def _answer(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-JupyterHub-Version", "6.1.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; tests read what the server says."""


def serve(port: int = 0) -> ThreadingHTTPServer:
    """A server on all interfaces (containers reach it by the bridge's address); the caller runs and closes it."""
    return ThreadingHTTPServer(("0.0.0.0", port), HubAPI)


def environment(hub: str, port: int = 8888) -> dict[str, str]:
    """What a spawner sets for a server of `USER`, with the hub at `hub` (host:port)."""
    return {
        "JUPYTERHUB_API_TOKEN": TOKEN,
        "JUPYTERHUB_API_URL": f"http://{hub}/hub/api",
        "JUPYTERHUB_ACTIVITY_URL": f"http://{hub}/hub/api/users/{USER}/activity",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{USER}",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": json.dumps(SCOPES),
        "JUPYTERHUB_OAUTH_SCOPES": json.dumps(SCOPES),
        "JUPYTERHUB_OAUTH_CALLBACK_URL": f"/user/{USER}/oauth_callback",
        "JUPYTERHUB_SERVICE_PREFIX": f"/user/{USER}/",
        "JUPYTERHUB_SERVICE_URL": f"http://0.0.0.0:{port}/user/{USER}/",
        "JUPYTERHUB_USER": USER,
    }


if __name__ == "__main__":
    serve(int(sys.argv[1])).serve_forever()

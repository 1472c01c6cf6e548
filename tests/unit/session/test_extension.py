"""The extension in a real server, over HTTP: who may ask, and what is answered."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sciencebox_session

from tests.fakes import hub_api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import ThreadingHTTPServer

pytest.importorskip("jupyter_server")

TOKEN = {"Authorization": "token secret"}
START_S = 60


@dataclass
class Server:
    """A running server: requests to it, and the user's home."""

    port: int
    home: Path
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Status and JSON body; the cookies of the answer are kept."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        cookies = (
            {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        )
        connection.request(method, path, headers=cookies | (headers or {}))
        response = connection.getresponse()
        content = response.read()
        for header in response.headers.get_all("Set-Cookie") or []:
            name, _, rest = header.partition("=")
            self.cookies[name] = rest.partition(";")[0]
        connection.close()
        return response.status, json.loads(content) if "json" in response.headers.get("Content-Type", "") else None


@pytest.fixture(scope="module")
def hub() -> Iterator[ThreadingHTTPServer]:
    """The hub that started the server."""
    with hub_api.serve() as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()


@pytest.fixture(scope="module")
def running(hub: ThreadingHTTPServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the extension, a gallery of one notebook, and a session of two cores."""
    folder = tmp_path_factory.mktemp("server")
    home, gallery = folder / "home", folder / "gallery"
    home.mkdir()
    gallery.mkdir()
    markdown = {"cell_type": "markdown", "id": "m", "metadata": {}, "source": "# First\n\nWhat it shows."}
    notebook = {"cells": [markdown], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (gallery / "00_first.ipynb").write_text(json.dumps(notebook))
    session = {
        "release": None,
        "view": None,
        "until": time.time() + 3600,
        "cores": 2,
        "memory_bytes": 1,
        "gpus": [],
        "simulated": True,
    }
    environ = os.environ | {
        "HOME": str(home),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "PYTHONPATH": str(Path(sciencebox_session.__file__).parents[1]),
        "JUPYTERHUB_API_URL": f"http://127.0.0.1:{hub.server_port}/hub/api",
        "JUPYTERHUB_API_TOKEN": hub_api.TOKEN,
        "SCIENCEBOX_SESSION": json.dumps(session | {"attach": None}),
    }
    options = {
        "ServerApp.jpserver_extensions": "sciencebox_session=True",
        "ServerApp.kernel_spec_manager_class": "sciencebox_session.kernels.ReleaseKernels",
        "ServerApp.root_dir": home,
        "ServerApp.port": 0,
        "ServerApp.allow_root": True,
        "ServerApp.open_browser": False,
        "IdentityProvider.token": "secret",
        "SessionExtension.gallery": gallery,
    }
    command = [sys.executable, "-m", "jupyter_server", *(f"--{name}={value}" for name, value in options.items())]
    with (folder / "log").open("w") as log, subprocess.Popen(command, env=environ, stderr=log, cwd=home) as process:
        try:
            yield Server(_port(process, folder), home)
        finally:
            process.terminate()


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """The server, with nobody signed in and none of the user's files."""
    running.cookies.clear()
    yield running
    copies = running.home / "notebooks"
    if copies.is_dir():
        shutil.rmtree(copies)
    else:
        copies.unlink(missing_ok=True)


def _port(process: subprocess.Popen[bytes], folder: Path) -> int:
    """The port of the server, once it serves; its log if it ended before."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        for info in (folder / "runtime").glob("jpserver-*.json"):
            try:
                port = int(json.loads(info.read_text())["port"])
                socket.create_connection(("127.0.0.1", port)).close()
            except (ValueError, ConnectionRefusedError):  # the file is being written; it does not listen yet
                continue
            return port
        time.sleep(0.05)
    raise AssertionError((folder / "log").read_text())


def test_session_and_gallery_are_answered_to_the_user(server: Server) -> None:
    status, session = server.ask("GET", "/sciencebox/session", TOKEN)
    assert status == 200
    assert (session["cores"], session["simulated"]) == (2, True)
    status, gallery = server.ask("GET", "/sciencebox/gallery", TOKEN)
    assert status == 200
    assert gallery == [{"name": "00_first", "title": "First", "summary": "What it shows."}]
    assert (server.home / "examples/00_first.ipynb").exists()


def test_the_hub_is_asked_how_long_the_session_may_run(server: Server) -> None:
    assert server.ask("GET", "/sciencebox/end", TOKEN) == (200, hub_api.END)


def test_what_the_hub_says_to_more_time_is_passed_on(server: Server) -> None:
    assert server.ask("POST", "/sciencebox/end", TOKEN) == (409, {"message": "Others wait for a GPU now."})


def test_a_copy_is_made_once(server: Server) -> None:
    expected = {"path": "notebooks/00_first.ipynb", "outcome": "created", "offer": None}
    assert server.ask("POST", "/sciencebox/gallery/00_first/copy", TOKEN) == (201, expected)
    assert server.ask("POST", "/sciencebox/gallery/00_first/copy", TOKEN) == (200, expected | {"outcome": "kept"})


def test_a_stranger_gets_nothing(server: Server) -> None:
    for method, path in [
        ("GET", "session"),
        ("GET", "gallery"),
        ("GET", "end"),
        ("POST", "end"),
        ("POST", "gallery/00_first/copy"),
    ]:
        assert server.ask(method, f"/sciencebox/{path}")[0] == 403
    assert not (server.home / "notebooks").exists()


def test_a_copy_can_not_be_asked_for_from_another_site(server: Server) -> None:
    server.ask("GET", "/?token=secret")  # signed in by cookie, as a browser is
    path = "/sciencebox/gallery/00_first/copy"
    assert server.ask("GET", "/sciencebox/gallery")[0] == 200
    assert server.ask("POST", path)[0] == 403
    assert server.ask("POST", path, {"X-XSRFToken": "guess"})[0] == 403
    assert not (server.home / "notebooks").exists()
    assert server.ask("POST", path, {"X-XSRFToken": server.cookies["_xsrf"]})[0] == 201


def test_names_lead_nowhere_else(server: Server) -> None:
    (server.home.parent / "secret.ipynb").write_text("{}")
    for name in ["..%2Fsecret", "%2E%2E%2Fsecret", "../secret", "%2Fetc%2Fpasswd", "none"]:
        assert server.ask("POST", f"/sciencebox/gallery/{name}/copy", TOKEN)[0] == 404
    assert not (server.home / "notebooks").exists()


def test_what_is_in_the_way_is_said(server: Server) -> None:
    (server.home / "notebooks").write_text("mine")
    status, body = server.ask("POST", "/sciencebox/gallery/00_first/copy", TOKEN)
    assert status == 409
    assert "rename it" in body["message"]


def test_without_the_hub_the_end_is_the_one_that_the_session_began_with(
    hub: ThreadingHTTPServer, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_api, "TOKEN", "another")  # the hub knows the session no more
    status, end = server.ask("GET", "/sciencebox/end", TOKEN)
    assert status == 200
    assert 3500 < end["seconds_left"] <= 3600

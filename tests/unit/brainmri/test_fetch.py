"""Downloading a data set, from a server of our own that may cut off, lie, or be away."""

from __future__ import annotations

import hashlib
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from brainmri import cli, fetch
from brainmri.data import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = {"one.zip": bytes(range(256)) * 4096, "two.zip": b"masks and patients" * 1000}


def md5(content: bytes) -> str:
    """As figshare has it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class Figshare(BaseHTTPRequestHandler):
    """Answers like figshare, but for the `faults` that it was told: cut (bytes sent at first), lie, no_range."""

    def __init__(self, faults: dict[str, Any], asked: list[str], *rest: Any) -> None:
        self.faults, self.asked = faults, asked
        super().__init__(*rest)

    def do_GET(self) -> None:
        """A list of files, or one of them."""
        name = self.path.rsplit("/", 1)[-1]
        self.asked.append(f"{name} {self.headers.get('Range', 'whole')}")
        if name == "1512427":
            self._send(json.dumps(self._article()).encode())
            return
        content, start = CONTENT[name], 0
        if (wanted := self.headers.get("Range")) and not self.faults.get("no_range"):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = self.faults.pop("cut", None) or len(content)
        self.wfile.write(content[start:end])

    def _article(self) -> dict[str, Any]:
        address = f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
        files = [
            {
                "name": f"../{name}",
                "download_url": f"{address}/{name}",
                "size": len(content),
                "computed_md5": md5(b"" if name == self.faults.get("lie") else content),
            }
            for name, content in CONTENT.items()
        ]
        return {"title": "brain tumor dataset", "license": {"name": "CC BY 4.0"}, "doi": "10.x/y", "files": files}

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """The server: its faults, which may be changed, and what it was asked."""
    faults: dict[str, Any] = {}
    asked: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Figshare, faults, asked)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(fetch, "API", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield faults, asked
        server.shutdown()


def run(folder: Path) -> int:
    """The command, as a user gives it."""
    return cli.main(["fetch", "figshare", "--to", str(folder)])


def whole(folder: Path) -> bool:
    """Whether everything is there, and nothing else."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT


def test_all_files_are_fetched_once(site: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, asked = site
    assert run(tmp_path / "set") == 0
    assert whole(tmp_path / "set")
    assert "CC BY 4.0" in capsys.readouterr().out
    asked.clear()
    assert run(tmp_path / "set") == 0
    assert asked == ["1512427 whole"]


def test_what_was_cut_off_goes_on(site: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faults, asked = site
    faults["cut"] = 300_000
    assert run(tmp_path / "set") == 2
    assert "one.zip was cut off after 0.3 of 1.0 MB" in capsys.readouterr().err
    assert run(tmp_path / "set") == 0
    assert "one.zip bytes=300000-" in asked
    assert whole(tmp_path / "set")


def test_a_server_that_cannot_go_on_sends_all_of_it(site: Any, tmp_path: Path) -> None:
    faults, _ = site
    faults |= {"cut": 300_000, "no_range": True}
    assert run(tmp_path / "set") == 2
    assert run(tmp_path / "set") == 0
    assert whole(tmp_path / "set")


def test_a_file_that_is_not_what_was_published_is_not_kept(
    site: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults, _ = site
    faults["lie"] = "two.zip"
    assert run(tmp_path / "set") == 2
    assert "two.zip arrived otherwise than it was published" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["one.zip"]


def test_a_damaged_file_is_fetched_again(site: Any, tmp_path: Path) -> None:
    run(tmp_path / "set")
    (tmp_path / "set/two.zip").write_bytes(b"x" * len(CONTENT["two.zip"]))
    assert run(tmp_path / "set") == 0
    assert whole(tmp_path / "set")


def test_without_network_it_says_how_to_bring_the_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fetch, "API", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(DataError, match=r"brainmri convert figshare --from FOLDER"):
        fetch.article("figshare", fetch.API)
    assert run(tmp_path / "set") == 2
    assert not (tmp_path / "set").exists()

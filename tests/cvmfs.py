"""A published repository and a client that mounts it: a crate's, which reads the format but trusts every signature."""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests import built

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
NAME = "sciencebox.local"
DEADLINE_S = 60
# The client asks a server for these for half a minute before it does without them. A replica has them, an origin not.
ASKED_FOR = {".cvmfs_last_snapshot": "Thu Jan  1 00:00:00 UTC 1970\n", ".cvmfs_is_snapshotting": ""}


@functools.cache
def cached_repository(source: Path) -> Path | None:
    """The stack in `source`, published: `web` and `keys` in a folder of the cache. None where it cannot be mounted.

    It is kept: the next run moves only what has changed.
    """
    if os.geteuid() != 0 or client() is None or not (source / "lcg/views").is_dir():
        return None
    cache = Path(os.environ.get("SCIENCEBOX_CACHE", Path.home() / ".cache/sciencebox"))
    target = cache / "repository"
    stack_command("keys", "--repository", NAME, "--keys", target / "keys")
    where = ("--repository", NAME, "--out", target / "web", "--keys", target / "keys")
    stack_command("publish", "--source", source, *where)
    return target


def client() -> Path | None:
    """The client, where `make test-tools` could build it."""
    return built.program("cvmfs-cli") if Path("/dev/fuse").exists() else None


def stack_command(*arguments: str | Path) -> str:
    """Run `sciencebox-stack` as its users do; returns what it says."""
    done = subprocess.run(
        [Path(sys.executable).with_name("sciencebox-stack"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def served(folder: Path, address: str = "127.0.0.1") -> Iterator[str]:
    """A web server for a repository at an address of this machine; yields its URL."""
    for name, content in ASKED_FOR.items():
        (folder / name).write_text(content)

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body go out as two packets

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 256  # the client opens a connection for each object
        daemon_threads = True

    server = Server((address, 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{address}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


# Takes what CernVM-FS's own client is given, and mounts by the other one.
CVMFS2 = """#!/bin/sh
set -eu
. "/etc/cvmfs/config.d/$3.conf"
mkdir -p "/var/lib/cvmfs/$3"
cvmfs-cli "$CVMFS_SERVER_URL" "$4" "/var/lib/cvmfs/$3" > /var/lib/cvmfs/log 2>&1 &
until mountpoint -q "$4"; do kill -0 $!; sleep 0.05; done
"""


class Client:
    """A client that mounts the repository at `url` at `place`, until it is stopped."""

    def __init__(self, url: str, place: Path, folder: Path) -> None:
        self._place, self._log = place, folder / "client.log"
        (folder / "cache").mkdir(exist_ok=True)
        place.mkdir(parents=True, exist_ok=True)
        program = client()
        assert program is not None
        with self._log.open("w") as log:
            self._process = subprocess.Popen([program, url, place, folder / "cache"], stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE_S
        while not os.path.ismount(place):
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, "the client did not mount in time"
            time.sleep(0.05)

    def stop(self) -> None:
        """Unmount."""
        subprocess.run(["umount", "--lazy", self._place], check=False)
        self._process.terminate()
        self._process.wait(timeout=DEADLINE_S)


@contextmanager
def mounted(url: str, folder: Path) -> Iterator[Path]:
    """Mount a repository below `folder`; yields where."""
    mounting = Client(url, folder / "mount", folder)
    try:
        yield folder / "mount"
    finally:
        mounting.stop()

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

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tests/tools/build.sh"
DEADLINE_S = 60
# The client asks a server for these for half a minute before it does without them. A replica has them, an origin not.
ASKED_FOR = {".cvmfs_last_snapshot": "Thu Jan  1 00:00:00 UTC 1970\n", ".cvmfs_is_snapshotting": ""}


def client() -> Path | None:
    """The client, where `make test-tools` could build it."""
    folders = subprocess.run([TOOLS, "--path"], check=True, capture_output=True, text=True).stdout.strip().split(":")
    program = Path(folders[-1]) / "cvmfs-cli"
    return program if program.exists() and Path("/dev/fuse").exists() else None


def stack_command(*arguments: str | Path) -> str:
    """Run `sciencebox-stack` as its users do; returns what it says."""
    done = subprocess.run(
        [Path(sys.executable).with_name("sciencebox-stack"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A web server for a repository; yields its address."""
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

    server = Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextmanager
def mounted(url: str, folder: Path) -> Iterator[Path]:
    """Mount a repository below `folder`; yields where."""
    place, cache = folder / "mount", folder / "cache"
    place.mkdir(parents=True)
    cache.mkdir()
    program = client()
    assert program is not None
    log = (folder / "client.log").open("w+")
    process = subprocess.Popen([program, url, place, cache], stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + DEADLINE_S
        while not os.path.ismount(place):
            assert process.poll() is None, (folder / "client.log").read_text()
            assert time.monotonic() < deadline, "the client did not mount in time"
            time.sleep(0.05)
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=False)
        process.terminate()
        process.wait(timeout=DEADLINE_S)
        log.close()

"""The stack: publishing it against packing it, and starting Python from it, built here or mounted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests import cvmfs
from tests.conftest import ROOT, STACK_TOOL, stack_folder
from tests.engine.rig import RigError

if TYPE_CHECKING:
    from collections.abc import Callable

    Say = Callable[[str], None]

NAME = "sciencebox.local"
ENVIRONMENT = "lcg/views/SB_1/*/pytorch"
LOCAL, COLD, WARM = "built here", "mounted, empty cache", "mounted, full cache"
MOST_ROUNDS = 3  # each takes minutes


def publishing(rounds: int, say: Say) -> dict[str, Any]:
    """Seconds of `sciencebox-stack publish` of the test stack, at first and again, and of `tar | zstd` of the same."""
    source = stack_folder()
    sizes = [path.lstat().st_size for path in _files(source)]
    found: dict[str, Any] = {"files": len(sizes), "bytes": sum(sizes), "publish": [], "again": [], "tar | zstd": []}
    for number in range(min(rounds, MOST_ROUNDS)):
        say(f"publishing, round {number + 1}")
        with tempfile.TemporaryDirectory(dir=source.parents[2]) as scratch:
            folder = Path(scratch)
            packed = folder / "stack.tar.zst"
            command = f"tar --exclude=./.build -C {source} -cf - . | zstd -q -3 -T0 -o {packed}"
            found["tar | zstd"].append(_seconds("bash", "-o", "pipefail", "-c", command))
            found["packed_bytes"] = packed.stat().st_size
            packed.unlink()
            arguments = ("--repository", NAME, "--out", folder / "web", "--keys", folder / "keys")
            cvmfs.stack_command("keys", *arguments[:2], *arguments[4:])
            for step in ("publish", "again"):
                began = time.monotonic()
                cvmfs.stack_command("publish", "--source", source, *arguments)
                found[step].append(time.monotonic() - began)
            found["stored_bytes"] = _stored(folder / "web")
            if number == 0:
                found["second_release_bytes"] = _second_release(source, folder, arguments)
    return found


def building(_rounds: int, say: Say) -> dict[str, Any]:
    """Seconds of `sciencebox-stack build` of the release's CPU variant, from nothing and again. Once: it takes long."""
    say("building, with every package fetched")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=stack_folder().parents[2]) as scratch:
        folder = Path(scratch) / NAME
        places = {"SCIENCEBOX_TEST_STACK": str(folder), "UV_CACHE_DIR": str(Path(scratch) / "packages")}
        for step in ("first", "again"):
            found[step] = _seconds(STACK_TOOL, environment={**os.environ, **places})
        found["bytes"] = sum(path.lstat().st_size for path in _files(folder))
    return found


def imports(rounds: int, say: Say) -> dict[str, list[float]]:
    """Seconds of `import torch` in a new process, by where the stack comes from."""
    repository = cvmfs.cached_repository(stack_folder())
    if repository is None:
        raise RigError("the stack cannot be mounted; run `make test-tools`, with Rust and FUSE")
    found: dict[str, list[float]] = {LOCAL: [], COLD: [], WARM: []}
    for number in range(min(rounds, MOST_ROUNDS)):
        say(f"import torch, round {number + 1}")
        with (
            cvmfs.served(repository / "web") as url,
            tempfile.TemporaryDirectory() as scratch,
            cvmfs.mounted(url, Path(scratch)) as place,
        ):
            found[COLD].append(_import(place))
            _import(stack_folder())  # so that both are read from memory
            found[WARM].append(_import(place))
            found[LOCAL].append(_import(stack_folder()))
    return found


def run(environment: str, *arguments: str | Path) -> str:
    """What a Python of the stack prints, with the notebooks' package of the checkout. Raises RigError."""
    words, environ = command(environment, *arguments)
    done = subprocess.run(words, env=environ, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RigError(f"{environment}, {arguments[0]}: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}")
    return done.stdout


def command(environment: str, *arguments: str | Path) -> tuple[list[str | Path], dict[str, str]]:
    """The command for a Python of the stack, and its variables. Raises RigError."""
    built = stack_folder()
    found = next(built.glob(f"lcg/views/SB_1/*/{environment}"), None)
    if found is None:
        raise RigError("the software stack is not built; run `make test-tools`")
    python = f"/cvmfs/{NAME}/{found.relative_to(built)}/bin/python3"
    kernel = json.loads((found.parent / f"share/jupyter/kernels/{environment}/kernel.json").read_text())
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environ |= {name: value for name, value in kernel["env"].items() if "$" not in value}  # as users have it
    environ["PYTHONPATH"] = str(ROOT / "notebooks")
    return [STACK_TOOL, "--enter", python, *arguments], environ


def _second_release(source: Path, folder: Path, arguments: tuple[str | Path, ...]) -> int:
    """Bytes that a second release takes which differs from the first in one package, pandas."""
    first = next(source.glob("lcg/releases/pytorch/*"))
    both = folder / "source"
    second = both / "lcg/releases/pytorch/other"
    subprocess.run(["cp", "-al", source, both], check=True)
    shutil.rmtree(both / ".build", ignore_errors=True)
    subprocess.run(["cp", "-al", first, second], check=True)
    for path in next(second.glob("*/lib/python*/site-packages/pandas")).rglob("*.py"):
        content = path.read_bytes()
        path.unlink()  # the other name of the file keeps its content
        path.write_bytes(content + b"\n# another version\n")
    before = _stored(folder / "web")
    cvmfs.stack_command("publish", "--source", both, *arguments)
    return _stored(folder / "web") - before


def _import(folder: Path) -> float:
    python = f"/cvmfs/{NAME}/{next(stack_folder().glob(ENVIRONMENT)).relative_to(stack_folder())}/bin/python3"
    environment = {**os.environ, "SCIENCEBOX_TEST_STACK": str(folder)}
    return _seconds(STACK_TOOL, "--enter", python, "-c", "import torch", environment=environment)


def _seconds(*command: str | Path, environment: dict[str, str] | None = None) -> float:
    began = time.monotonic()
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or f"{command[0]}: status {done.returncode}"
    return time.monotonic() - began


def _stored(web: Path) -> int:
    return sum(path.stat().st_size for path in _files(web))


def _files(folder: Path) -> list[Path]:
    return [
        Path(parent) / name
        for parent, folders, names in os.walk(folder)
        if ".build" not in folders or folders.remove(".build") is None
        for name in names
    ]

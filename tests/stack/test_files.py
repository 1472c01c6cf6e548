"""The published files: everyone may read them, no user may change them, and the driver is not among them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import USER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Stack

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def entries(stack: Stack) -> list[tuple[Path, os.stat_result]]:
    """Everything below the repository's root but the builder's own folder, links not followed."""

    def walk() -> Iterator[Path]:
        for parent, folders, names in os.walk(stack.folder):
            if Path(parent) == stack.folder:
                folders.remove(".build")
            yield from (Path(parent) / name for name in (*folders, *names))

    return [(path, path.lstat()) for path in walk()]


def test_everyone_may_read_every_file_and_enter_every_folder(entries: list[tuple[Path, os.stat_result]]) -> None:
    wanted = {True: 0o005, False: 0o004}
    closed = [
        path
        for path, facts in entries
        if not stat.S_ISLNK(facts.st_mode) and facts.st_mode & (needed := wanted[stat.S_ISDIR(facts.st_mode)]) != needed
    ]
    assert closed == []


def test_no_user_may_write_any_of_them(entries: list[tuple[Path, os.stat_result]]) -> None:
    open_ = [
        path
        for path, facts in entries
        if not stat.S_ISLNK(facts.st_mode) and (facts.st_mode & 0o022 or USER in (facts.st_uid, facts.st_gid))
    ]
    assert open_ == []


def test_a_user_is_refused_to_write(stack: Stack, home: Path) -> None:
    script = f"touch {stack.view}/pytorch/x || echo refused"
    assert stack.run("sh", "-c", script, home=home) == "refused\n"


def test_no_library_of_the_driver_is_there_nor_a_stub_of_one(entries: list[tuple[Path, os.stat_result]]) -> None:
    driver = re.compile(r"lib(cuda|nvidia-ml|nvcuvid|nvidia-ptxjitcompiler)\.so")
    assert [path for path, _ in entries if driver.match(path.name)] == []
    assert [path for path, _ in entries if "stubs" in path.parts and ".so" in path.name] == []


# The C library, which must fit the dynamic loader and is the session's own, and libcuda, which is the driver's.
SYSTEM = re.compile(r"(lib(c|m|pthread|dl|rt|util|resolv)|ld-linux-x86-64)\.so\.\d+|libcuda\.so\.1")
ROOTS = {
    "pytorch": "torch/lib/libtorch*.so",
    "tensorflow": "tensorflow/*tensorflow*.so*",
    "root": "ROOT/lib/libROOTDataFrame.so",  # its windows need X11; pictures in notebooks do not
    "mxnet": "mxnet/libmxnet.so",
}


def test_every_library_that_the_frameworks_load_is_in_their_environment(stack: Stack, environment: str) -> None:
    """CUDA's above all: none may come from the session's image or from the host."""
    thin = stack.here(stack.view).resolve() / environment / "lib/python3.11/site-packages/sciencebox_packages.pth"
    packages = stack.here(Path(re.findall(r"'(/cvmfs/[^']+)'", thin.read_text())[0]))
    interpreter = stack.here((thin.parents[3] / "bin/python").readlink()).parents[1]
    found = [*packages.rglob("*.so*"), *interpreter.glob("lib/*.so*")]
    there = {path.name: path for path in found if path.is_file()}
    # The cpu variant leaves out cuSOLVER, which PyTorch opens at the first linear algebra on a GPU.
    pending = [path.name for path in packages.glob(ROOTS[environment]) if path.stem != "libtorch_cuda_linalg"]
    assert pending
    seen, missing = set(pending), []
    while pending:
        library = pending.pop()
        for name in needed_by(there[library]):
            if name not in there and not SYSTEM.fullmatch(name):
                missing.append(f"{library} needs {name}")
            elif name in there and name not in seen:
                seen.add(name)
                pending.append(name)
    assert missing == []
    if environment == "pytorch":
        assert {"libcublas.so.13", "libcudnn.so.9", "libcufft.so.12"} <= seen


def needed_by(library: Path) -> list[str]:
    """The libraries that a library names, as `readelf` tells."""
    told = subprocess.run(["readelf", "--dynamic", library], capture_output=True, text=True, check=False).stdout
    return re.findall(r"\(NEEDED\).*\[(.*)\]", told)


def test_links_lead_to_what_is_published_and_not_out_of_the_repository(
    stack: Stack, entries: list[tuple[Path, os.stat_result]]
) -> None:
    for path, facts in entries:
        if stat.S_ISLNK(facts.st_mode):
            target = path.readlink()
            if target.is_absolute():
                assert target.is_relative_to("/cvmfs/sciencebox.local/lcg"), path
                target = stack.here(target)
            assert os.path.lexists(path.parent / target), path


def test_the_builders_folder_is_closed_to_users(stack: Stack, home: Path) -> None:
    assert stack.run("sh", "-c", "ls /cvmfs/sciencebox.local/.build || echo closed", home=home) == "closed\n"

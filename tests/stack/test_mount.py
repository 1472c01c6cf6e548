"""The stack published, served and mounted by a client of the CernVM File System: what users get is what was built."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sciencebox_stack.kernel_probe as probe
from sciencebox_stack.repository.objects import LARGEST

from tests import cvmfs
from tests.conftest import stack_folder
from tests.cvmfs import NAME

from .conftest import REPOSITORY, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

TRAIN = """
import torch
layer, values = torch.nn.Linear(2, 1), torch.ones(4, 2)
optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
errors = []
for _ in range(2):
    optimizer.zero_grad()
    error = (layer(values) - 1).square().mean()
    error.backward()
    optimizer.step()
    errors.append(error.item())
assert errors[1] < errors[0]
"""


@pytest.fixture(scope="session")
def repository() -> Path:
    """The test stack, published."""
    found = cvmfs.cached_repository(stack_folder())
    if found is None:
        pytest.skip("no client for CVMFS: run `make test-tools` as root, with Rust and FUSE (Debian: fuse3)")
    return found


@pytest.fixture(scope="session")
def mount(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with (
        cvmfs.served(repository / "web") as url,
        cvmfs.mounted(url, tmp_path_factory.mktemp("cvmfs")) as place,
    ):
        yield place


def test_what_is_mounted_is_what_was_built(mount: Path) -> None:
    """Views, kernels and environments file by file, a library in several pieces; others by running them."""
    built = stack_folder()
    view = next(built.glob("lcg/views/*/*")).resolve()
    library = next(built.glob("lcg/releases/pytorch/*/*/lib/*/*/torch/lib/libtorch_python.so"))
    assert library.stat().st_size > 2 * LARGEST
    for part in ("lcg/views", *(path.relative_to(built) for path in (view, library))):
        command = ["diff", "--recursive", "--no-dereference", mount / part, built / part]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout[:500]) == (0, "")


def test_every_path_of_the_stack_is_there(mount: Path) -> None:
    def paths(root: Path) -> set[str]:
        listed = subprocess.run(
            ["find", ".", "-path", "./.build", "-prune", "-o", "-printf", "%p %y %m %s\n"],
            cwd=root, capture_output=True, text=True, check=True,
        )  # fmt: skip
        # A folder's own size is the file system's affair.
        return {line if line.split()[-3] != "d" else line.rsplit(" ", 1)[0] for line in listed.stdout.splitlines()}

    built, found = paths(stack_folder()), paths(mount)
    assert sorted(built - found)[:5] == []
    assert sorted(found - built)[:5] == []


def test_a_kernel_started_from_the_mount_trains(mount: Path, stack: Stack, home: Path) -> None:
    remote = Stack(mount, stack.view)
    program = Path(probe.__file__).read_text(encoding="utf-8")
    jupyter = str(stack.view / "share/jupyter")
    python = stack.view / "pytorch/bin/python"
    said = remote.run(python, "-c", program, "pytorch", TRAIN, home=home, JUPYTER_PATH=jupyter)
    assert said == "2"


def test_the_repository_verifies_over_the_network(repository: Path) -> None:
    with cvmfs.served(repository / "web") as url:
        key = repository / "keys" / f"{NAME}.pub"
        said = cvmfs.stack_command("verify", url, "--key", key, "--repository", NAME, "--json")
    assert f'"repository": "{NAME}"' in said


def test_what_is_published_says_where_it_must_be_mounted(mount: Path) -> None:
    """A release works at its path alone, so its kernels name that path whatever the client's mount point is."""
    kernel = next(mount.glob("lcg/views/*/*/share/jupyter/kernels/pytorch/kernel.json"))
    assert f'"{REPOSITORY}/' in kernel.read_text()

"""The image that builds stacks, and the built stack inside the image of a session."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sciencebox_stack.kernel_probe as probe
from sciencebox.host import images

from tests.stack.conftest import REPOSITORY, USER

if TYPE_CHECKING:
    from collections.abc import Callable

    import docker

    from tests.stack.conftest import Stack

pytestmark = [pytest.mark.stack, pytest.mark.engine]

UNPRIVILEGED: dict[str, Any] = {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges"], "network_mode": "none"}


@pytest.fixture(scope="module")
def run(engine: docker.DockerClient) -> Callable[..., tuple[int, str]]:
    """A function that runs a command in an image of ours; returns its status and all it said."""

    def command(image: str, arguments: list[str], **options: Any) -> tuple[int, str]:
        container = engine.containers.create(images.tag(image), arguments, **UNPRIVILEGED | options)
        try:
            container.start()
            status = container.wait(timeout=120)["StatusCode"]
            return status, container.logs().decode()
        finally:
            container.remove(force=True)

    return command


def bound(folder: Path, mode: str) -> dict[str, dict[str, str]]:
    return {str(folder): {"bind": str(REPOSITORY), "mode": mode}}


def test_it_brings_the_releases(run: Callable[..., tuple[int, str]]) -> None:
    status, said = run("cvmfs", ["list"])
    assert status == 0
    assert {line.split()[2] for line in said.splitlines()[1:]} == {"SB_1", "SB_1_cuda"}


def test_it_sees_what_the_tests_tool_published(run: Callable[..., tuple[int, str]], stack: Stack) -> None:
    status, said = run("cvmfs", ["status"], volumes=bound(stack.folder, "ro"))
    assert status == 0
    assert said.splitlines()[1].split()[:2] == ["SB_1", "x86_64-debian12-gcc12-opt"]


def test_without_a_network_it_says_so_and_keeps_an_interpreter_that_sessions_can_run(
    run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    status, said = run("cvmfs", ["build", "SB_1"], volumes=bound(tmp_path, "rw"))
    lines = said.splitlines()
    assert status == 1
    assert lines[0].startswith("interpreter: done in ")
    assert lines[-1].startswith("sciencebox-stack: Could not install pytorch: the package index could not be reached")
    assert not (tmp_path / "lcg" / "views").exists()

    (program,) = tmp_path.glob("lcg/releases/Python/*/*/bin/python3.11")
    inside = REPOSITORY / program.relative_to(tmp_path)
    command = [str(inside), "-Ic", "import ssl, sqlite3, ctypes, sys; print(sys.prefix)"]
    status, said = run("session", command, volumes=bound(tmp_path, "ro"), user=str(USER))
    assert (status, said) == (0, f"{inside.parents[1]}\n")


def test_a_folder_that_is_not_bound_or_not_writable_is_named(
    run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    assert run("cvmfs", ["build", "SB_1"])[1].startswith(f"sciencebox-stack: {REPOSITORY} is not a folder; create it")
    status, said = run("cvmfs", ["build", "SB_1"], volumes=bound(tmp_path, "ro"))
    assert (status, said) == (1, f"sciencebox-stack: {REPOSITORY}/.build: Read-only file system.\n")


def test_a_kernel_computes_in_a_session(run: Callable[..., tuple[int, str]], stack: Stack, environment: str) -> None:
    python = str(stack.view / environment / "bin" / "python")
    code = {
        "pytorch": "import torch",
        "tensorflow": "import tensorflow",
        "root": "import ROOT; assert ROOT.gInterpreter.Declare('#include <vector>')",  # there is no compiler
        "mxnet": "import mxnet",
    }[environment]
    program = Path(probe.__file__).read_text(encoding="utf-8")
    status, said = run(
        *("session", [python, "-W", "ignore", "-c", program, environment, f"{code}; import brainmri"]),
        volumes=bound(stack.folder, "ro"),
        user=f"{USER}:{USER}",
        tmpfs={"/home/user": "mode=1777", "/tmp": "mode=1777"},
        environment={"HOME": "/home/user", "USER": "user", "JUPYTER_PATH": str(stack.view / "share/jupyter")},
        read_only=True,
    )
    assert status == 0, said
    assert said.splitlines()[-1].endswith("2")


def test_a_user_makes_a_virtual_environment_in_a_session(run: Callable[..., tuple[int, str]], stack: Stack) -> None:
    made = f". {stack.view}/pytorch/setup.sh && python -m venv /tmp/mine && /tmp/mine/bin/pip config list"
    status, said = run(
        *("session", ["sh", "-c", f"{made} && /tmp/mine/bin/pip --version"]),
        volumes=bound(stack.folder, "ro"),
        user=f"{USER}:{USER}",
        tmpfs={"/tmp": "mode=1777,exec"},
        environment={"HOME": "/tmp"},
    )
    assert status == 0, said
    assert "from /tmp/mine/" in said.splitlines()[-1]
    assert "prefix" not in said, "what it installs goes into itself"

"""What a kernel says of the driver when it starts. The driver is a library of one function that gcc makes here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sciencebox_stack import startup
from sciencebox_stack.view import STARTUP, view_texts

if TYPE_CHECKING:
    from .conftest import Site

SHELL = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.safe_execfile(sys.argv[1], shell.user_ns, raise_exceptions=True)
for cell in ("a = 1", "b = 2"):
    print("cell", file=sys.stderr)
    shell.run_cell(cell)
assert "problem" not in shell.user_ns
"""


def driver(folder: Path, code: str) -> Path:
    """A libcuda with this code."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc (Debian: apt-get install gcc libc6-dev)")
    folder.mkdir()
    source = folder / "cuda.c"
    source.write_text(code)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "libcuda.so.1", source], check=True)
    return folder


def says(tmp_path: Path, library: Path | None, cuda: str) -> list[str]:
    """What two cells of a new kernel show on standard error."""
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython")}
    variables |= {"SCIENCEBOX_CUDA": cuda} if cuda else {}
    variables |= {"LD_LIBRARY_PATH": str(library)} if library else {}
    command = [sys.executable, "-c", SHELL, str(Path(startup.__file__))]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def version(number: int) -> str:
    return f"int cuDriverGetVersion(int *version) {{ *version = {number}; return 0; }}"


def test_a_driver_that_is_too_old_is_said_once_with_the_first_cell(tmp_path: Path) -> None:
    library = driver(tmp_path / "driver", version(12040))
    first, sentence, second = says(tmp_path, library, "13.2")
    assert (first, second) == ("cell", "cell")
    assert f"needs a driver for CUDA 13 or newer; this server's ({library}/libcuda.so.1) serves CUDA 12.4" in sentence


@pytest.mark.parametrize(("number", "cuda"), [(13000, "13.2"), (13000, "12.9"), (12040, "")])
def test_where_all_is_well_nothing_is_said(tmp_path: Path, number: int, cuda: str) -> None:
    assert says(tmp_path, driver(tmp_path / "driver", version(number)), cuda) == ["cell", "cell"]


def test_a_session_without_a_gpu_says_nothing(tmp_path: Path) -> None:
    assert says(tmp_path, None, "13.2") == ["cell", "cell"]


def test_a_stub_and_a_driver_that_does_not_work_are_said(tmp_path: Path) -> None:
    assert "is no driver but a stub" in says(tmp_path, driver(tmp_path / "stub", "int nothing;"), "13.2")[1]
    of_toolkit = driver(tmp_path / "toolkit", "int cuDriverGetVersion(int *version) { return 34; }")
    assert "is no driver but a stub" in says(tmp_path, of_toolkit, "13.2")[1]
    broken = driver(tmp_path / "broken", "int cuDriverGetVersion(int *version) { return 999; }")
    assert "does not work" in says(tmp_path, broken, "13.2")[1]


def test_kernels_of_the_cuda_release_look_and_those_of_the_cpu_release_do_not(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sciencebox_stack.lock.Lock.cuda", "13.2")
    for variant, looks in (("cuda", True), ("cpu", False)):
        texts = view_texts(site.plan(variant).view_plan, Path("/v"))
        kernel = json.loads(texts["share/jupyter/kernels/alpha/kernel.json"])["env"]
        assert (STARTUP in texts, kernel.get("PYTHONSTARTUP") == f"/v/{STARTUP}", "SCIENCEBOX_CUDA" in kernel) == (
            looks, looks, looks,
        )  # fmt: skip

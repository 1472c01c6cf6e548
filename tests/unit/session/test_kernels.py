"""Kernels that a session finds in a release, whoever built it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("jupyter_server")

from sciencebox_session import kernels
from traitlets.utils.importstring import import_item

CONFIGURATION = Path(kernels.__file__).parents[1] / "jupyter_server_config.json"
ARGUMENTS = ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]


@pytest.fixture
def view(tmp_path: Path) -> Path:
    """A view as LCG's are: the kernel names no folder, and the script says where everything is."""
    folder = tmp_path / "LCG_1/x86_64 opt"
    kernel = folder / "share/jupyter/kernels/python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(json.dumps({"argv": ARGUMENTS, "display_name": "Python 3", "env": {}}))
    (folder / "bin").mkdir()
    (folder / "bin/python").write_text('#!/bin/sh\necho "$LCG_VERSION $*"\n')
    (folder / "bin/python").chmod(0o755)
    # What it prints, reads or ends with is no affair of the kernel, which has another $1.
    script = f'echo hello; read -r _; export LCG_VERSION="1${{1:-}}" PATH="{folder}/bin:$PATH"; false\n'
    (folder / "setup.sh").write_text(script)
    return folder


def argv(folder: Path) -> list[str]:
    manager = import_item(json.loads(CONFIGURATION.read_text())["ServerApp"]["kernel_spec_manager_class"])()
    manager.kernel_dirs = [str(folder)]
    listed = manager.get_all_specs()["python3"]["spec"]["argv"]
    assert listed == manager.get_kernel_spec("python3").argv
    return list(listed)


def test_a_kernel_of_a_release_of_others_starts_in_what_its_script_makes(view: Path) -> None:
    done = subprocess.run(argv(view / "share/jupyter/kernels"), capture_output=True, text=True, check=True)
    assert done.stdout == "1 -m ipykernel_launcher -f {connection_file}\n"


def test_other_kernels_start_as_they_say(view: Path, tmp_path: Path) -> None:
    own = tmp_path / "home/.local/share/jupyter/kernels"
    own.parent.mkdir(parents=True)
    (view / "share/jupyter/kernels").rename(own)
    assert argv(own) == ARGUMENTS
    own.rename(view / "share/jupyter/kernels")
    (view / "tree.json").write_text("{}")
    assert argv(view / "share/jupyter/kernels") == ARGUMENTS

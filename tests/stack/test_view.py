"""The view in a shell: setup scripts, commands, and an interpreter that brings its own libraries."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Stack

pytestmark = pytest.mark.stack

VERSIONS = {
    "pytorch": ("torch", "2."),
    "tensorflow": ("tensorflow", "2."),
    "root": ("ROOT", "6."),
    "mxnet": ("mxnet", "1."),
}


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_setup_of_the_view_makes_the_default_environment_the_shells(stack: Stack, home: Path, shell: str) -> None:
    find = "import importlib.util as u; print(u.find_spec('torch').origin)"
    script = f'. {stack.view}/setup.sh && command -v python && python -c "{find}"'
    where, torch = stack.run(shell, "-euc", script, home=home).splitlines()
    assert where.startswith("/cvmfs/sciencebox.local/lcg/releases/SB_1/")
    assert torch.startswith("/cvmfs/sciencebox.local/lcg/releases/pytorch/")


def test_setup_of_an_environment_makes_it_the_shells(stack: Stack, environment: str, home: Path) -> None:
    module, major = VERSIONS[environment]
    code = f"import {module}; print({module}.__version__)"
    script = f'. {stack.view}/{environment}/setup.sh; python -W ignore -c "{code}"'
    assert stack.run("bash", "-euc", script, home=home).startswith(major)


def test_the_interpreter_brings_its_own_libraries(stack: Stack, environment: str, home: Path) -> None:
    code = "import ssl, sqlite3, readline, lzma, ctypes; print(open('/proc/self/maps').read())"
    maps = stack.run(stack.view / environment / "bin" / "python", "-c", code, home=home)
    loaded = set(re.findall(r"(/\S+\.so[.\d]*)$", maps, re.MULTILINE))
    outside = {path.rpartition("/")[2].split(".")[0] for path in loaded if not path.startswith("/cvmfs/")}
    assert outside <= {"libc", "libm", "ld-linux-x86-64", "libdl", "libpthread", "librt", "libutil"}
    assert any("/lib/libssl.so" in path for path in loaded)


def test_certificates_are_those_of_the_machine_it_runs_on(stack: Stack, environment: str, home: Path) -> None:
    code = "import ssl; print(ssl.create_default_context().cert_store_stats()['x509_ca'])"
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    python = stack.view / environment / "bin" / "python"
    assert int(stack.run(python, "-c", code, home=home)) > 0
    assert int(stack.run(python, "-c", code, home=home, SSL_CERT_FILE=bundle)) > 0


def test_every_command_is_started_by_its_environments_own_python(stack: Stack, environment: str) -> None:
    scripts = stack.here(stack.view).resolve() / environment / "bin"
    own = f"#!/cvmfs/sciencebox.local/lcg/releases/SB_1/{scripts.parents[2].name}/".encode()
    starts = {path.name: path.read_bytes()[:200] for path in scripts.iterdir() if not path.is_symlink()}
    assert starts
    starts.pop("c++", None)  # ROOT's, which is no Python
    assert [name for name, start in starts.items() if not start.startswith(own)] == []


def test_nothing_names_the_folder_it_was_bound_from(stack: Stack) -> None:
    release = stack.here(stack.view).resolve()
    kinds = ("*.sh", "*.json", "*.cfg", "*.pth")
    texts = [path for kind in kinds for path in release.rglob(kind) if not path.is_symlink()]
    assert texts
    assert [path for path in texts if str(stack.folder) in path.read_text()] == []


def test_the_kernels_say_to_which_release_they_belong(stack: Stack, environment: str) -> None:
    kernel = stack.here(stack.view).resolve() / "share/jupyter/kernels" / environment / "kernel.json"
    specification = json.loads(kernel.read_text())
    assert specification["display_name"].endswith("(SB_1)")
    assert specification["env"]["LCG_VERSION"] == "SB_1"

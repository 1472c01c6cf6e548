"""The thin environment that makes a Python of an interpreter and a tree of packages."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest
from sciencebox_stack import own
from sciencebox_stack.content import content_digest
from sciencebox_stack.environment import PackageSet, create_environment, install_packages
from sciencebox_stack.lock import Lock, Pin, digest

from .conftest import FakeUv

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
OLD_INTERPRETER = "/cvmfs/test.local/lcg/releases/Python/3.11.1-old/x86_64-test-opt/bin/python3.11"


@pytest.fixture
def interpreter(tmp_path: Path) -> Path:
    """A prefix whose Python is that of the tests."""
    program = tmp_path / "interpreter" / "bin" / f"python{PYTHON}"
    program.parent.mkdir(parents=True)
    program.symlink_to(Path(sys.executable).resolve())
    return program.parent.parent


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A site-packages folder with a module, a .pth file and some commands."""
    folder = tmp_path / "packages" / "lib" / f"python{PYTHON}" / "site-packages"
    (folder / "bin").mkdir(parents=True)
    (folder / "heavy.py").write_text("ANSWER = 42\n")
    (folder / "nested").mkdir()
    (folder / "nested" / "deep.py").write_text("")
    (folder / "nested.pth").write_text("nested\n")
    return folder


def command(packages: Path, text: str) -> None:
    (packages / "bin" / "tool").write_text(text)
    (packages / "bin" / "tool").chmod(0o755)


BODY = "import heavy, sys\nprint(heavy.ANSWER, sys.prefix)\n"


@pytest.mark.parametrize(
    "start",
    [
        f"#!{OLD_INTERPRETER}\n",
        f"#!/bin/sh\n'''exec' {OLD_INTERPRETER} \"$0\" \"$@\"\n' '''\n",
        f"#!/bin/sh\n'''exec' '{OLD_INTERPRETER}' \"$0\" \"$@\"\n' '''\n",
    ],
    ids=["direct", "through the shell", "through the shell, quoted"],
)
@pytest.mark.parametrize("depth", [1, 30], ids=["short", "long"])
def test_a_command_runs_in_the_environment_whichever_interpreter_it_was_installed_by(
    tmp_path: Path, interpreter: Path, packages: Path, start: str, depth: int
) -> None:
    command(packages, start + BODY)
    prefix = tmp_path.joinpath(*["folder"] * depth)
    create_environment(prefix, interpreter, packages, PYTHON, ".local/box/T_1/alpha")
    done = subprocess.run([prefix / "bin" / "tool"], check=True, capture_output=True, text=True)
    assert done.stdout == f"42 {prefix}\n"


def test_nothing_changes_when_it_is_started(tmp_path: Path, interpreter: Path, packages: Path) -> None:
    program = create_environment(tmp_path / "thin", interpreter, packages, PYTHON, ".local/box/T_1/alpha")
    before = content_digest(tmp_path / "thin")
    subprocess.run([program, "-c", "pass"], check=True)
    assert content_digest(tmp_path / "thin") == before


def test_a_command_that_is_not_python_is_linked(tmp_path: Path, interpreter: Path, packages: Path) -> None:
    command(packages, "#!/bin/sh\necho shell\n")
    (packages / "bin" / "__pycache__").mkdir()  # of commands that are modules, too
    create_environment(tmp_path / "thin", interpreter, packages, PYTHON, ".local/box/T_1/alpha")
    assert (tmp_path / "thin" / "bin" / "tool").resolve() == packages / "bin" / "tool"


def test_a_package_that_brings_a_python_does_not_replace_ours(
    tmp_path: Path, interpreter: Path, packages: Path
) -> None:
    (packages / "bin" / "python3").write_text("#!/bin/sh\n")
    program = create_environment(tmp_path / "thin", interpreter, packages, PYTHON, ".local/box/T_1/alpha")
    assert program.with_name("python3").resolve() == Path(sys.executable).resolve()


def test_packages_and_what_their_pth_files_name_can_be_imported(
    tmp_path: Path, interpreter: Path, packages: Path
) -> None:
    program = create_environment(tmp_path / "thin", interpreter, packages, PYTHON, ".local/box/T_1/alpha")
    code = "import heavy, deep, sys; print(sys.prefix)"
    done = subprocess.run([program, "-I", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == f"{tmp_path / 'thin'}\n"


def test_what_a_user_installed_comes_first_and_only_in_the_environment_it_was_installed_for(
    tmp_path: Path, interpreter: Path, packages: Path
) -> None:
    home = tmp_path / "home"
    mine = home / f".local/box/T_1/alpha/lib/python{PYTHON}/site-packages/heavy"
    mine.mkdir(parents=True)
    (mine / "__init__.py").write_text("mine = True\n")
    found = []
    for name in ("alpha", "beta"):
        program = create_environment(tmp_path / name, interpreter, packages, PYTHON, f".local/box/T_1/{name}")
        code = "import heavy; print(hasattr(heavy, 'mine'))"
        variables = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
        done = subprocess.run([program, "-c", code], env=variables, check=True, capture_output=True, text=True)
        found.append(done.stdout.strip())
    assert found == ["True", "False"]


@pytest.mark.parametrize(
    ("words", "here"),
    [
        (["-m", "pip", "install", "x"], True),
        (["-I", "-m", "pip", "install", "x"], True),
        (["/cvmfs/box/bin/pip3", "install", "x"], True),
        (["-m", "pip", "--python", "mine", "install", "x"], False),
        (["-m", "pip", "--python=mine", "install", "x"], False),
        (["-m", "ipykernel_launcher", "-f", "pip"], False),
        (["train.py", "pip"], False),
        (["-c", "pip"], False),
        (["-"], False),
        ([], False),
    ],
)
def test_pip_alone_is_told_where_a_users_packages_go(words: list[str], here: bool) -> None:
    assert own.installs_here(words) is here


def test_a_virtual_environment_that_a_user_makes_installs_into_itself(
    tmp_path: Path, interpreter: Path, packages: Path
) -> None:
    program = create_environment(tmp_path / "thin", interpreter, packages, PYTHON, ".local/box/T_1/alpha")
    (packages / "pip.py").write_text("import os; print(os.environ.get('PIP_PREFIX', 'itself'))\n")
    venv.create(tmp_path / "mine", system_site_packages=False, symlinks=True)
    (tmp_path / "mine" / "lib" / f"python{PYTHON}" / "site-packages" / "pip.py").write_text(
        (packages / "pip.py").read_text()
    )
    started = f"import subprocess, sys; subprocess.run([{str(tmp_path / 'mine/bin/python')!r}, '-m', 'pip'])"
    variables = {"HOME": "/home/ada", "PATH": "/usr/bin:/bin"}
    found = [
        subprocess.run([program, *line], env=variables, check=True, capture_output=True, text=True).stdout.strip()
        for line in (["-m", "pip"], ["-c", started])
    ]
    assert found == ["/home/ada/.local/box/T_1/alpha", "itself"]


def package_set(tmp_path: Path, **changed: object) -> PackageSet:
    values = {
        "environment": "alpha",
        "lock": Lock((Pin("numpy", "2.4.6", ("sha256:" + "0" * 64,)),)),
        "lock_file": tmp_path / "lock.txt",
        "python": "3.11",
        "platform": "x86_64-test-opt",
        "trim": (),
    }
    return PackageSet(**{**values, **changed})  # type: ignore[arg-type]


def test_the_key_of_a_tree_follows_what_decides_its_content_and_nothing_else(tmp_path: Path) -> None:
    key = package_set(tmp_path).key
    assert package_set(tmp_path, lock_file=tmp_path / "elsewhere.txt").key == key
    assert package_set(tmp_path, environment="renamed").key == key
    other = Lock((Pin("numpy", "2.4.7", ("sha256:" + "0" * 64,)),))
    for changed in ({"python": "3.12"}, {"platform": "aarch64-test-opt"}, {"trim": ("x",)}, {"lock": other}):
        assert package_set(tmp_path, **changed).key != key


def test_parts_of_a_key_cannot_run_together() -> None:
    assert digest("ab", "c") != digest("a", "bc") != digest("abc")


def asked(packages: PackageSet, tree: Path) -> list[str]:
    """What the installer is asked to do."""
    arguments: list[str] = []

    class Asked(FakeUv):
        def run(self, task: str, given: list[str], on_line: object = None) -> None:  # type: ignore[override]
            arguments.extend(given)

    install_packages(packages, tree, Path("/python"), Asked())
    return arguments


def test_the_installer_is_told_to_take_nothing_but_the_lock(tmp_path: Path) -> None:
    arguments = asked(package_set(tmp_path), tmp_path / "tree")
    assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(arguments)
    assert arguments[arguments.index("--requirements") + 1] == str(tmp_path / "lock.txt")
    assert "--no-binary" not in arguments


def test_what_has_no_wheel_is_built_by_what_the_lock_pins(tmp_path: Path) -> None:
    arguments = asked(package_set(tmp_path, sources=("pyspark",)), tmp_path / "tree")
    assert arguments[arguments.index("--only-binary") + 1] == ":all:"
    assert arguments[arguments.index("--no-binary") + 1] == "pyspark"
    assert arguments[arguments.index("--build-constraints") + 1] == str(tmp_path / "lock.txt")

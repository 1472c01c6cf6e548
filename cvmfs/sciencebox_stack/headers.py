"""C and C++ headers that a release carries for ROOT, whose interpreter compiles C++ while it runs.

They are those of the C++ library that the release's interpreter brings, so a session needs no compiler.
"""

from __future__ import annotations

from pathlib import Path

from .carried import Part, packaged

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


def find_headers(compiler: str) -> Part:
    """The headers of a compiler as LCG names it ("gcc;12.2.0").

    Raises:
        StackError: a package is not installed.
    """
    major = compiler.rpartition(";")[2].split(".")[0]
    paths = packaged([name.format(major=major) for name in _PACKAGES], _ROOT, "C++ headers")
    return Part("Headers", major, {_place(str(path.relative_to(_ROOT)), major): path for path in paths})


def header_variables(tree: Path) -> dict[str, str]:
    """What makes a C++ interpreter find the headers of the C library."""
    return {"CPLUS_INCLUDE_PATH": f"{tree}/c", "C_INCLUDE_PATH": f"{tree}/c"}


def write_shim(program: Path, tree: Path, major: str) -> None:
    """Write a `c++` that tells where the headers are."""
    program.write_text(_SHIM.format(headers=tree, major=major), encoding="utf-8")
    program.chmod(0o755)


def _place(name: str, major: str) -> str:
    """C++ headers beside those of C; what is for one machine alone is merged, but for C++, where names repeat."""
    plain = name.removeprefix(_MACHINE)
    if plain.startswith(f"c++/{major}/"):
        return plain.replace(f"c++/{major}/", f"c++/{major}-machine/", 1) if plain != name else plain
    return f"c/{plain}"

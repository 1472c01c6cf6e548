"""What a view says of itself, and where loaded libraries are from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from brainmri import stack

if TYPE_CHECKING:
    from pathlib import Path

RELEASES = "/cvmfs/sciencebox.local/lcg/releases"
MANIFEST = f"""\
PLATFORM: x86_64-debian12-gcc12-opt
VERSION: SB_1
COMPILER: gcc;12.2.0
Python; 0511a; 3.11.2; {RELEASES}/Python/3.11.2-0511/x86_64;
numpy; 11111; 2.4.6; {RELEASES}/pytorch/b26c/x86_64;
torch; 22222; 2.15.0; {RELEASES}/pytorch/b26c/x86_64; numpy-11111
numpy; 11111; 2.4.6; {RELEASES}/root/aaaa/x86_64;
brainmri; 33333; 0.1.0; {RELEASES}/SB_1/bbbb/x86_64/root;
"""
MAPS = f"""\
7f00-7f01 r-xp 00000000 08:01 1   {RELEASES}/pytorch/b26c/x86_64/lib/libcublas.so.13
7f01-7f02 r-xp 00000000 08:01 2   /usr/lib/x86_64-linux-gnu/libcuda.so.580.65.06
7f02-7f03 r-xp 00000000 08:01 3   /usr/lib/x86_64-linux-gnu/libc.so.6
7f03-7f04 rw-p 00000000 00:00 0
"""


def test_the_manifest_is_read_by_environment() -> None:
    listed = stack.parse_manifest(MANIFEST)
    assert [(package.environment, package.name) for package in listed] == [
        ("Python", "Python"),
        ("pytorch", "numpy"),
        ("pytorch", "torch"),
        ("root", "numpy"),
        ("root", "brainmri"),
    ]
    assert stack.versions(listed, ["torch", "numpy"]) == {"pytorch": "numpy 2.4.6, torch 2.15.0", "root": "numpy 2.4.6"}


def test_a_kernel_outside_a_stack_has_no_view(tmp_path: Path) -> None:
    assert stack.view(str(tmp_path / "env")) is None
    (tmp_path / "LCG_externals_x86_64.txt").write_text(MANIFEST)
    (tmp_path / "pytorch/bin").mkdir(parents=True)
    (tmp_path / "pytorch/bin/python").write_text("")
    assert stack.view(str(tmp_path / "env")) == tmp_path
    assert stack.environments(tmp_path) == ("pytorch",)


def test_libraries_are_told_by_where_they_are_from() -> None:
    libraries = stack.loaded(MAPS)
    assert {name: stack.origin(file) for name, file in libraries.items()} == {
        "libcublas.so.13": "stack",
        "libcuda.so.580.65.06": "driver",
    }
    assert stack.misplaced(libraries) == []


@pytest.mark.parametrize(
    ("name", "file", "should"),
    [
        ("libcuda.so.1", f"{RELEASES}/pytorch/b26c/x86_64/lib/libcuda.so.1", "driver"),
        ("libcudnn.so.9", "/usr/local/lib/libcudnn.so.9", "stack"),
    ],
)
def test_a_stub_of_the_driver_and_a_stray_library_are_noticed(name: str, file: str, should: str) -> None:
    (sentence,) = stack.misplaced({name: file})
    assert sentence.endswith(f"it should come from the {should}.")


def test_another_environment_that_fails_says_why(tmp_path: Path) -> None:
    python = tmp_path / "root/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'Traceback' >&2\necho 'ImportError: no such thing' >&2\nexit 1\n")
    python.chmod(0o755)
    (tmp_path / "root/setup.sh").write_text(f"PATH={python.parent}:$PATH\nexport JAVA_HOME=/java\n")
    with pytest.raises(stack.StackError, match="root: ImportError: no such thing"):
        stack.run(tmp_path, "root", "import nothing")
    python.write_text('#!/bin/sh\necho "$JAVA_HOME $2"\n')
    assert stack.run(tmp_path, "root", "print(7)") == "/java print(7)\n"

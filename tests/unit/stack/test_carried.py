"""Parts of the distribution that a release carries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sciencebox_stack.carried import Part, packaged
from sciencebox_stack.errors import StackError
from sciencebox_stack.tree import Layout, read_record


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "root", "x86_64-test-opt")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "java"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path


def test_it_is_copied_once_with_modes_and_dates(layout: Layout, program: Path) -> None:
    part = Part("Java", "17", {"bin/java": program}, {"lib/trusted": b"certificates"})
    part.install(layout)
    tree = part.tree(layout)
    copied = (tree / "bin/java").stat()
    assert (copied.st_mode & 0o777, copied.st_mtime) == (0o755, 1_000_000_000)
    assert (tree / "lib/trusted").read_bytes() == b"certificates"
    (tree / "bin/java").unlink()
    part.install(layout)
    assert not (tree / "bin/java").exists()


def test_other_content_makes_another_tree_and_leaves_the_first(layout: Layout, program: Path) -> None:
    first = Part("Java", "17", {"bin/java": program})
    first.install(layout)
    program.write_text("#!/bin/dash\n")
    second = Part("Java", "17", {"bin/java": program})
    second.install(layout)
    assert Part("Java", "17", {"bin/java": program}, {"lib/trusted": b"other"}).key == second.key
    assert second.tree(layout) != first.tree(layout)
    assert read_record(first.tree(layout)) is not None


def test_a_copy_that_does_not_run_is_not_published(layout: Layout, program: Path) -> None:
    program.write_text("#!/bin/sh\necho no libjvm.so >&2; exit 1\n")
    part = Part("Java", "17", {"bin/java": program}, proof=("bin/java", "-version"))
    with pytest.raises(StackError, match=r"bin/java does not run from .*: no libjvm.so"):
        part.install(layout)
    assert read_record(part.tree(layout)) is None


def test_a_packages_files_are_told_by_the_distribution_links_followed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path
) -> None:
    folder = tmp_path / "jvm"
    folder.mkdir()
    (folder / "java").symlink_to(program)
    (folder / "docs").symlink_to(tmp_path / "nowhere")
    (tmp_path / "dpkg-query").write_text(
        f"#!/bin/sh\nprintf '%s\\n' /. {folder} {folder}/java {folder}/docs {program}\n"
    )
    (tmp_path / "dpkg-query").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert list(packaged(["java"], folder, "Java")) == [folder / "java"]


def test_a_machine_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="carries Java 17; build in the image sciencebox/cvmfs, or install openjdk-17"):
        list(packaged(["openjdk-17-jre-headless"], Path("/usr/lib/jvm"), "Java 17"))

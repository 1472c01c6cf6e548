"""The notebooks' package, given as a wheel or as a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sciencebox_stack.errors import StackError
from sciencebox_stack.project import read_project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "package").mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nname = "package"\nversion = "1.2"\n')
    (folder / "package" / "__init__.py").write_text("")
    return folder


def test_a_wheel_is_taken_as_it_is(wheel: Path, tmp_path: Path) -> None:
    project = read_project(wheel)
    assert (project.name, project.version, project.wheel(tmp_path)) == ("brainmri", "0.1.0", wheel)


def test_a_folder_is_known_by_its_sources(source: Path) -> None:
    project = read_project(source)
    assert (project.name, project.version) == ("package", "1.2")
    (source / "package" / "__init__.py").write_text("changed")
    assert read_project(source).key != project.key


@pytest.mark.parametrize("name", ["notes.ipynb", ".hidden", "build/lib/x.py", "package/__pycache__/x.pyc"])
def test_what_is_not_part_of_the_package_does_not_count(source: Path, name: str) -> None:
    key = read_project(source).key
    (source / name).parent.mkdir(parents=True, exist_ok=True)
    (source / name).write_text("anything")
    assert read_project(source).key == key


def test_the_same_sources_elsewhere_are_the_same_package(source: Path, tmp_path: Path) -> None:
    key = read_project(source).key
    assert read_project(source.rename(tmp_path / "elsewhere")).key == key


def test_anything_else_is_refused(tmp_path: Path, source: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", source / "package"):
        with pytest.raises(StackError, match=r"is neither a wheel nor a folder whose pyproject\.toml"):
            read_project(path)
    (source / "pyproject.toml").write_text("[project]\nname = 'package'\n")
    with pytest.raises(StackError, match="gives a name and a version"):
        read_project(source)


def test_sources_that_do_not_build_are_named(source: Path, tmp_path: Path) -> None:
    (source / "pyproject.toml").write_text('[project]\nname = "package"\nversion = "not a version"\n')
    (tmp_path / "scratch").mkdir()
    with pytest.raises(StackError, match=r"Could not build package from .*source"):
        read_project(source).wheel(tmp_path / "scratch")

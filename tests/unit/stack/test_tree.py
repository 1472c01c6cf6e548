"""Where things lie, when a tree counts as finished, and how a view is switched."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from sciencebox_stack.errors import StackError
from sciencebox_stack.tree import Layout, finish_tree, only_builder, read_record, start_tree, switch_view

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def layout(root: Path) -> Layout:
    return Layout(root, "x86_64-test-opt")


def made(tree: Path, content: str = "x") -> Path:
    start_tree(tree)
    (tree / "setup.sh").write_text(content)
    finish_tree(tree, "T_1", tree.parent.name, (), {})
    return tree


def test_trees_and_views_lie_as_in_lcg_releases(layout: Layout, root: Path) -> None:
    assert layout.tree("T_1", "abc") == root / "lcg/releases/T_1/abc/x86_64-test-opt"
    assert layout.view("T_1") == root / "lcg/views/T_1/x86_64-test-opt"


def test_a_tree_is_finished_when_its_record_is_there(layout: Layout) -> None:
    tree = layout.tree("T_1", "abc")
    assert read_record(tree) is None
    start_tree(tree)
    (tree / "data").write_bytes(b"12345")
    assert read_record(tree) is None
    finish_tree(tree, "T_1", "abc", ("lcg/releases/Python/x/y",), {"variant": "cpu"})
    record = read_record(tree)
    assert record is not None
    assert (record.size, record.uses, record.details) == (5, ("lcg/releases/Python/x/y",), {"variant": "cpu"})


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"uses": 1}', '{"uses": [], "surprise": 1}'])
def test_a_damaged_record_is_no_record(layout: Layout, text: str) -> None:
    tree = made(layout.tree("T_1", "abc"))
    (tree / "tree.json").write_text(text)
    assert read_record(tree) is None


def test_starting_again_leaves_nothing_of_what_was_there(layout: Layout) -> None:
    tree = made(layout.tree("T_1", "abc"))
    start_tree(tree)
    assert list(tree.iterdir()) == []


def test_a_view_is_a_relative_link_so_that_the_folder_may_be_mounted_elsewhere(layout: Layout, tmp_path: Path) -> None:
    switch_view(layout.view("T_1"), made(layout.tree("T_1", "abc")), layout.work.parent)
    layout.root.rename(tmp_path / "moved")
    moved = Layout(tmp_path / "moved", layout.platform)
    assert (moved.view("T_1") / "setup.sh").read_text() == "x"


def test_switching_shows_the_new_tree_and_nothing_beside_it(layout: Layout) -> None:
    layout.work.mkdir()
    for key in ("abc", "def"):
        switch_view(layout.view("T_1"), made(layout.tree("T_1", key), key), layout.work)
        assert (layout.view("T_1") / "setup.sh").read_text() == key
    assert [path.name for path in layout.view("T_1").parent.iterdir()] == [layout.platform]


def test_a_draft_that_an_interrupted_switch_left_is_replaced(layout: Layout) -> None:
    layout.work.mkdir()
    (layout.work / "view").symlink_to("nowhere")
    switch_view(layout.view("T_1"), made(layout.tree("T_1", "abc")), layout.work)
    assert (layout.view("T_1") / "setup.sh").is_file()


def test_a_view_that_someone_else_made_is_left_alone(layout: Layout) -> None:
    layout.view("T_1").mkdir(parents=True)
    (layout.view("T_1") / "mine").touch()
    with pytest.raises(StackError, match="is not a link that this program made; move it away"):
        switch_view(layout.view("T_1"), made(layout.tree("T_1", "abc")), layout.work)
    assert (layout.view("T_1") / "mine").exists()


def test_only_one_builder_is_at_work_and_the_next_may_start_when_it_ends(layout: Layout) -> None:
    with (
        only_builder(layout.work),
        pytest.raises(StackError, match="Another build is at work in"),
        only_builder(layout.work),
    ):
        pass
    with only_builder(layout.work):
        pass


def test_the_builders_folder_is_its_owners_alone(layout: Layout) -> None:
    before = os.umask(0o022)
    try:
        with only_builder(layout.work):
            assert layout.work.stat().st_mode & 0o077 == 0
    finally:
        os.umask(before)

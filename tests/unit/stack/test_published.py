"""What is published, what is used by nothing, and removing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sciencebox_stack.errors import StackError
from sciencebox_stack.published import published, remove_stale_downloads, remove_tree, unused_trees

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Site


def test_nothing_is_published_in_an_empty_or_missing_folder(root: Path, tmp_path: Path) -> None:
    assert published(root) == []
    assert published(tmp_path / "nowhere") == []


def test_a_published_release_names_its_parts_and_its_size(site: Site, root: Path) -> None:
    plan = site.build()
    (view,) = published(root)
    assert (view.release, view.platform, view.record.key) == ("T_1", "x86_64-test-opt", plan.key)
    assert [part.name for part in view.parts] == ["Python", "alpha", "beta"]
    assert view.size == sum(
        path.lstat().st_size
        for tree in (view.tree, *view.used)
        for path in tree.rglob("*")
        if path.name != "tree.json" and not path.is_dir()
    )


def test_an_unfinished_release_is_not_published(site: Site, root: Path) -> None:
    plan = site.build()
    (plan.tree / "tree.json").unlink()
    assert published(root) == []


def test_what_an_upgrade_left_is_unused_and_what_is_published_is_not(
    site: Site, root: Path, write_locks: Callable[..., None]
) -> None:
    old = site.build()
    assert unused_trees(root) == []
    write_locks(numpy="2.4.7")
    site.build()
    assert set(unused_trees(root)) == {old.tree, *map(old.packages_tree, old.packages)}


def test_half_built_trees_are_unused(site: Site, root: Path) -> None:
    site.uv.broken.add("install beta")
    with pytest.raises(StackError):
        site.build()
    plan = site.plan()
    assert plan.packages_tree(plan.packages[1]) in unused_trees(root)


def test_removing_a_tree_removes_folders_that_become_empty_and_no_more(
    site: Site, root: Path, write_locks: Callable[..., None]
) -> None:
    old = site.build()
    write_locks(numpy="2.4.7")
    new = site.build()
    assert remove_tree(root, old.tree) > 0
    assert not old.tree.parent.exists()
    assert new.view.is_dir()
    remove_tree(root, new.tree)
    assert not (root / "lcg" / "releases" / "T_1").exists()
    assert (root / "lcg" / "releases" / "alpha").exists()


def test_downloads_that_no_tree_shares_are_removed(tmp_path: Path) -> None:
    used, stale = (tmp_path / "cache" / "archive-v0" / name for name in ("used", "stale"))
    for archive in (used, stale):
        archive.mkdir(parents=True)
        (archive / "module.py").touch()
    (tmp_path / "tree.py").hardlink_to(used / "module.py")
    source = tmp_path / "cache" / "sdists-v11" / "pypi"
    source.mkdir(parents=True)
    remove_stale_downloads(tmp_path / "cache")
    assert used.exists()
    assert not stale.exists()
    assert not source.exists()
    remove_stale_downloads(tmp_path / "nowhere")

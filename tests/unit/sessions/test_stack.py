"""Which releases sessions may choose, read from the published folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sciencebox.sessions.stack import View, published

if TYPE_CHECKING:
    from pathlib import Path

PLATFORM = "x86_64-debian12-gcc12-opt"


def _publish(root: Path, release: str) -> None:
    tree = root / "lcg" / "releases" / release
    tree.mkdir(parents=True)
    (tree / "setup.sh").write_text("")
    view = root / "lcg" / "views" / release / PLATFORM
    view.parent.mkdir(parents=True)
    view.symlink_to(tree)


def test_views_are_named_as_sessions_see_them(tmp_path: Path) -> None:
    _publish(tmp_path, "SB_1_cuda")
    _publish(tmp_path, "SB_1")

    assert published(tmp_path, "sciencebox.local") == (
        View("SB_1", PLATFORM, f"/cvmfs/sciencebox.local/lcg/views/SB_1/{PLATFORM}"),
        View("SB_1_cuda", PLATFORM, f"/cvmfs/sciencebox.local/lcg/views/SB_1_cuda/{PLATFORM}"),
    )


def test_a_server_without_a_stack_has_none(tmp_path: Path) -> None:
    assert published(tmp_path / "nothing", "sciencebox.local") == ()


def test_an_unfinished_view_is_not_offered(tmp_path: Path) -> None:
    (tmp_path / "lcg" / "views" / "SB_2" / PLATFORM).mkdir(parents=True)

    assert published(tmp_path, "sciencebox.local") == ()

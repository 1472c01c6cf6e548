"""Which notebooks are offered, and what a copy of one does to the user's files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sciencebox_session import gallery as subject

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def edit(path: Path) -> None:
    """Change a notebook and save it as JupyterLab does: cells change, the metadata stays."""
    notebook = json.loads(path.read_text())
    notebook["cells"].append({"cell_type": "markdown", "id": "mine", "metadata": {}, "source": "my own words"})
    path.write_text(json.dumps(notebook))


@pytest.mark.parametrize(
    ("markdown", "title", "summary"),
    [
        (["# Your GPU\n\nWhat it is. And more."], "Your GPU", "What it is."),
        (["## Second\nA line\nand its *end*. Next."], "Second", "A line and its end."),
        (
            ["# Title", "Text of the next cell, e.g. [this](http://site.example/a). Rest."],
            "Title",
            "Text of the next cell, e.g. this.",
        ),
        (["# `code` and __bold__"], "code and bold", ""),
        (["No heading here."], "name", "No heading here."),
        ([], "name", ""),
        (["# <script>alert(1)</script>"], "<script>alert(1)</script>", ""),
        (["# learning_rate stays\n\nSo does batch_size."], "learning_rate stays", "So does batch_size."),
    ],
)
def test_an_entry_is_the_first_heading_and_the_first_sentence_under_it(
    gallery: Path, bundle: Callable[..., Path], markdown: list[str], title: str, summary: str
) -> None:
    bundle("name", *markdown)
    assert subject.entries(gallery) == [subject.Entry("name", title, summary)]


def test_the_gallery_is_in_reading_order_and_lists_a_damaged_notebook_by_its_name(
    gallery: Path, bundle: Callable[..., Path]
) -> None:
    bundle("11_second", "# Second")
    bundle("00_first", "# First")
    (gallery / "20_damaged.ipynb").write_text("{")
    (gallery / "30_list.ipynb").write_text("[]")
    (gallery / "readme.txt").write_text("not a notebook")
    assert [entry.title for entry in subject.entries(gallery)] == ["First", "Second", "20_damaged", "30_list"]


def test_a_missing_gallery_is_an_empty_one(tmp_path: Path) -> None:
    assert subject.entries(tmp_path / "nowhere") == []


def test_the_first_copy_has_all_cells_and_the_user_can_write_it(
    gallery: Path, home: Path, bundle: Callable[..., Path]
) -> None:
    source = bundle("00_first", "# First")
    source.chmod(0o444)
    assert subject.copy(gallery, home, "00_first") == subject.Copy("notebooks/00_first.ipynb", "created")
    path = home / "notebooks/00_first.ipynb"
    assert json.loads(path.read_text())["cells"] == json.loads(source.read_text())["cells"]
    assert path.stat().st_mode & 0o200


def test_a_second_request_finds_the_edited_copy(gallery: Path, home: Path, bundle: Callable[..., Path]) -> None:
    bundle("00_first", "# First")
    path = home / subject.copy(gallery, home, "00_first").path
    edit(path)
    edited = path.read_bytes()
    assert subject.copy(gallery, home, "00_first") == subject.Copy("notebooks/00_first.ipynb", "kept")
    assert path.read_bytes() == edited


def test_a_new_edition_is_offered_beside_the_users_own_work(
    gallery: Path, home: Path, bundle: Callable[..., Path]
) -> None:
    bundle("00_first", "# First")
    path = home / subject.copy(gallery, home, "00_first").path
    edit(path)
    edited = path.read_bytes()
    bundle("00_first", "# First, revised")

    asked = subject.copy(gallery, home, "00_first")
    assert asked == subject.Copy("notebooks/00_first.ipynb", "differs", "00_first-2.ipynb")
    assert list(path.parent.iterdir()) == [path]

    beside = subject.copy(gallery, home, "00_first", beside=True)
    assert beside == subject.Copy("notebooks/00_first-2.ipynb", "created")
    assert "revised" in (home / beside.path).read_text()
    assert path.read_bytes() == edited
    # From now on the copy of this edition is the one that is opened, and asking twice does not make a third.
    assert subject.copy(gallery, home, "00_first") == subject.Copy("notebooks/00_first-2.ipynb", "kept")
    assert subject.copy(gallery, home, "00_first", beside=True).outcome == "kept"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"metadata": null}', b"\xff\xfe my own file"])
def test_a_file_of_the_users_own_is_left_as_it_is(
    gallery: Path, home: Path, bundle: Callable[..., Path], content: bytes
) -> None:
    bundle("00_first", "# First")
    own = home / "notebooks/00_first.ipynb"
    own.parent.mkdir()
    own.write_bytes(content)
    assert subject.copy(gallery, home, "00_first").outcome == "differs"
    assert subject.copy(gallery, home, "00_first", beside=True).path == "notebooks/00_first-2.ipynb"
    assert own.read_bytes() == content


def test_a_link_in_the_way_is_not_written_through(gallery: Path, home: Path, bundle: Callable[..., Path]) -> None:
    bundle("00_first", "# First")
    (home / "notebooks").mkdir()
    (home / "notebooks/00_first.ipynb").symlink_to(home / "elsewhere.ipynb")
    assert subject.copy(gallery, home, "00_first").outcome == "differs"
    subject.copy(gallery, home, "00_first", beside=True)
    assert not (home / "elsewhere.ipynb").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../secret", "/etc/passwd", "..%2fsecret", "00_first.ipynb", "none"])
def test_a_name_that_is_not_bundled_is_refused(
    gallery: Path, home: Path, bundle: Callable[..., Path], name: str
) -> None:
    bundle("00_first", "# First")
    (gallery.parent / "secret.ipynb").write_text("{}")
    with pytest.raises(subject.GalleryError, match="no bundled notebook") as refused:
        subject.copy(gallery, home, name)
    assert refused.value.status == 404
    assert list(home.iterdir()) == []


def test_a_file_where_the_folder_should_be_is_named(gallery: Path, home: Path, bundle: Callable[..., Path]) -> None:
    bundle("00_first", "# First")
    (home / "notebooks").write_text("mine")
    with pytest.raises(subject.GalleryError, match="A file named notebooks") as refused:
        subject.copy(gallery, home, "00_first")
    assert refused.value.status == 409
    assert (home / "notebooks").read_text() == "mine"


def test_the_gallery_is_linked_once_and_never_over_something(gallery: Path, home: Path) -> None:
    subject.link(gallery, home)
    subject.link(gallery, home)
    assert (home / "examples").readlink() == gallery
    other = home.parent / "other"
    (other / "examples").mkdir(parents=True)
    subject.link(gallery, other)
    assert not (other / "examples").is_symlink()

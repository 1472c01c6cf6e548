"""The example notebooks that come with the image, and copies of them among the user's files.

A copy remembers in its own metadata which edition it was made from, so that it can be moved, edited and saved and still
be told from an outdated one. No copy is ever written over a file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = "notebooks"  # of the user's, where copies go
LINK = "examples"  # in the user's home, shows the gallery itself
EDITION = "sciencebox_edition"  # key of a copy's metadata

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


class GalleryError(Exception):
    """A copy could not be made, for a reason that the user can understand; `status` is the HTTP status that says so."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Entry:
    """A bundled notebook: its name without suffix, its first heading, and the first sentence under it."""

    name: str
    title: str
    summary: str


@dataclass(frozen=True)
class Copy:
    """Where the user's copy is, relative to their home, and how it came to be there.

    outcome: `created` now; `kept`, the copy of this edition that was there, edited or not; `differs`, a file of that
    name, from another edition or of the user's own, which was left as it is: `offer` is a free name beside it.
    """

    path: str
    outcome: str
    offer: str | None = None


def entries(gallery: Path) -> list[Entry]:
    """The bundled notebooks in reading order; one that can't be read is listed by its name."""
    return [_describe(path) for path in _bundled(gallery).values()]


def copy(gallery: Path, home: Path, name: str, *, beside: bool = False) -> Copy:
    """Give the user a copy of a bundled notebook, or find the one they have.

    `beside` makes a further copy under the next free name when the first name is taken.
    Raises `GalleryError`: no such notebook (404), no permission (403), something in the way (409), disk full (507).
    """
    source = _bundled(gallery).get(name)
    if source is None:
        raise GalleryError("There is no bundled notebook of this name.", 404)
    try:
        return _copy(source, home / FOLDER, beside)
    except OSError as error:
        raise _explained(error) from error


def _copy(source: Path, folder: Path, beside: bool) -> Copy:
    content = source.read_bytes()
    edition = hashlib.sha256(content).hexdigest()
    taken, free = _names(folder, source.stem)
    for path in taken:
        if _edition(path) == edition:
            return Copy(_relative(path), "kept")
    if taken and not beside:
        return Copy(_relative(taken[0]), "differs", free.name)
    folder.mkdir(exist_ok=True)
    _write_new(free, _stamped(content, edition))
    return Copy(_relative(free), "created")


def link(gallery: Path, home: Path) -> None:
    """Show the gallery in the user's home, unless something of that name is there."""
    place = home / LINK
    if not _taken(place):
        place.symlink_to(gallery)


def _bundled(gallery: Path) -> dict[str, Path]:
    """The notebooks by name. Names are only ever looked up here, so none can lead out of the gallery."""
    return {path.stem: path for path in sorted(gallery.glob("*.ipynb"))}


def _names(folder: Path, stem: str) -> tuple[list[Path], Path]:
    """The places where copies are, in the order in which they were made, and the next free one."""
    taken = []
    for number in count(1):
        path = folder / (f"{stem}.ipynb" if number == 1 else f"{stem}-{number}.ipynb")
        if not _taken(path):
            break
        taken.append(path)
    return taken, path


def _taken(path: Path) -> bool:
    """Whether something is there, a dangling link included."""
    return path.is_symlink() or path.exists()


def _relative(path: Path) -> str:
    return f"{FOLDER}/{path.name}"


def _edition(path: Path) -> str | None:
    """From which edition a file of the user's was copied, None for one of their own or a damaged one."""
    try:
        edition = json.loads(path.read_bytes())["metadata"][EDITION]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return edition if isinstance(edition, str) else None


def _stamped(content: bytes, edition: str) -> bytes:
    """The notebook with its edition in the metadata, in the layout in which Jupyter saves notebooks."""
    notebook = json.loads(content)
    notebook.setdefault("metadata", {})[EDITION] = edition
    return (json.dumps(notebook, ensure_ascii=False, indent=1) + "\n").encode()


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that was not there; leave nothing behind when that fails halfway."""
    file = path.open("xb")
    try:
        with file:
            file.write(content)
    except OSError:
        path.unlink()
        raise


def _explained(error: OSError) -> GalleryError:
    if error.errno in DISK_FULL:
        return GalleryError("Your disk space is used up: nothing was copied. Delete files and try again.", 507)
    if isinstance(error, PermissionError):
        return GalleryError(f"Your folder {FOLDER} can't be written to: nothing was copied.", 403)
    if isinstance(error, FileExistsError | NotADirectoryError):
        return GalleryError(f"A file named {FOLDER} is where the folder should be: rename it and try again.", 409)
    return GalleryError(f"Nothing was copied: {error.strerror}.", 500)


def _describe(path: Path) -> Entry:
    try:
        lines = list(_prose(json.loads(path.read_bytes())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Entry(path.stem, path.stem, "")
    heading = next((line for line in lines if line.startswith("#")), "")
    following = lines[lines.index(heading) + 1 :] if heading else lines
    paragraph: list[str] = []
    for line in following:
        if paragraph and not line:
            break
        if line and not line.startswith("#"):
            paragraph.append(line)
    return Entry(path.stem, _plain(heading.lstrip("#")) or path.stem, _first_sentence(_plain(" ".join(paragraph))))


def _prose(notebook: dict[str, Any]) -> Iterator[str]:
    """The lines of the notebook's markdown cells, with an empty line after each cell."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            yield from (line.strip() for line in "".join(cell["source"]).splitlines())
            yield ""


def _plain(markdown: str) -> str:
    """Markdown without the marks that would only disturb in a line of text: links, emphasis, code."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    return re.sub(r"(\*\*|__|`|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w))", "", text).strip()


def _first_sentence(text: str) -> str:
    match = re.match(r".+?[.!?](?=\s+[A-Z]|\s*$)", text)
    return match.group() if match else text

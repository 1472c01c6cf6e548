"""Downloading a public data set: what is there is not fetched again, what was cut off goes on, all of it is checked."""

from __future__ import annotations

import hashlib
import http.client
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from brainmri.data import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[int, int, str], None]

API = "https://api.figshare.com/v2/articles"
ARTICLES = {"figshare": 1512427}  # by the name of the set: the brain tumour data set of J. Cheng
PIECE = 1 << 20  # bytes read at a time
PATIENCE_S = 60.0
PART = ".part"
_FAULTS = (URLError, http.client.HTTPException, ConnectionError, TimeoutError)


@dataclass(frozen=True)
class Remote:
    """A file of an article, as figshare tells of it."""

    name: str
    url: str
    size: int  # bytes
    md5: str


@dataclass(frozen=True)
class Article:
    """What is published under one number, and under which licence."""

    title: str
    licence: str
    doi: str
    files: tuple[Remote, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def article(name: str, api: str = API) -> Article:
    """What figshare tells of a set. Raises DataError where it does not answer, or not as it should."""
    address = f"{api}/{ARTICLES[name]}"
    try:
        with urlopen(address, timeout=PATIENCE_S) as answer:  # noqa: S310 - the address is ours
            told = json.load(answer)
        return _read(told)
    except _FAULTS as error:
        raise DataError(
            f"{address} does not answer ({_reason(error)}). Where there is no network, fetch the files of "
            f"https://doi.org/10.6084/m9.figshare.{ARTICLES[name]} elsewhere, put them into a folder here, and run "
            f"`brainmri convert {name} --from FOLDER --to DIR`."
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{address} answers something else than a list of files ({error!r}).") from error


def _read(told: dict[str, Any]) -> Article:
    files = tuple(
        # Only the last part of a name: a file belongs into the folder, whatever the server says.
        Remote(PurePosixPath(file["name"]).name, file["download_url"], int(file["size"]), file["computed_md5"])
        for file in told["files"]
    )
    return Article(told["title"], told["license"]["name"], told["doi"], files)


def fetch(wanted: Article, folder: Path, on_progress: Progress | None = None) -> list[Path]:
    """Every file of an article, in a folder; `on_progress` is told bytes done, bytes of all, and the file's name.

    Raises DataError when it is interrupted or a file is not what it should be. Run it again to go on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done, paths = 0, []
    for file in wanted.files:
        path = folder / file.name
        tell = partial(_tell, on_progress, wanted, file.name, done)
        if not _is_whole(path, file):
            _download(file, path, tell)
        tell(file.size)
        done += file.size
        paths.append(path)
    return paths


def _tell(on_progress: Progress | None, wanted: Article, name: str, before: int, here: int) -> None:
    if on_progress:
        on_progress(before + here, wanted.size, name)


def _is_whole(path: Path, file: Remote) -> bool:
    return path.is_file() and path.stat().st_size == file.size and _md5(path).hexdigest() == file.md5


def _download(file: Remote, path: Path, tell: Callable[[int], None]) -> None:
    part = path.with_name(path.name + PART)
    there = part.stat().st_size if part.exists() else 0
    if there >= file.size:
        there = 0
    digest = _md5(part) if there else hashlib.md5(usedforsecurity=False)
    request = Request(file.url, headers={"Range": f"bytes={there}-"} if there else {})  # noqa: S310 - as figshare says
    try:
        with urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310
            if there and answer.status != http.client.PARTIAL_CONTENT:  # it sends all of it again
                there, digest = 0, hashlib.md5(usedforsecurity=False)
            with part.open("ab" if there else "wb") as written:
                while piece := answer.read(PIECE):
                    written.write(piece)
                    digest.update(piece)
                    there += len(piece)
                    tell(there)
    except HTTPError as error:
        raise DataError(f"{file.url} answers {error.code} {error.reason} for {file.name}. Try again later.") from error
    except _FAULTS as error:
        raise _cut_off(file, there, _reason(error)) from error
    if there < file.size:
        raise _cut_off(file, there, "the connection was closed")
    if digest.hexdigest() != file.md5:
        part.unlink()
        raise DataError(f"{file.name} arrived otherwise than it was published (MD5). It was removed; fetch it again.")
    part.replace(path)


def _cut_off(file: Remote, there: int, why: str) -> DataError:
    return DataError(
        f"{file.name} was cut off after {there / 1e6:.1f} of {file.size / 1e6:.1f} MB ({why}). "
        "Run the same command again: it goes on from there."
    )


def _md5(path: Path) -> Any:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))


def _reason(error: BaseException) -> str:
    return str(getattr(error, "reason", "") or error or type(error).__name__)

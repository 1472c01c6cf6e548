"""Where a repository is read from: a folder, or a web server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import httpx

from ..errors import StackError
from .objects import DamagedError, ObjectName, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_PATIENCE_S = 30.0
_AT_ONCE = 64 * 1024
_LARGEST_LETTER = 1024 * 1024
_LARGEST_DATABASE = 1024 * 1024 * 1024  # a history's size is said nowhere


class MissingError(DamagedError):
    """Something that must be there is not."""


class Source(Protocol):
    """Reads the files of a repository."""

    def read(self, path: str, most: int = _LARGEST_DATABASE) -> bytes:
        """The content of a file below the repository's root, of so many bytes at the most.

        Raises:
            MissingError: there is none.
            DamagedError: it is longer.
        """


class FolderSource:
    """A repository in a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str, most: int = _LARGEST_DATABASE) -> bytes:
        """See Source."""
        try:
            with (self._root / path).open("rb") as file:
                return _bounded(path, iter(lambda: file.read(_AT_ONCE), b""), most)
        except FileNotFoundError:
            raise MissingError(f"{path} is missing in {self._root}.") from None


class WebSource:
    """A repository on a web server; many threads may read at once."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        transport = httpx.HTTPTransport(retries=3)
        self._client = httpx.Client(timeout=_PATIENCE_S, transport=transport, follow_redirects=True)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def read(self, path: str, most: int = _LARGEST_DATABASE) -> bytes:
        """See Source. Raises StackError when the server does not answer."""
        try:
            with self._client.stream("GET", f"{self._url}/{path}") as answer:
                if answer.status_code == httpx.codes.NOT_FOUND:
                    raise MissingError(f"{path} is missing at {self._url}.")
                if answer.is_error:
                    raise StackError(f"{self._url}/{path} answers with status {answer.status_code}.")
                return _bounded(path, answer.iter_bytes(), most)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # the last for a name that cannot be one
            raise StackError(f"{self._url} does not answer: {str(error).rstrip('.')}.") from None


def _bounded(path: str, parts: Iterable[bytes], most: int) -> bytes:
    """All parts: who sends without an end, or has been given another's file, fills no memory."""
    content = bytearray()
    for part in parts:
        content += part
        if len(content) > most:
            raise DamagedError(f"{path} is larger than it can be.")
    return bytes(content)


def read_object(source: Source, name: ObjectName, size: int | None = None) -> bytes:
    """The content of an object of ``size`` bytes.

    Raises:
        DamagedError: it is missing, or not what its name or its size says.
    """
    largest = _LARGEST_DATABASE if size is None else size
    # What cannot be compressed becomes a little longer.
    content = unpack(name, source.read(name.path, largest + largest // 100 + _AT_ONCE), largest)
    if size is not None and len(content) != size:
        raise DamagedError(f"{name.path} has {len(content)} bytes where its catalog says {size}.")
    return content


def read_letter(source: Source, path: str) -> bytes:
    """A signed text. Raises DamagedError for one that is far too long."""
    return source.read(path, _LARGEST_LETTER)

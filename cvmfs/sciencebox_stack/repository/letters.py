"""The two signed texts of a repository: the manifest names its content, the whitelist who may sign manifests.

Both are lines, then ``--``, the SHA-1 of the lines, and a signature of that hash.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from .objects import DamagedError

if TYPE_CHECKING:
    from collections.abc import Callable

    Sign = Callable[[bytes], bytes]
    IsGenuine = Callable[[bytes, bytes], bool]

MANIFEST, WHITELIST = ".cvmfspublished", ".cvmfswhitelist"
SEPARATOR = b"--\n"
TTL_S = 240  # seconds after which a client asks for a new manifest
_TIME = "%Y%m%d%H%M%S"
_ROOT_PATH = hashlib.md5(b"", usedforsecurity=False).hexdigest()
_LETTERS = {
    "root": "C", "root_size": "B", "revision": "S", "repository": "N", "certificate": "X", "history": "H",
    "timestamp": "T", "reflog": "Y",
}  # fmt: skip
_WITHOUT = {"history", "reflog"}  # a repository of somebody else may have none
_NUMBER = re.compile(r"[0-9]{1,18}")  # what 64 bits hold
_DIGEST = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Manifest:
    """What a revision consists of. ``root``, ``certificate``, ``history`` and ``reflog`` are digests; ``root_size``
    is in bytes, ``timestamp`` in seconds since 1970."""

    repository: str
    revision: int
    root: str
    root_size: int
    timestamp: int
    certificate: str
    history: str
    reflog: str

    def text(self) -> str:
        """Its lines: a letter and a value each."""
        own = (f"{letter}{getattr(self, name)}" for name, letter in _LETTERS.items())
        return "\n".join([*own, f"R{_ROOT_PATH}", f"D{TTL_S}", "Gyes", "Ano"]) + "\n"

    @classmethod
    def parse(cls, text: str) -> Manifest:
        """From its lines.

        Raises:
            DamagedError: a line is missing or makes no sense.
        """
        lines = {line[0]: line[1:] for line in text.splitlines() if line}
        values: dict[str, str | int] = {}
        for field in fields(cls):
            value = lines.get(_LETTERS[field.name], "")
            if field.type == "int":
                values[field.name] = _number(value)
            elif field.name in _WITHOUT and not value:
                values[field.name] = value
            elif field.name != "repository" and not _DIGEST.fullmatch(value):
                raise DamagedError(f"{MANIFEST} has no valid {field.name}.")
            else:
                values[field.name] = value
        return cls(**values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Whitelist:
    """Whose certificates may sign manifests of a repository, and until when. Times are in UTC."""

    repository: str
    made: datetime
    expires: datetime
    fingerprints: tuple[str, ...]

    def text(self) -> str:
        """Its lines."""
        dates = [self.made.strftime(_TIME), f"E{self.expires.strftime(_TIME)}"]
        return "\n".join([*dates, f"N{self.repository}", *self.fingerprints]) + "\n"

    @classmethod
    def parse(cls, text: str) -> Whitelist:
        """From its lines.

        Raises:
            DamagedError: a line is missing or makes no sense.
        """
        try:
            made, expires, repository, *fingerprints = text.splitlines()
            dates = [_time(made), _time(expires.removeprefix("E"))]
        except ValueError:
            raise DamagedError(f"{WHITELIST} is not a whitelist.") from None
        if not (expires.startswith("E") and repository.startswith("N")):
            raise DamagedError(f"{WHITELIST} is not a whitelist.")
        # What follows a fingerprint is a comment.
        return cls(repository[1:], dates[0], dates[1], tuple(line.split()[0] for line in fingerprints if line.strip()))


def seal(text: str, sign: Sign) -> bytes:
    """Put hash and signature under a text."""
    digest = _hash(text.encode())
    return text.encode() + SEPARATOR + digest + b"\n" + sign(digest)


def unseal(letter: bytes, is_genuine: IsGenuine, what: str) -> str:
    """The text of a letter whose hash and signature hold. ``what`` names it in errors.

    Raises:
        DamagedError: they do not.
    """
    text, digest, signature = _parts(letter, what)
    if digest != _hash(text):
        raise DamagedError(f"{what} was changed after it was signed: its hash is another.")
    if not is_genuine(signature, digest):
        raise DamagedError(f"The signature of {what} is not by the key that should have signed it.")
    return _decode(text, what)


def unsigned(letter: bytes, what: str) -> str:
    """The text of a letter whose signature cannot be judged yet: the manifest names its own certificate."""
    return _decode(_parts(letter, what)[0], what)


def _parts(letter: bytes, what: str) -> tuple[bytes, bytes, bytes]:
    text, separator, rest = letter.partition(b"\n" + SEPARATOR)
    digest, end, signature = rest.partition(b"\n")
    if not (separator and end and signature):
        raise DamagedError(f"{what} is not signed, or cut short.")
    return text + b"\n", digest, signature


def _decode(text: bytes, what: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise DamagedError(f"{what} is not text.") from None


def _hash(text: bytes) -> bytes:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()


def _number(value: str) -> int:
    if not _NUMBER.fullmatch(value):
        raise DamagedError(f"{MANIFEST} has {value[:40]!r} where a number must be.")
    return int(value)


def _time(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=timezone.utc)

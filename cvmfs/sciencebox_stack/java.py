"""The Java runtime that a release carries for Spark: the distribution's."""

from __future__ import annotations

import hashlib
import re
import ssl
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from .carried import Part, packaged
from .interpreter import needed_libraries

if TYPE_CHECKING:
    from collections.abc import Iterable

_FOLDER = "/usr/lib/jvm/java-{version}-openjdk-amd64"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_TRUSTED = "lib/security/cacerts"
# Manuals, what compilers need, and an archive of classes that only heaps above 32 GB take.
_LEFT_OUT = re.compile(rf"(man|include)/.*|lib/ct\.sym|lib/server/classes_nocoops\.jsa|{_TRUSTED}")


def find_java(version: str, certificates: Path = _CERTIFICATES) -> Part:
    """The distribution's Java of this version ("17"), without what draws windows.

    Raises:
        StackError: it is not installed.
    """
    folder = Path(_FOLDER.format(version=version))
    found = {}
    for path in packaged([f"openjdk-{version}-jre-headless"], folder, f"Java {version}"):
        place = str(path.relative_to(folder))
        if not _LEFT_OUT.fullmatch(place):
            found[place] = path
    programs = [found["bin/java"], found["lib/server/libjvm.so"]]
    found |= {f"lib/{path.name}": path for path in needed_libraries(programs) if not path.is_relative_to(folder)}
    made = (
        {_TRUSTED: trust_store(_authorities(certificates.read_text(encoding="utf-8")))}
        if certificates.is_file()
        else {}
    )
    told = re.search(r'^JAVA_VERSION="(.+)"$', found["release"].read_text(encoding="utf-8"), re.MULTILINE)
    return Part("Java", told[1] if told else version, found, made, ("bin/java", "-version"))


def trust_store(authorities: Iterable[bytes]) -> bytes:
    """Java's file of trusted certificates (DER), with its usual password.

    The distribution's own has a date in each entry; here the same certificates make the same file.
    """
    entries = [
        struct.pack(">I", 2) + _text(hashlib.sha256(one).hexdigest()) + bytes(8) + _text("X.509") + _bytes(one)
        for one in sorted(set(authorities))
    ]
    content = struct.pack(">III", 0xFEEDFEED, 2, len(entries)) + b"".join(entries)
    seal = hashlib.sha1("changeit".encode("utf-16-be") + b"Mighty Aphrodite" + content, usedforsecurity=False)
    return content + seal.digest()


def _authorities(bundle: str) -> list[bytes]:
    found = re.findall("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", bundle, re.DOTALL)
    return [ssl.PEM_cert_to_DER_cert(one) for one in found]


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode("ascii")


def _bytes(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content

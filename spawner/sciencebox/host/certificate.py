"""The site's own certificate, of `tls: files`: whether it can be used, and for how long; and its way into service."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sciencebox.files import write_whole
from sciencebox.host.command import ask
from sciencebox.host.compose import ACME_ROOT, CHAIN, KEY, certificate_sources
from sciencebox.host.steps import StepError

if TYPE_CHECKING:
    from pathlib import Path

    from sciencebox.sections import Server

MISMATCH = "KEY_VALUES_MISMATCH"


@dataclass(frozen=True)
class Certificate:
    """What was found. `expires` is in seconds since 1970, None where nobody can tell."""

    fault: str = ""
    expires: float | None = None
    renewed: bool = False  # it is another one than the service has


def read(chain: Path, key: Path, in_service: Path) -> Certificate:
    """Look at the files; `in_service` is the copy of the chain that was deployed last. Raises OSError."""
    fault = _fault(chain, key)
    told = None if fault else ask(["openssl", "x509", "-noout", "-enddate", "-in", str(chain)])
    expires = float(ssl.cert_time_to_seconds(told.partition("=")[2])) if told else None
    renewed = in_service.exists() and in_service.read_bytes() != _as_copied(chain.read_bytes()).encode()
    return Certificate(fault, expires, renewed)


def copy(server: Server, folder: Path, owner: int) -> list[bytes]:
    """Put the certificates that Caddy reads where its user, the `owner`, can; and no others. Their contents."""
    sources, contents = certificate_sources(server), list[bytes]()
    for name in (CHAIN, KEY, ACME_ROOT):
        target, source = folder / name, sources.get(name)
        if source is None:
            target.unlink(missing_ok=True)
            continue
        try:
            content = source.read_bytes()
        except OSError as error:
            raise StepError(f"{source} cannot be read: {error.strerror}; see `server` in the settings.") from error
        write_whole(target, _as_copied(content))
        os.chown(target, owner, owner)
        contents.append(content)
    return contents


def _as_copied(content: bytes) -> str:
    """What tools write between the blocks of PEM may be in any encoding."""
    return content.decode("ascii", errors="replace")


def _fault(chain: Path, key: Path) -> str:
    """Why no server could use them, in a clause."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, password=_nobody_types_it)
    except ValueError as error:  # of the function below
        return str(error)
    except ssl.SSLError as error:
        if error.reason == MISMATCH:
            return "the key is not that of the first certificate in the chain"
        why = f" ({error.reason})" if error.reason else ""
        return f"they are no certificate and its key, in PEM, that a server can use{why}"
    return ""


def _nobody_types_it() -> str:
    raise ValueError("the key is protected by a password, which nobody types when a server starts")

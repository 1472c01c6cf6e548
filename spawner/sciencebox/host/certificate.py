"""The site's own certificate, of `tls: files`: whether it and its key can be used, how long, and whether they are."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sciencebox.host.command import ask

if TYPE_CHECKING:
    from pathlib import Path

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
    return Certificate(fault, expires, in_service.exists() and in_service.read_bytes() != chain.read_bytes())


def _fault(chain: Path, key: Path) -> str:
    """Why no server could use them, in a clause."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, password=_nobody_types_it)
    except PermissionError as error:
        return str(error)
    except ssl.SSLError as error:
        if error.reason == MISMATCH:
            return "the key is not that of the first certificate in the chain"
        why = f" ({error.reason})" if error.reason else ""
        return f"they are no certificate and its key, in PEM, that a server can use{why}"
    return ""


def _nobody_types_it() -> str:
    raise PermissionError("the key is protected by a password, which nobody types when a server starts")

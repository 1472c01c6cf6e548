"""An authority that gives certificates by ACME: Pebble, which Let's Encrypt tests clients with.

It checks that who asks for a name is reached by it, as public authorities do; its name server says that every name is
this machine's.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import requests

from tests.built import program
from tests.ports import free_ports
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """A running authority."""

    directory: str
    """Where clients ask."""
    certificate: Path
    """What they trust when they ask there."""
    management: str

    def root(self) -> str:
        """The root of the certificates that it gives, PEM."""
        answer = requests.get(f"{self.management}/roots/0", verify=str(self.certificate), timeout=10)
        answer.raise_for_status()
        return answer.text


@contextmanager
def running(folder: Path, address: str, http_port: int, https_port: int) -> Iterator[Authority]:
    """An authority that is reached at `address` and looks for who asks at these ports. Skips where it is not built."""
    pebble, resolver = program("pebble"), program("pebble-challtestsrv")
    if not (pebble and resolver):
        pytest.skip("no authority that speaks ACME: run `make test-tools` (Go)")
    certificate, key = folder / "authority.pem", folder / "authority.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority"]
    names = ["-addext", f"subjectAltName=IP:{address},IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([*command, *names], check=True, capture_output=True)
    clients, management, names_port, names_management = free_ports(4)
    settings = {
        "listenAddress": f"0.0.0.0:{clients}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(certificate),
        "privateKey": str(key),
        "httpPort": http_port,
        "tlsPort": https_port,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    off = [f"-{server}=" for server in ("http01", "https01", "tlsalpn01", "doh")]
    name_server = [
        resolver,
        *off,
        f"-dnsserver=127.0.0.1:{names_port}",
        f"-management=127.0.0.1:{names_management}",
        "-defaultIPv6=",
        "-defaultIPv4=127.0.0.1",
    ]
    authority = [pebble, "-config", folder / "pebble.json", "-dnsserver", f"127.0.0.1:{names_port}"]
    environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    with (
        (folder / "authority.log").open("wb") as log,
        _ended(subprocess.Popen(name_server, stdout=log, stderr=log)) as names_server,
        _ended(subprocess.Popen(authority, env=environment, stdout=log, stderr=log)),
    ):
        found = Authority(f"https://{address}:{clients}/dir", certificate, f"https://127.0.0.1:{management}")
        wait_until(lambda: _answers(found), "the authority answers")
        assert names_server.poll() is None, (folder / "authority.log").read_text()
        yield found


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """End a program with the context."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)


def _answers(authority: Authority) -> bool:
    try:
        return bool(authority.root())
    except requests.ConnectionError:
        return False

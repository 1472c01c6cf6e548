"""The accounts of a site, as real ones are kept: OpenLDAP's server, and an OpenID Connect provider.

Ada is in radiology and runs its computers, Grace is in radiology, Mallory is in neither group.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import requests

from tests.built import program
from tests.ports import free_ports
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "a secret"
PASSWORDS = {"ada": "countess of lovelace", "grace": "rear admiral hopper", "mallory": "man in the middle"}
GROUPS = {"radiology": ["ada", "grace"], "computing": ["ada"]}
BASE = "dc=example,dc=org"

_CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
security simple_bind=128
database mdb
suffix {base}
directory {folder}
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact=cn=reader,{base} read by * none
"""


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine, which is its own authority, and its key; PEM."""
    found = folder / "site.pem", folder / "site.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=site"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", found[0], "-keyout", found[1]]
    subprocess.run([*command, *names], check=True, capture_output=True)
    return found


@contextmanager
def ldap(folder: Path) -> Iterator[tuple[int, int]]:
    """OpenLDAP with the site's people; yields the ports of `ldap:`, where StartTLS is needed, and of `ldaps:`."""
    slapd, slapadd = shutil.which("slapd", path="/usr/sbin"), shutil.which("slapadd", path="/usr/sbin")
    if not (slapd and slapadd):
        pytest.skip("no LDAP server (Debian: apt-get install slapd)")
    pem, key = certificate(folder)
    (folder / "people").mkdir()
    config = folder / "slapd.conf"
    config.write_text(_CONFIG.format(certificate=pem, key=key, base=BASE, folder=folder / "people"))
    subprocess.run([slapadd, "-f", config], input=_entries(), text=True, check=True, capture_output=True)
    plain, encrypted = free_ports(2)
    addresses = f"ldap://127.0.0.1:{plain}/ ldaps://127.0.0.1:{encrypted}/"
    with _running([slapd, "-d", "0", "-f", str(config), "-h", addresses], folder / "slapd.log") as server:
        wait_until(lambda: _listens(plain, server), "the directory answers")
        yield plain, encrypted


@contextmanager
def provider(folder: Path, callback: str) -> Iterator[str]:
    """An OpenID Connect provider with the same people, which sends them back to `callback`; yields its address."""
    built = program("provider")
    if built is None:
        pytest.skip("no OpenID Connect provider: run `make test-tools` (Go)")
    pem, key = certificate(folder)
    users = {f"id-{name}": {"ID": f"id-{name}", "Username": name, "Password": word} for name, word in PASSWORDS.items()}
    groups = {f"id-{name}": [group for group, people in GROUPS.items() if name in people] for name in PASSWORDS}
    for name, content in (("users.json", users), ("groups.json", groups)):
        (folder / name).write_text(json.dumps(content))
    [port] = free_ports(1)
    address = f"https://localhost:{port}"
    arguments = [f"127.0.0.1:{port}", address, folder / "users.json", folder / "groups.json", callback, pem, key]
    with _running([str(built), *map(str, arguments)], folder / "provider.log") as server:
        wait_until(lambda: _listens(port, server), "the provider answers")
        requests.get(f"{address}/.well-known/openid-configuration", verify=str(pem), timeout=10).raise_for_status()
        yield address


def _entries() -> str:
    people = [
        f"dn: uid={name},ou=people,{BASE}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\n"
        f"userPassword: {word}\n"
        for name, word in PASSWORDS.items()
    ]
    groups = [
        f"dn: cn={group},ou=groups,{BASE}\nobjectClass: groupOfNames\ncn: {group}\n"
        + "".join(f"member: uid={name},ou=people,{BASE}\n" for name in members)
        for group, members in GROUPS.items()
    ]
    units = [f"dn: ou={unit},{BASE}\nobjectClass: organizationalUnit\nou: {unit}\n" for unit in ("people", "groups")]
    top = f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: example\n"
    role = "objectClass: organizationalRole\nobjectClass: simpleSecurityObject"
    reader = f"dn: cn=reader,{BASE}\n{role}\ncn: reader\nuserPassword: {SECRET}\n"
    return "\n".join([top, *units, reader, *people, *groups])


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=20)


def _listens(port: int, server: subprocess.Popen[bytes]) -> bool:
    assert server.poll() is None, "the server ended; see its log"
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True

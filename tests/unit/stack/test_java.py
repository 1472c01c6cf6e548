"""The Java runtime that a release carries."""

from __future__ import annotations

import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from sciencebox_stack.java import find_java, trust_store

KEYTOOL = Path("/usr/lib/jvm/java-17-openjdk-amd64/bin/keytool")


def authority(name: str) -> bytes:
    """A certificate in DER."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string(f"CN={name}")
    begin, end = (datetime(year, 1, 1, tzinfo=timezone.utc) for year in (2020, 2120))
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, begin, end)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def test_the_same_certificates_make_the_same_trust_store() -> None:
    one, two = authority("one"), authority("two")
    assert trust_store([one, two]) == trust_store([two, one, two]) != trust_store([one])


@pytest.mark.skipif(not KEYTOOL.exists(), reason="needs Java 17; install openjdk-17-jre-headless")
def test_java_reads_its_trust_store(tmp_path: Path) -> None:
    (tmp_path / "cacerts").write_bytes(trust_store([authority("Hospital CA"), authority("Other CA")]))
    listed = [
        KEYTOOL,
        "-J-Duser.language=en",
        "-list",
        "-v",
        "-keystore",
        tmp_path / "cacerts",
        "-storepass",
        "changeit",
    ]
    told = subprocess.run(listed, check=True, capture_output=True, text=True).stdout
    assert "Your keystore contains 2 entries" in told
    assert "Owner: CN=Hospital CA" in told


@pytest.mark.skipif(not KEYTOOL.exists(), reason="needs Java 17; install openjdk-17-jre-headless")
def test_what_java_runs_with_comes_along_and_what_compiles_or_explains_does_not() -> None:
    java = find_java("17")
    assert {"bin/java", "lib/modules", "lib/jvm.cfg", "lib/libz.so.1", "lib/libstdc++.so.6"} <= java.files.keys()
    assert "lib/security/cacerts" in java.made
    assert not [place for place in java.files if place.startswith(("man/", "include/")) or place == "lib/ct.sym"]

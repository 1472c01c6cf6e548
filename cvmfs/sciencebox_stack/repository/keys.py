"""A repository's keys, in files named as the CernVM File System names them.

======================  =============================================================================================
``NAME.masterkey``      signs the whitelist; needed only to make and to renew it, so it can be kept offline
``NAME.pub``            its public half: what a site that mounts the repository trusts
``NAME.key``, ``.crt``  sign the manifest of each revision
======================  =============================================================================================
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo
from cryptography.x509.oid import NameOID

from ..errors import StackError

if TYPE_CHECKING:
    from pathlib import Path

_BITS = 2048  # the client's whitelist code takes RSA alone
_MAKE = "`sciencebox-stack keys` makes the keys of a repository."
_CERTIFICATE_DAYS = 3650  # the whitelist, which expires in weeks, is what limits a certificate


@dataclass(frozen=True)
class KeyFiles:
    """Where the keys of a repository are."""

    folder: Path
    repository: str

    @property
    def master(self) -> Path:
        """The master key."""
        return self.folder / f"{self.repository}.masterkey"

    @property
    def public(self) -> Path:
        """The master key's public half."""
        return self.folder / f"{self.repository}.pub"

    @property
    def key(self) -> Path:
        """The key that signs manifests."""
        return self.folder / f"{self.repository}.key"

    @property
    def certificate(self) -> Path:
        """Its certificate."""
        return self.folder / f"{self.repository}.crt"


def make_keys(files: KeyFiles) -> None:
    """Make what is missing of a repository's keys. A private key that is there is never replaced.

    Raises:
        StackError: a public half is there whose private key is elsewhere and needed here.
    """
    files.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if files.master.exists() or not files.public.exists():
        master = _private_key(files.master) if files.master.exists() else _new_key()
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        _write(files.master, _private_pem(master), 0o600)
        _write(files.public, master.public_key().public_bytes(serialization.Encoding.PEM, form), 0o644)
    if files.certificate.exists() and not files.key.exists():
        raise StackError(f"{files.certificate} is there without {files.key}: bring the key that belongs to it.")
    if not files.certificate.exists():
        key = _private_key(files.key) if files.key.exists() else _new_key()
        _write(files.key, _private_pem(key), 0o600)
        _write(files.certificate, _certificate(key, files.repository), 0o644)


def require_safe(files: KeyFiles, *public: Path) -> None:
    """Refuse private keys that others can read, or that lie in a folder which is `public`, or will be.

    Raises:
        StackError: what is wrong, and the command that puts it right.
    """
    for root in (folder.resolve() for folder in public):
        for place in {path.resolve().parent for path in (files.folder / "keys", files.master, files.key)}:
            if place.is_relative_to(root):
                raise StackError(f"The keys in {place} lie inside the published folder {root}. Move them out of it.")
    for path in (files.master, files.key):
        if path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise StackError(f"Others than its owner may read {path}. Run: chmod 600 {path}")


@dataclass(frozen=True)
class Signer:
    """The key that signs manifests, with its certificate as PEM."""

    key: rsa.RSAPrivateKey
    certificate: bytes

    @classmethod
    def read(cls, files: KeyFiles) -> Signer:
        """From the key folder.

        Raises:
            StackError: the key or the certificate is not there, or is none.
        """
        pem = read_certificate(files)
        if public_key(pem).public_numbers() != (key := _private_key(files.key)).public_key().public_numbers():
            raise StackError(f"{files.certificate} is not the certificate of {files.key}.")
        return cls(key, pem)

    def sign(self, digest: bytes) -> bytes:
        """A manifest's signature."""
        return self.key.sign(digest, PKCS1v15(), hashes.SHA1())  # noqa: S303  the format's hash


@dataclass(frozen=True)
class Master:
    """The key that signs whitelists."""

    key: rsa.RSAPrivateKey

    @classmethod
    def read(cls, files: KeyFiles) -> Master:
        """From the key folder.

        Raises:
            StackError: it is not there, or is none.
        """
        return cls(_private_key(files.master, "Run this where the master key is kept."))

    def sign(self, digest: bytes) -> bytes:
        """A whitelist's signature: of the hash's digits themselves."""
        return self.key.sign(digest, PKCS1v15(), NoDigestInfo())


def is_by_master(public_pem: bytes, signature: bytes, digest: bytes) -> bool:
    """Whether a whitelist was signed by the master key with this public half."""
    key = serialization.load_pem_public_key(public_pem)
    if not isinstance(key, rsa.RSAPublicKey):
        return False
    try:
        return key.recover_data_from_signature(signature, PKCS1v15(), None) == digest
    except InvalidSignature:
        return False


def is_by_certificate(certificate_pem: bytes, signature: bytes, digest: bytes) -> bool:
    """Whether a manifest was signed by the key of this certificate."""
    try:
        public_key(certificate_pem).verify(signature, digest, PKCS1v15(), hashes.SHA1())  # noqa: S303  the format's hash
    except InvalidSignature:
        return False
    return True


def read_certificate(files: KeyFiles) -> bytes:
    """The certificate that manifests are signed with, without its key.

    Raises:
        StackError: it is not there, or is none.
    """
    pem = _read(files.certificate)
    public_key(pem)
    return pem


def public_key(certificate_pem: bytes) -> rsa.RSAPublicKey:
    """The key that a certificate is about.

    Raises:
        StackError: it is no certificate of an RSA key.
    """
    try:
        key = x509.load_pem_x509_certificate(certificate_pem).public_key()
    except ValueError:
        raise StackError("The repository's certificate is not a certificate.") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise StackError("The repository's certificate is not of an RSA key, which the format wants.")
    return key


def fingerprint(certificate_pem: bytes) -> str:
    """As a whitelist names a certificate: SHA-1 in pairs of digits."""
    digest = x509.load_pem_x509_certificate(certificate_pem).fingerprint(hashes.SHA1())  # noqa: S303
    return ":".join(f"{byte:02X}" for byte in digest)


def read_public(path: Path) -> bytes:
    """A master key's public half.

    Raises:
        StackError: the file is not there or is no public key.
    """
    pem = _read(path, "Whoever publishes the repository gives it to you.")
    try:
        serialization.load_pem_public_key(pem)
    except ValueError:
        raise StackError(f"{path} is not a public key.") from None
    return pem


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=_BITS)


def _private_pem(key: rsa.RSAPrivateKey) -> bytes:
    form, bare = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, bare)


def _certificate(key: rsa.RSAPrivateKey, repository: str) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, repository)])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=_CERTIFICATE_DAYS)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _private_key(path: Path, advice: str = _MAKE) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(path, advice), None)
    except (ValueError, TypeError):
        raise StackError(f"{path} is not a private key without a password.") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise StackError(f"{path} is not an RSA key, which the format wants.")
    return key


def _read(path: Path, advice: str = _MAKE) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise StackError(f"{path} is not there. {advice}") from None


def _write(path: Path, content: bytes, mode: int) -> None:
    """Written whole, and never readable by others for a moment."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)

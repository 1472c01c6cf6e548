"""The site's own certificate is looked at before anything is built, and before it expires."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sciencebox.host import certificate, facts
from sciencebox.host.certificate import read
from sciencebox.host.compose import Places
from sciencebox.host.doctor import before_engine, rows
from sciencebox.host.row import State
from sciencebox.host.steps import StepError
from sciencebox.sections import Server
from sciencebox.settings import Settings

from tests.unit.host.test_doctor import HEALTHY

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86400
CADDY = 999


@pytest.fixture(autouse=True)
def no_other_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests need not be root."""
    monkeypatch.setattr(certificate.os, "chown", lambda *_: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two certificates and their keys, one key with a password, and a certificate that is not in PEM."""
    folder = tmp_path_factory.mktemp("certificates")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=box"]
    commands = [
        *(["req", "-x509", *new, "-keyout", f"{name}.key", "-out", f"{name}.pem"] for name in "ab"),
        ["ec", "-aes128", "-passout", "pass:secret", "-in", "a.key", "-out", "locked.key"],
        ["x509", "-in", "a.pem", "-outform", "DER", "-out", "a.der"],
    ]
    for command in commands:
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    ("chain", "key", "told"),
    [
        ("a.pem", "b.key", "the key is not that of the first certificate in the chain"),
        ("a.pem", "locked.key", "the key is protected by a password"),
        ("a.der", "a.key", "they are no certificate and its key, in PEM"),
    ],
)
def test_what_no_server_could_use_stops_a_deployment_before_anything_is_built(
    made: Path, tmp_path: Path, chain: str, key: str, told: str
) -> None:
    found = read(made / chain, made / key, tmp_path / "none")
    table = before_engine(replace(HEALTHY, certificate=found), Settings())
    (failed,) = [row for row in table if row.what == "Certificate"]
    assert failed.state is State.FAILED
    assert failed.found.startswith(told)
    assert "`server.key`" in failed.advice


def test_who_should_renew_it_is_told_in_time_and_who_did_to_deploy(made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "a.key", tmp_path)
    (tmp_path / "a.pem").write_bytes("Klinikum München\r\n".encode("latin-1") + (made / "a.pem").read_bytes())
    server = {"tls": "files", "certificate": f"{tmp_path}/a.pem", "key": f"{tmp_path}/a.key"}
    settings = Settings.model_validate({"data_root": f"{tmp_path}/box", "server": server})
    places = Places(settings.data_root, tmp_path)
    found = facts._certificate(settings, places)
    assert found is not None
    assert found.expires is not None
    told = {}
    for days in (20, 9, -1):
        clock = replace(HEALTHY.clock, now=found.expires - days * DAY)
        host = replace(HEALTHY, clock=clock, certificate=found)
        (row,) = [row for row in rows(host, settings) if row.what == "Certificate"]
        told[row.found] = row.state
    expected = {"valid for 20 days": State.OK, "expires in 9 days": State.WARNING, "has expired": State.WARNING}
    assert told == expected

    places.certificates.mkdir(parents=True)
    certificate.copy(settings.server, places.certificates, CADDY)
    assert facts._certificate(settings, places) == found
    for name in ("pem", "key"):
        shutil.copy(made / f"b.{name}", tmp_path / f"a.{name}")
    host = replace(HEALTHY, certificate=facts._certificate(settings, places))
    late = [row for row in rows(host, settings) if row.found == "the service has another one still"]
    assert [row.advice for row in late] == ["Run `make deploy`."]
    assert late[0] not in before_engine(host, settings), "a deployment is just about to bring it"
    (tmp_path / "a.key").unlink()
    assert facts._certificate(settings, places) is None, "that it cannot be read is told elsewhere"
    assert facts._certificate(Settings(), places) is None


def test_one_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    server = Server(tls="files", certificate=tmp_path / "no.pem", key=tmp_path / "no.key")
    with pytest.raises(StepError, match=r"no\.pem cannot be read: No such file"):
        certificate.copy(server, tmp_path, CADDY)


def test_it_is_copied_and_followed(tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    folder.mkdir()
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).write_text(name)
    server = Server(tls="files", certificate=tmp_path / "c.pem", key=tmp_path / "k.pem")
    before = certificate.copy(server, folder, CADDY)
    assert (folder / "key.pem").read_text() == "k.pem"
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    (tmp_path / "c.pem").write_text("renewed")
    assert certificate.copy(server, folder, CADDY) != before
    certificate.copy(Server(), folder, CADDY)
    assert list(folder.iterdir()) == []

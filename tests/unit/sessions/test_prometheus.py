"""A Prometheus that wants a token and shows a certificate of the site's own authority."""

from __future__ import annotations

import logging
import subprocess
from typing import TYPE_CHECKING

import pytest
from sciencebox.sessions.prometheus import Prometheus

from tests.fakes import prometheus
from tests.fakes.prometheus import series

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "a-secret-of-the-site"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate with its key, which is its own authority."""
    file = tmp_path_factory.mktemp("authority") / "both.pem"
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, "-keyout", file, "-out", "-"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    file.write_text(file.read_text() + done.stdout)
    return file


@pytest.fixture
def strict(certificate: Path) -> Iterator[prometheus.LittlePrometheus]:
    """One that answers nobody without the token."""
    with prometheus.running(certificate) as little:
        little.token = TOKEN
        little.told = series("jupyter-ada", "GPU-1", util=50)
        yield little


async def test_the_token_is_read_anew_for_each_question(
    strict: prometheus.LittlePrometheus, certificate: Path, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    asked = Prometheus(strict.url, "hub", token, certificate)
    await asked.look()
    assert (asked.fault, list(asked.loads)) == ("", ["jupyter-ada"])
    strict.token = "another"
    await asked.look()
    assert (asked.fault, asked.loads) == ("401, it refuses the token", {})
    token.write_text("another")
    await asked.look()
    assert asked.fault == ""


async def test_what_is_wrong_is_told_and_the_token_is_not(
    strict: prometheus.LittlePrometheus, certificate: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    token, absent = tmp_path / "token", tmp_path / "absent"
    token.write_text(TOKEN)

    async def fault(*files: Path | None) -> str:
        asked = Prometheus(strict.url, "hub", *files)
        await asked.look()
        return asked.fault

    assert await fault(None, certificate) == "401, it refuses who has no token"
    assert "certificate verify failed" in await fault(token, None)
    assert str(absent) in await fault(absent, certificate)
    assert "No such file" in await fault(token, absent)
    token.write_text(f"{TOKEN}\nand more")
    assert await fault(token, certificate) == f"{token} is no token"
    strict.status = 503
    token.write_text(TOKEN)
    assert await fault(token, certificate)
    assert TOKEN not in caplog.text
    assert strict.url in caplog.text

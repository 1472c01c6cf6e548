"""What the hub's log does not keep."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import time

import pytest
from jupyterhub.log import SCRUB_PARAM_KEYS
from sciencebox.hub.app import without_secrets

PROGRESS = "/hub/api/users/ada/server/progress"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"{PROGRESS}?_xsrf=2|ab12|cd34", f"{PROGRESS}?_xsrf=[secret]"),
        ("/user/ada/lab?reset&token=abc123&x=1", "/user/ada/lab?reset&token=[secret]&x=1"),
        ("/hub/spawn?gpu=any", "/hub/spawn?gpu=any"),
        (
            "/hub/login?next=%2Fuser%2Fada%3Ftoken%3Dabc%26x%3D1",
            "/hub/login?next=%2Fuser%2Fada%3Ftoken%3D[secret]%26x%3D1",
        ),
        (
            "/hub/login?next=%2Foauth2%2Fauthorize%3Fclient_id%3D1",
            "/hub/login?next=%2Foauth2%2Fauthorize%3Fclient_id%3D1",
        ),
        ("/hub/api/authorizations/token/abc123", "/hub/api/authorizations/token/[secret]"),
        *((f"/hub/?my_{key}s=abc123&x=1", f"/hub/?my_{key}s=[secret]&x=1") for key in SCRUB_PARAM_KEYS),
    ],
)
def test_an_address_is_logged_without_its_token(
    said: str, kept: str, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    log = logging.getLogger("hub-of-a-test")
    log.addFilter(without_secrets)
    request.addfinalizer(lambda: log.removeFilter(without_secrets))
    log.warning("Stream closed while handling %s, after %d s", said, 3)
    log.warning(f"It was {said}")
    assert caplog.messages == [f"Stream closed while handling {kept}, after 3 s", f"It was {kept}"]


@pytest.mark.parametrize("part", ["token", "?token", "&token", "?a=token", "%3Ftoken", "?", "?x=1&token="])
def test_a_long_address_does_not_keep_the_hub(part: str) -> None:
    record = logging.makeLogRecord({"msg": "%s", "args": (f"/hub/?{part * (60_000 // len(part))}",)})
    began = time.process_time()
    without_secrets(record)
    assert time.process_time() - began < 0.2


def test_all_that_the_hub_says_is_in_its_log_with_a_time_and_without_secrets() -> None:
    # A program of its own, for logging is one for a process.
    program = """
import logging
from sciencebox.hub.app import ScienceBoxHub
hub = ScienceBoxHub()
hub.init_logging()
for name in (hub.log.name, "tornado.general", "sciencebox.sessions.desk", "asyncio"):
    logging.getLogger(name).info("%s said %s", name, "/hub/x?token=abc123")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    said = re.findall(r"^\[I \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S* .*\] (\S+) said (\S+)$", done.stderr, re.MULTILINE)
    names = ["ScienceBoxHub", "tornado.general", "sciencebox.sessions.desk", "asyncio"]
    assert said == [(name, "/hub/x?token=[secret]") for name in names]

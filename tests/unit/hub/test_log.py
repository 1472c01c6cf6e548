"""What the hub's log does not keep."""

from __future__ import annotations

import logging

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
    assert caplog.messages == [f"Stream closed while handling {kept}, after 3 s"]

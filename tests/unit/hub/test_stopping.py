"""How a session ends that its user no longer wants."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.fakes.little_hub import TWO_FREE
from tests.service import wait_until

if TYPE_CHECKING:
    from tests.fakes.little_hub import LittleHub


def test_a_start_is_cancelled_when_that_is_answered_and_another_may_begin(hub: LittleHub):
    hub.show(replace(TWO_FREE, lets_go_s=1.5))  # JupyterHub itself gives it a second, and answers with 500
    lea = hub.sign_in("lea")
    for _ in range(2):
        assert lea.send_form(gpu="none").status_code == 302
        answer = lea.cancel()
        assert answer is not None
        assert answer.status_code == 204
        assert "Nothing is running" in lea.get("home").text


def test_a_start_that_is_slow_to_end_ends_though_nobody_waits_for_it(hub: LittleHub):
    hub.show(replace(TWO_FREE, lets_go_s=4))
    lea = hub.sign_in("lea")
    lea.send_form(gpu="none")
    with ThreadPoolExecutor() as pressed:
        answers = list(pressed.map(lambda _: lea.cancel(), range(2)))
    assert [answer and answer.status_code for answer in answers] == [202, 202], "pressed twice, it goes on"
    wait_until(lambda: lea.cancel() is None, "the start is cancelled")
    assert "Nothing is running" in lea.get("home").text
    hub.show(TWO_FREE)
    assert lea.send_form(gpu="none").status_code == 302
    answer = lea.cancel()
    assert answer is not None
    assert answer.status_code == 204


def test_nobody_cancels_the_start_of_somebody_else(hub: LittleHub):
    hub.show(TWO_FREE)
    lea, mallory = hub.sign_in("lea"), hub.sign_in("mallory")
    lea.send_form(gpu="none")
    refused = mallory.call("DELETE", "api/users/lea/server")
    assert refused.status_code in {403, 404}
    assert lea.cancel() is not None, "it is still being started"

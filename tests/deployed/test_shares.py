"""Shares of a GPU on a deployed service, which here cannot keep their memory apart and is told to do without."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.deployed.conftest import AT_WORK, make
from tests.fakes.driver.fake import uuid
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.driver.fake import FakeDriver
    from tests.service import Service

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("nothing_left")]

MODEL = "Fake A100 80GB"
HALF = {"gpu": f"{MODEL} 1/2 share", "gpu_count": 1}
SHARES = f"gpus: {{shares: [{{model: {MODEL}, parts: 2}}], unsafe_sharing: true, "


@pytest.fixture(scope="module")
def shares(service: Service, settings: str) -> str:
    """The last of the two cards in halves; the settings that were there before."""
    service.settings.write_text(settings.replace("gpus: {", SHARES))
    make("deploy", service.settings)
    return settings


@contextmanager
def at_work(service: Service, driver: FakeDriver, working: str, resting: str) -> Iterator[None]:
    """Both have a process on the card in halves, and only one of them computes."""
    busy, idle = (service.container(name).attrs["State"]["Pid"] for name in (working, resting))
    driver.set({"gpu1.processes": f"{busy}:1024,{idle}:1024", "gpu1.computing": f"{busy}:{AT_WORK}"})
    try:
        yield
    finally:
        driver.set({"gpu1.processes": None, "gpu1.computing": None})


def nodes(service: Service, name: str) -> set[str]:
    """The cards that a session sees."""
    status, listed = service.run(name, ["ls", "/dev"])
    assert status == 0
    return {f"nvidia{n}" for n in (0, 1)} & set(listed.split())


def test_the_doctor_says_that_nothing_keeps_them_apart(service: Service, shares: str) -> None:
    said = " ".join(make("doctor", service.settings, check=False).stdout.split())
    assert "2 of 1 GPU, and nothing" in said


def test_two_share_a_card_while_a_third_has_the_other_alone(service: Service, driver: FakeDriver, shares: str) -> None:
    with service.session("ada", **HALF), service.session("bob", **HALF) as bob:
        assert service.holders() == {f"{uuid(1)}:1of2": "ada", f"{uuid(1)}:2of2": "bob"}
        assert nodes(service, "ada") == nodes(service, "bob") == {"nvidia1"}
        with service.session("cleo", gpu="any", gpu_count=1), service.queued("dora", **HALF):
            assert nodes(service, "cleo") == {"nvidia0"}
            with at_work(service, driver, "ada", "bob"):
                wait_until(lambda: service.holders().get(f"{uuid(1)}:2of2") == "dora", "dora has bob's share")
            assert "its GPU had computed nothing" in bob.page("spawn")

        service.settings.write_text(shares)  # and now no card is divided, while ada goes on
        make("deploy", service.settings)
        with service.session("cleo", gpu="any", gpu_count=1), service.queued("eve", gpu="any", gpu_count=1):
            assert service.holders() == {f"{uuid(1)}:1of2": "ada", uuid(0): "cleo"}

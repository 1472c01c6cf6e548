"""Who gets which card: a deployed service, two cards, real containers."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from sciencebox.gpus.device import Device
from sciencebox.gpus.reconcile import labels
from sciencebox.host import images

from tests.deployed.conftest import make
from tests.fakes.driver.fake import uuid
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fakes.driver.fake import FakeDriver
    from tests.service import Person, Service

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("quick_sessions", "nothing_left")]

ONE = {"gpu": "any", "gpu_count": 1}


@contextmanager
def _changed(driver: FakeDriver, values: dict[str, object]) -> Iterator[None]:
    """The driver says something else for a while."""
    driver.set(values)
    try:
        yield
    finally:
        driver.set(dict.fromkeys(values))


def _refusal(person: Person, **options: Any) -> str:
    """Why a session was not started."""
    answer = person.start(**options)
    assert answer.status_code == 503, answer.text
    return str(answer.json()["message"])


def _nodes(service: Service, name: str) -> list[str]:
    """NVIDIA's device nodes in a person's session."""
    status, output = service.run(name, ["sh", "-c", "ls /dev | grep nvidia || true"])
    assert status == 0
    return output.split()


def test_two_users_have_different_cards_and_the_third_waits(service: Service) -> None:
    with service.session("maria", **ONE), service.session("jonas", **ONE):
        assert sorted(service.holders().values()) == ["jonas", "maria"]
        assert len(service.holders()) == 2
        assert len({*_nodes(service, "maria"), *_nodes(service, "jonas")} & {"nvidia0", "nvidia1"}) == 2
        for name in ("maria", "jonas"):
            assert len({"nvidia0", "nvidia1"} & set(_nodes(service, name))) == 1

        with service.queued("eva", **ONE) as (eva,):
            assert eva.place()["in_use"] == "The GPUs are in use by jonas and maria."
            assert service.container("eva") is None


def test_several_cards_for_one_session(service: Service) -> None:
    with service.session("maria", gpu="any", gpu_count=2):
        assert set(service.holders().values()) == {"maria"}
        assert {"nvidia0", "nvidia1"} <= set(_nodes(service, "maria"))


def test_a_session_without_a_gpu_sees_no_card(service: Service) -> None:
    with service.session("maria"):
        assert _nodes(service, "maria") == []
        _, variable = service.run("maria", ["printenv", "NVIDIA_VISIBLE_DEVICES"])
        assert variable.strip() == "void"


def test_stopping_frees_the_card(service: Service) -> None:
    with service.session("maria", **ONE):
        assert service.holders()
    wait_until(lambda: not service.holders(), "the card is free")


@pytest.mark.parametrize("how", ["kill", "remove"])
def test_a_container_ended_by_hand_frees_its_card(service: Service, how: str) -> None:
    with service.session("maria", **ONE) as maria:
        container = service.container("maria")
        if how == "kill":
            container.kill()
        else:
            container.remove(force=True)
        wait_until(lambda: not service.holders(), "the card is free")
        with service.session("jonas", gpu="any", gpu_count=2):
            assert len(service.holders()) == 2
        wait_until(lambda: not maria.session(), "the hub was told that the session ended", seconds=20)


def test_a_killed_hub_comes_back_knowing_who_holds_what(service: Service) -> None:
    with service.session("maria", **ONE) as maria:
        before = service.container("maria").id
        held = service.holders()
        service.kill_hub()

        assert service.holders() == held
        assert service.container("maria").id == before
        wait_until(maria.is_ready, "the session is known to the hub again")
        with service.queued("eva", gpu="any", gpu_count=2) as (eva,):
            assert eva.place()["in_use"] == "The GPUs are in use by maria."


def test_a_hub_killed_during_a_start_leaves_no_ghost(service: Service) -> None:
    maria = service.person("maria")
    with ThreadPoolExecutor(1) as threads:
        threads.submit(maria.start, **ONE)  # its answer is lost with the hub
        wait_until(service.holders, "the container exists")
        service.kill_hub()

    wait_until(lambda: maria.is_ready() or not service.holders(), "the card is used or free")


def test_what_is_left_of_a_session_whose_stop_failed_is_removed_and_frees_its_card(service: Service) -> None:
    named = labels("maria", [Device(uuid(0), 0, "A100")], service.name, since=time.time() - 60)
    left = service.engine.containers.run(images.tag("session"), ["sleep", "infinity"], labels=named, detach=True)
    assert set(service.holders().values()) == {"maria"}
    wait_until(lambda: not service.holders(), "the card is free")
    assert left.id not in [each.id for each in service.engine.containers.list(all=True, ignore_removed=True)]


def test_a_program_outside_the_service_keeps_its_card(service: Service, driver: FakeDriver) -> None:
    with _changed(driver, {"gpu0.processes": "4242:1073741824"}):
        with service.session("maria", **ONE):
            assert "nvidia1" in _nodes(service, "maria")
        refusal = _refusal(service.person("eva"), gpu="any", gpu_count=2)
        assert "is in use by a program (process 4242) that this service did not start" in refusal


def test_a_dead_driver_stops_only_gpus(service: Service, driver: FakeDriver) -> None:
    with _changed(driver, {"fail.nvmlInitWithFlags": 9}):
        assert "kernel module of the NVIDIA driver is not loaded" in _refusal(service.person("eva"), **ONE)
        with service.session("maria"):
            pass
    numbers = service.person("eva")
    wait_until(lambda: numbers.ask("GET", "sciencebox/numbers").json()["gpus"], "the driver's recovery is seen")


def test_a_driver_that_hangs_stops_only_gpus(service: Service, driver: FakeDriver) -> None:
    eva = service.person("eva")
    with _changed(driver, {"hang": 1}):
        assert eva.start(**ONE).status_code in {201, 202, 503}  # 201: JupyterHub's word where her last start failed
        assert "does not answer" in eva.progress()[-1]["message"]
        with service.session("maria") as maria:
            assert maria.page("sciencebox/gpus")
    wait_until(lambda: eva.ask("GET", "sciencebox/numbers").json()["gpus"], "the driver's recovery is seen")


def test_a_card_that_is_out_of_service_is_given_to_nobody_and_its_session_goes_on(service: Service) -> None:
    admin = service.admin()
    with service.session("maria", **ONE) as maria:
        (uuid,) = service.holders()
        assert admin.ask("PUT", f"sciencebox/gpus/{uuid}/drain", json={"reason": "its fan is replaced"}).ok
        assert maria.is_ready()
        refusal = _refusal(service.person("eva"), gpu="any", gpu_count=2)
        assert "was taken out of service by the administrator: its fan is replaced" in refusal
        maria.stop()
        with service.session("jonas", **ONE):
            assert uuid not in service.holders()
    assert "its fan is replaced" in admin.page("sciencebox/gpus")
    assert "back in service" in make("undrain", service.settings, variables={"GPU": uuid}).stdout
    wait_until(lambda: "its fan is replaced" not in admin.page("sciencebox/gpus"), "it is seen to be back")
    with service.session("eva", gpu="any", gpu_count=2):
        pass


def test_only_an_administrator_takes_cards_out_of_service(service: Service) -> None:
    (uuid, *_) = re.findall(r'data-uuid="([^"]+)"', service.admin().page("sciencebox/gpus"))
    path = f"sciencebox/gpus/{uuid}/drain"
    assert service.person("eva").ask("PUT", path, json={"reason": "mine"}).status_code == 403
    assert service.person("eva").ask("DELETE", path).status_code == 403
    admin = service.admin()
    assert admin.ask("PUT", path, json={"reason": " "}).status_code == 400
    assert admin.ask("PUT", path, data="{").status_code == 400
    assert admin.ask("PUT", "sciencebox/gpus/GPU-none/drain", json={"reason": "x"}).status_code == 404
    assert "was not out of service" in make("undrain", service.settings, variables={"GPU": "0"}).stdout


FORGED: list[tuple[dict[str, Any], str]] = [
    ({"gpu": "any", "gpu_count": 99}, "gpu_count: Choose a whole number from 1 to 2"),
    ({"gpu": "GPU-00000000-0000-0000-0000-000000000001"}, "gpu: Choose none"),
    ({"stack": "SB_99"}, "stack: "),
    ({"cores": "<script>alert(1)</script>"}, "cores: Choose 1"),
    ({"memory": "-1"}, "memory: Choose "),
    ({"image": "evil:latest"}, "image: There is no such field"),
    ({"gpu": "any", "gpu_count": [1, 2]}, "gpu_count: Give one text"),
]


@pytest.mark.parametrize(("options", "message"), FORGED)
def test_a_forged_request_is_refused_by_its_field_and_nothing_starts(
    service: Service, options: dict[str, Any], message: str
) -> None:
    eva = service.person("eva")
    answer = eva.start(**options)

    assert answer.status_code == 400
    assert message in answer.json()["message"]
    assert service.container("eva") is None


def test_a_request_with_one_field_takes_the_defaults_of_the_others(service: Service) -> None:
    with service.session("maria"):
        host = service.container("maria").attrs["HostConfig"]
        assert host["Memory"] == 4 * 1024**3
        assert host["CpuQuota"] == 2 * host["CpuPeriod"]


def test_a_card_that_fails_goes_into_quarantine_until_it_is_released(service: Service, driver: FakeDriver) -> None:
    admin = service.admin()
    with service.session("maria", **ONE) as maria:
        (uuid,) = service.holders()
        with _failing(driver, uuid) as again:
            wait_until(lambda: again() or _faults(maria), "maria is told")
        assert "Your GPU has failed: it has to be reset" in _faults(maria)[0]
        assert maria.is_ready()
        assert "is in quarantine: it has to be reset" in _refusal(service.person("eva"), gpu="any", gpu_count=2)
        service.kill_hub()
        assert "In use by maria; it has to be reset" in admin.page("sciencebox/gpus")
    assert "is released" in make("release", service.settings, variables={"GPU": uuid}).stdout
    wait_until(lambda: "has to be reset" not in admin.page("sciencebox/gpus"), "it is seen to be released")
    with service.session("eva", gpu="any", gpu_count=2):
        pass
    written = (service.state / "audit.jsonl").read_text()
    assert '"who": "the service"' in written and '"is": "no longer quarantined"' in written


@contextmanager
def _failing(driver: FakeDriver, uuid: str) -> Iterator[Callable[[], None]]:
    """A function that makes a card fail once more; only what happens while somebody listens is heard."""
    numbers = count(1000)
    yield lambda: driver.set({f"gpu{uuid[-1]}.xid": next(numbers)})
    driver.set({f"gpu{uuid[-1]}.xid": None})


def _faults(person: Person) -> list[str]:
    found: list[str] = person.ask("GET", "sciencebox/session").json()["faults"]
    return found


def test_an_administrator_puts_a_card_into_quarantine_by_page_and_command(service: Service) -> None:
    admin = service.admin()
    make("quarantine", service.settings, variables={"GPU": "0", "REASON": "wrong `results`"})
    wait_until(lambda: "wrong `results`" in admin.page("sciencebox/gpus"), "it is seen")
    (uuid, *_) = re.findall(r'data-uuid="([^"]+)"', admin.page("sciencebox/gpus"))
    path = f"sciencebox/gpus/{uuid}/quarantine"
    assert service.person("eva").ask("DELETE", path).status_code == 403
    assert admin.ask("DELETE", path).ok
    assert "wrong `results`" not in admin.page("sciencebox/gpus")

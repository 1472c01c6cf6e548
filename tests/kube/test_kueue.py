"""Sessions that wait in a queue of Kueue: its real controller admits them, by its quota and in its order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kube import kueue, rig
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kube.site import Site

SETTINGS = "kubernetes: {kueue: gpus}\n"
LABEL = "kueue.x-k8s.io/queue-name"


@pytest.fixture(scope="module")
def kueue_runs(plane: rig.ControlPlane) -> Iterator[None]:
    """Kueue, for the tests of this file."""
    try:
        with kueue.running(plane):
            yield
    except rig.RigError as error:
        pytest.skip(str(error))


@pytest.fixture
def queued(kueue_runs: None, site: Site) -> Site:
    """A service whose two GPUs are a quota of one; Ada has it."""
    kueue.queue(site.plane, site.namespace, "gpus", 1)
    site.grant(**{"sciencebox.kubernetes": {"kueue": "gpus"}})
    site.start_hub(SETTINGS)
    site.ask("ada")
    site.runs("ada")
    return site


def test_who_waits_for_quota_reads_the_place_and_why_and_starts_when_there_is_room(queued: Site) -> None:
    queued.ask("eva")
    full = "The queue's quota of GPUs is used up; 1 more must become free."
    wait_until(lambda: queued.waits("eva")["basis"] == full, "Kueue has said why")
    assert queued.waits("eva")["title"] == "You are next"
    assert queued.pods()["eva"]["metadata"]["labels"][LABEL] == "gpus"
    assert {"name": "kueue.x-k8s.io/admission"} in queued.pods()["eva"]["spec"]["schedulingGates"]
    queued.ask("zoe")
    wait_until(lambda: queued.waiting("zoe") == "You are number 2 of 2 in the queue", "the place is told")
    form = queued.person("max").get("spawn").text
    assert "by the quota of the queue gpus of Kueue, where 2 sessions wait now." in form
    queued.ask("max", gpu="none", gpu_count="0")  # who wants no GPU does not wait for one
    queued.runs("max")
    assert LABEL not in queued.pods()["max"]["metadata"]["labels"]

    queued.stop("ada")
    queued.runs("eva")
    wait_until(lambda: queued.waiting("zoe") == "You are next", "the next moves up")
    queued.stop("zoe")  # leaves the queue
    wait_until(lambda: queued.phase("zoe") == "", "the pod is gone")


def test_more_than_the_quota_ever_has_is_told(queued: Site) -> None:
    queued.ask("eva", gpu_count="2")
    said = "The queue's quota of GPUs is 1 in all. Cancel, and ask for less."
    wait_until(lambda: queued.waits("eva")["basis"] == said, "Kueue has said why")
    queued.stop("eva")
    wait_until(lambda: queued.phase("eva") == "", "the pod is gone")


def test_places_that_kueue_does_not_tell_are_missed_in_words_and_nothing_else(queued: Site) -> None:
    role = ("-n", queued.namespace, "patch", "role", "sciencebox-queue", "--type=json")
    queued.plane.kubectl(*role, '--patch=[{"op": "remove", "path": "/rules/2"}]')  # of the API of places
    queued.ask("eva")
    said = "The queue's quota of GPUs is used up; 1 more must become free. Kueue does not tell the places"
    wait_until(lambda: queued.waits("eva")["basis"].startswith(said), "the page says so")
    queued.stop("ada")
    queued.runs("eva")


def test_a_queue_that_takes_its_quota_back_ends_a_session_and_its_user_is_told(queued: Site) -> None:
    stop = ("patch", "clusterqueue", "gpus", "--type=merge", '--patch={"spec": {"stopPolicy": "HoldAndDrain"}}')
    queued.plane.kubectl(*stop)
    wait_until(lambda: not queued.is_ready("ada"), "the session is over")
    told = "Your last session ended: its queue took its quota back."
    wait_until(lambda: told in queued.person("ada").get("home").text, "its user is told")

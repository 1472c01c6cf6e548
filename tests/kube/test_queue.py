"""Who waits for a GPU on a cluster, what they read, and who is next."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.fakes.kubelet import node, wait_for_nodes
from tests.service import wait_until

if TYPE_CHECKING:
    from tests.kube.site import Site

IMPATIENT = """
from sciencebox.sessions import cluster_desk
cluster_desk.PATIENCE_S = 1
"""

FORGETFUL = """
from sciencebox.sessions.kube import GPUKubeSpawner
GPUKubeSpawner.grace_s = 2
"""


@pytest.fixture
def busy(site: Site) -> Site:
    """Ada and Bob have the two GPUs that there are."""
    site.start_hub()
    for name in ("ada", "bob"):
        site.ask(name)
    for name in ("ada", "bob"):
        site.runs(name)
    return site


def test_a_group_with_priority_goes_first_and_ends_nobody_elses_session(site: Site) -> None:
    site.grant(**{"sciencebox.groups": [{"name": "clinic", "priority": 10}]})
    clinic = 'c.JupyterHub.load_groups = {"clinic": {"users": ["zoe"]}}\n'
    site.start_hub("groups: [{name: clinic, priority: 10}]\n", clinic)
    site.ask("ada", gpu_count="2")
    site.runs("ada")
    site.ask("eva")
    assert site.waiting("eva") == "You are next"
    site.ask("zoe")
    assert site.waiting("zoe") == "You are next"
    assert site.waits("eva")["ahead"] == "Ahead of you: zoe."
    assert site.pods()["zoe"]["spec"]["priority"] == 10
    assert site.is_ready("ada")


def test_the_third_waits_in_the_first_place_and_starts_when_a_gpu_is_free(busy: Site) -> None:
    busy.ask("eva")
    stands = busy.waits("eva")
    assert stands["title"] == "You are next"
    assert stands["ahead"] == "Nobody is ahead of you."
    assert stands["in_use"] == "The GPUs are in use by ada and bob."
    wait_until(lambda: busy.waits("eva")["basis"], "the scheduler has said why")
    assert busy.waits("eva")["basis"] == "The cluster's one node has no free GPU of this kind."
    assert busy.phase("eva") == "Pending"

    busy.ask("zoe")
    assert busy.waits("zoe")["title"] == "You are number 2 of 2 in the queue"
    assert busy.waits("zoe")["ahead"] == "Ahead of you: eva."

    busy.stop("ada")
    busy.runs("eva")
    assert busy.waiting("zoe") == "You are next"
    assert busy.phase("ada") == ""


def test_who_leaves_the_queue_leaves_no_pod_and_may_start_without_a_gpu(busy: Site) -> None:
    busy.ask("eva")
    assert busy.waiting("eva") == "You are next"
    busy.stop("eva")
    wait_until(lambda: busy.phase("eva") == "", "the pod is gone")
    busy.ask("eva", gpu="none", gpu_count="0")
    busy.runs("eva")
    container = busy.pods()["eva"]["spec"]["containers"][0]
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in container["env"]


def test_a_place_is_kept_for_whom_a_page_waits_and_then_for_the_grace_time_alone(site: Site) -> None:
    site.start_hub("queue: {grace_minutes: 45}\n", more=FORGETFUL)
    site.ask("ada", gpu_count="2")
    site.runs("ada")
    site.ask("eva")
    page = site.person("eva").get("spawn-pending/eva").text
    assert "You may close this page for up to 45 minutes" in page
    told = site.events("eva")
    assert next(told)  # her page is open
    site.ask("zoe")
    lost = "Your place in the queue was given up, because its page was closed for"
    wait_until(lambda: lost in site.person("zoe").get("spawn-pending/zoe").text, "who has no page open is told so")
    assert site.phase("zoe") == ""
    assert site.phase("eva") == "Pending"
    told.close()


def test_a_killed_hub_finds_sessions_and_places_as_they_were(busy: Site) -> None:
    busy.ask("eva")
    busy.ask("zoe")
    assert busy.waiting("zoe") == "You are number 2 of 2 in the queue"
    before = {user: pod["metadata"]["uid"] for user, pod in busy.pods().items()}
    busy.end_hub(signal.SIGKILL)

    busy.kubelets.serve = True
    busy.start_hub()
    wait_until(lambda: "goes on where it was" in busy.log, "the starts go on")
    assert busy.waiting("eva") == "You are next"
    assert busy.waiting("zoe") == "You are number 2 of 2 in the queue"
    assert {user: pod["metadata"]["uid"] for user, pod in busy.pods().items()} == before
    busy.stop("ada")
    busy.runs("eva")
    assert busy.is_ready("bob")
    assert busy.reaches_session("eva")  # with the token that it was given before


def test_a_hub_that_comes_back_while_the_cluster_is_away_keeps_places_for_when_it_is_back(busy: Site) -> None:
    busy.ask("eva")
    busy.waits("eva")
    before = {user: pod["metadata"]["uid"] for user, pod in busy.pods().items()}
    busy.end_hub(signal.SIGKILL)
    busy.plane.end("kube-apiserver", signal.SIGKILL)
    try:
        busy.start_hub(more=IMPATIENT)
        assert "The cluster does not answer" in busy.person("max").get("spawn").text
    finally:
        busy.plane.start("kube-apiserver")
        busy.plane.wait_until_ready()
    wait_until(lambda: "goes on where it was" in busy.log, "the start goes on")
    assert busy.waiting("eva") == "You are next"
    assert {user: pod["metadata"]["uid"] for user, pod in busy.pods().items()} == before


def test_a_hub_that_is_told_to_stop_leaves_the_queue_as_it_is(busy: Site) -> None:
    busy.ask("eva")
    busy.waits("eva")
    uid = busy.pods()["eva"]["metadata"]["uid"]
    busy.end_hub()
    assert busy.pods()["eva"]["metadata"]["uid"] == uid
    busy.start_hub()
    wait_until(lambda: "goes on where it was" in busy.log, "the start goes on")
    assert busy.pods()["eva"]["metadata"]["uid"] == uid


def test_an_api_server_that_is_away_costs_nobody_a_session_or_a_place(busy: Site) -> None:
    busy.ask("eva")
    assert busy.waiting("eva") == "You are next"
    before = {user: pod["metadata"]["uid"] for user, pod in busy.pods().items()}
    busy.plane.end("kube-apiserver", signal.SIGKILL)
    try:
        wait_until(lambda: "The cluster does not answer" in busy.person("max").get("spawn").text, "the form says so")
        answer = busy.person("max").send_form(gpu="any", gpu_count="1")
        assert "does not answer" in answer.text or busy.failure("max").startswith("The cluster does not answer")
        assert busy.is_ready("ada")
    finally:
        busy.plane.start("kube-apiserver")
        busy.plane.wait_until_ready()
    wait_until(
        lambda: "The cluster does not answer" not in busy.person("max").get("spawn").text, "the form is as usual"
    )
    assert {user: pod["metadata"]["uid"] for user, pod in busy.pods().items()} == before
    assert busy.waiting("eva") == "You are next"
    busy.stop("bob")
    busy.runs("eva")


def test_a_hub_that_may_not_read_the_cluster_yet_says_so_and_goes_on_when_it_may(site: Site) -> None:
    site.plane.kubectl("delete", "clusterrolebinding", f"{site.namespace}-sciencebox-nodes")
    site.start_hub(more=IMPATIENT)
    assert "The cluster does not answer" in site.person("ada").get("spawn").text
    site.grant()
    wait_until(lambda: "2 of 2 free" in site.person("ada").get("spawn").text, "the form counts")


def test_more_than_any_node_has_is_refused_at_once(busy: Site) -> None:
    busy.kubelets.add(node("gpu-b", gpus=2))
    wait_for_nodes(busy.kubelets)
    wait_until(lambda: "2 of 4 free" in busy.person("eva").get("spawn").text, "the form counts the new node")
    answer = busy.person("eva").send_form(gpu="any", gpu_count="3")
    assert "Choose a whole number from 1 to 2: the largest node has 2." in answer.text
    assert busy.phase("eva") == ""

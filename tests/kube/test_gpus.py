"""What GPUs of a cluster do, what becomes of those that do nothing, whose time is put off, and what others hold."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import prometheus
from tests.fakes.prometheus import series
from tests.service import wait_until

if TYPE_CHECKING:
    from tests.kube.site import Site

ELSEWHERE = "physics"
ASK_OFTEN = "from sciencebox.sessions import cluster_desk\ncluster_desk.EVERY_S = 1\n"


def test_figures_come_from_prometheus_and_a_session_whose_gpu_does_nothing_is_stopped(site: Site) -> None:
    with prometheus.running() as little:
        settings = f"kubernetes: {{prometheus: {little.url}}}\nidle: {{gpu_minutes: 0.1, warn_minutes: 0.09}}\n"
        site.start_hub(settings, ASK_OFTEN)
        for name in ("ada", "bob"):
            site.ask(name)
        for name in ("ada", "bob"):
            site.runs(name)
        told = {"namespace": site.namespace, "memory": 2048, "energy": 1_000_000}
        little.told = [
            *series("jupyter-ada", "GPU-1", util=0, **told),
            *series("jupyter-bob", "GPU-2", util=90, **told),
        ]
        wait_until(lambda: not site.is_ready("ada"), "the idle session is stopped")
        assert len(set(little.asked)) == 1  # the same question for everybody
        assert site.is_ready("bob")
        stopped = "was stopped, because its GPU had computed nothing"
        wait_until(lambda: stopped in site.person("ada").get("home").text, "its user is told why")
        figures = site.person("admin").get("metrics").text
        assert re.search(r'sciencebox_gpu_utilisation_ratio{.*user="bob"} 0.9', figures)
        assert re.search(r'sciencebox_gpu_energy_joules_total{.*user="bob"} 1000.0', figures)
        used = site.person("admin").get("sciencebox/usage?days=7&by=user&as=csv").text
        assert re.search(rf"^bob,1,.*,{2048 * 1024**2},", used, re.MULTILINE)
        page = site.person("bob").get("sciencebox/gpus").text
        assert "told by NVIDIA&#39;s DCGM exporter through Prometheus" in page


def session(site: Site, name: str, method: str = "get") -> dict[str, Any]:
    """What a session's user is told of its end, or its end put off (`post`)."""
    http = site.person(name).http
    headers = {"X-XSRFToken": http.cookies.get("_xsrf", path="/hub/") or ""}
    answer = http.request(method, f"{site.people.url}/hub/sciencebox/session", headers=headers, timeout=30)
    assert answer.ok, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_session_that_was_extended_keeps_its_time_when_the_hub_is_killed(site: Site) -> None:
    settings = "limits: {session_hours: 1, extension_hours: 2}\n"
    site.start_hub(settings)
    site.ask("ada")
    site.runs("ada")
    assert session(site, "ada")["more_seconds"] == 7200
    assert session(site, "ada", "post")["seconds_left"] == pytest.approx(3 * 3600, abs=60)
    site.end_hub(signal.SIGKILL)
    site.start_hub(settings)
    site.runs("ada")
    told = session(site, "ada")
    assert (told["seconds_left"], told["more_seconds"]) == (pytest.approx(3 * 3600, abs=90), None)


def test_gpus_that_other_namespaces_hold_are_taken_and_nothing_else_of_them_is_read(site: Site) -> None:
    site.grant(**{"sciencebox.kubernetes": {"count_others": True}})
    site.start_hub("kubernetes: {count_others: true}\n")
    plane = site.plane
    plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ELSEWHERE}})
    place = f"/api/v1/namespaces/{ELSEWHERE}"
    wait_until(lambda: plane.has(f"{place}/serviceaccounts/default"), "pods may be made there")
    container = {"name": "train", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    named = {"name": "train-0", "namespace": ELSEWHERE}
    plane.apply({"apiVersion": "v1", "kind": "Pod", "metadata": named, "spec": {"containers": [container]}})
    try:
        wait_until(lambda: "1 of 2 free" in site.person("ada").get("spawn").text, "the form counts it")
        page = site.person("ada").get("sciencebox/gpus").text
        assert "In use by other work on this cluster" in page
        assert "train-0" not in page
        assert ELSEWHERE not in page
        hub = site.kubeconfig

        def may(*what: str) -> str:
            return plane.try_kubectl("auth", "can-i", *what, "-n", ELSEWHERE, kubeconfig=hub).stdout.strip()

        assert [may("list", "pods"), may("delete", "pods"), may("get", "secrets")] == ["yes", "no", "no"]
    finally:
        plane.ask("DELETE", f"{place}/pods/train-0", params={"gracePeriodSeconds": 0})
        plane.ask("DELETE", place)
    wait_until(lambda: "2 of 2 free" in site.person("ada").get("spawn").text, "it is free again")

"""The checks before a deployment on Kubernetes: each state of a cluster that keeps the service from working."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml
from rich.console import Console
from sciencebox.host import release, values
from sciencebox.host.kubernetes import Cluster, address, rows, troubles
from sciencebox.host.release import Release
from sciencebox.host.row import Row, State, failures
from sciencebox.host.steps import Screen, StepError

from tests.unit.helm.chart import CHART, ROOT

DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
MIG = (ROOT / "deploy/helm/examples/mig.yaml").read_text()


def node(name: str, *, ready: bool = True, labels: dict[str, str] | None = None, **gpus: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "allocatable": {
                "cpu": "8",
                **{f"nvidia.com/{key.replace('_', '-')}": value for key, value in gpus.items()},
            },
        },
    }


def storage(name: str, *, default: bool = False) -> dict[str, Any]:
    annotation = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {"metadata": {"name": name, "annotations": annotation}}


L4 = {"nvidia.com/gpu.product": "NVIDIA-L4"}
GOOD = Cluster(
    helm="v3.19.5",
    context="site",
    version="v1.34.4",
    nodes=(node("a", labels=L4, gpu="2"), node("b", labels=L4, gpu="2"), node("c")),
    classes=(storage("local-path", default=True), storage("cvmfs")),
    status="deployed",
)


QUEUED = "sciencebox: {kubernetes: {kueue: gpus}}"
ENCRYPTED = "jupyterhub: {proxy: {https: {enabled: true, type: secret, secret: {name: tls}}}}"


def read(text: str = "") -> values.Values:
    return values.read(text, "site.yaml", DEFAULTS, SCHEMA)


def row(cluster: Cluster, what: str, text: str = "", namespace: str = "sciencebox") -> Row:
    """The worst row of that kind."""
    found = [each for each in rows(cluster, read(text), namespace) if each.what == what]
    order = [State.FAILED, State.WARNING, State.OK]
    return min(found, key=lambda each: order.index(each.state))


def test_a_good_cluster_has_nothing_to_do() -> None:
    table = rows(GOOD, read(ENCRYPTED), "sciencebox")
    assert [each for each in table if each.state is not State.OK] == []
    assert "4 x NVIDIA-L4" in [each.found for each in table]
    assert "Homes: local-path" in [each.found for each in table]


@pytest.mark.parametrize(
    ("change", "text", "what", "found", "advice"),
    [
        ({"kubectl": False, "version": ""}, "", "kubectl", "not installed", "Install it"),
        ({"helm": ""}, "", "helm", "not installed", "Install helm 3.14"),
        ({"helm": "v3.9.0"}, "", "helm", "v3.9.0", "Upgrade to helm 3.14"),
        (
            {"version": "", "fault": "connection refused"},
            "",
            "Cluster",
            "connection refused",
            "KUBECONFIG names the file",
        ),
        ({"version": "v1.27.1"}, "", "Cluster", "Kubernetes v1.27.1", "Upgrade to 1.30"),
        ({"may_install": False}, "", "Rights", "ClusterRoles may not be made", "cluster-admin"),
        ({"status": "pending-upgrade"}, "", "Release", "its last upgrade was cut off", "rollback sciencebox"),
        ({"status": "pending-install"}, "", "Release", "its first installation was cut off", "keeps homes and data"),
        ({"nodes": (node("a", ready=False),)}, "", "Nodes", "0 of 1 ready", "kubectl describe node"),
        ({"status": ""}, "", "GPUs", "another device plugin", "`nvidia-device-plugin.enabled: false`"),
        ({"classes": (storage("cvmfs"),)}, "", "Storage", "no default storage class", "storageClass` to one of: cvmfs"),
        (
            {},
            "jupyterhub: {singleuser: {storage: {dynamic: {storageClass: fast}}}}",
            "Storage",
            "Homes: there is no storage class fast",
            "Name one of: local-path, cvmfs",
        ),
        (
            {"drivers": frozenset({"cvmfs.csi.cern.ch"}), "status": ""},
            "",
            "Stack",
            "has cvmfs-csi already",
            "Set `cvmfs-csi.enabled: false`",
        ),
        (
            {},
            "cvmfs: {storageClass: other}\ncvmfs-csi: {enabled: false}",
            "Stack",
            "no storage class other",
            "name an existing class",
        ),
        (
            {},
            "nvidia-device-plugin: {runtimeClassName: nvidia}",
            "Runtime class",
            "there is none named nvidia",
            "`runtimeClass.create: true`",
        ),
        ({}, QUEUED, "Queue", "Kueue is not here", "leave `sciencebox.kubernetes.kueue` empty"),
        ({}, MIG, "Prometheus", "its operator is not here", "`serviceMonitor.enabled: false`"),
    ],
)
def test_what_would_not_work_is_told_with_what_to_do(
    change: dict[str, Any], text: str, what: str, found: str, advice: str
) -> None:
    told = row(replace(GOOD, **change), what, text)
    assert told.state is State.FAILED
    assert found in told.found
    assert advice in told.advice


@pytest.mark.parametrize(
    ("change", "what", "found"),
    [
        ({"nodes": (node("a"), node("b", ready=False))}, "Nodes", "1 of 2 ready"),
        ({"nodes": (node("a"),)}, "GPUs", "no node offers one; sessions run without"),
        ({"nodes": (node("a"),), "status": ""}, "GPUs", "the device plugin comes with the chart"),
        ({}, "TLS", "passwords and data cross the network unencrypted"),
    ],
)
def test_what_works_with_less_is_a_warning(change: dict[str, Any], what: str, found: str) -> None:
    told = row(replace(GOOD, **change), what)
    assert told.state is State.WARNING
    assert found in told.found
    assert told.advice


def test_the_queue_of_kueue_is_looked_for() -> None:
    missing = row(replace(GOOD, kueue=True, queues=frozenset({"others"})), "Queue", QUEUED)
    assert (missing.state, missing.found) == (State.WARNING, "the namespace has no LocalQueue gpus yet")
    assert row(replace(GOOD, kueue=True, queues=frozenset({"gpus"})), "Queue", QUEUED).state is State.OK


def test_a_namespace_of_its_own_is_asked_for() -> None:
    assert row(GOOD, "Namespace", namespace="default").state is State.FAILED


def test_where_no_cluster_answers_nothing_else_is_said() -> None:
    table = rows(Cluster(helm="v3.19.5", fault="no configuration"), read(), "sciencebox")
    assert [each.what for each in failures(table)] == ["Cluster"]
    assert len(table) == 3


def test_mig_instances_are_counted_by_profile() -> None:
    divided = replace(GOOD, nodes=(node("a", labels=L4, gpu="0", mig_1g_10gb="7"), node("b", mig_1g_10gb="7")))
    assert row(divided, "GPUs").found == "14 x nvidia.com/mig-1g-10gb"


def test_a_runtime_class_that_the_chart_makes_is_not_missed() -> None:
    text = "nvidia-device-plugin: {runtimeClassName: nvidia}\nruntimeClass: {create: true}"
    assert row(GOOD, "Runtime class", text).state is State.OK


def test_tls_at_the_ingress_is_enough() -> None:
    assert row(GOOD, "TLS", MIG) == Row("TLS", State.OK, "at the ingress")


def test_why_pods_do_not_run_is_told_in_sentences() -> None:
    unplaced = {
        "metadata": {"name": "hub-1"},
        "status": {
            "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: unbound claims."}],
        },
    }
    unpulled = {
        "metadata": {"name": "proxy-1"},
        "status": {
            "containerStatuses": [
                {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}},
                {"state": {"waiting": {"reason": "ContainerCreating"}}},
                {"state": {"running": {}}},
            ]
        },
    }
    assert troubles([unplaced, unpulled, {"metadata": {"name": "fresh"}}]) == [
        "hub-1 finds no node: 0/1 nodes: unbound claims.",
        "proxy-1: ImagePullBackOff, no such image.",
    ]


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("", [{"ip": "192.0.2.7"}], "http://192.0.2.7"),
        ("jupyterhub: {proxy: {https: {enabled: true}}}", [{"hostname": "lb.example.org"}], "https://lb.example.org"),
        (MIG, [], "https://notebooks.example.org"),
        ("", [], "port-forward service/proxy-public 8080:http"),
    ],
)
def test_the_address_is_told(text: str, given: list[dict[str, str]], expected: str) -> None:
    service = {"status": {"loadBalancer": {"ingress": given}}}
    assert expected in address(read(text), service, "sciencebox")


def test_an_api_server_that_is_away_is_not_asked_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(release.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(release.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    tools = MagicMock()
    tools.kubectl.side_effect = [MagicMock(returncode=1)] * 20
    tools.items.return_value = ()
    waiting = Release(ROOT, ROOT / "none.yaml", tools, ROOT / "none", ready_s=8)
    with pytest.raises(StepError, match="hub does not come up"):
        waiting.wait(Screen(Console(quiet=True)))

"""What a session reaches, by the network policy that the chart makes of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sciencebox.settings import Settings

from tests.unit.helm.chart import ROOT, Chart, lets_out, one, selects

if TYPE_CHECKING:
    from collections.abc import Mapping

POD, NODE, METADATA, WORLD = "10.42.1.7", "192.168.10.20", "169.254.169.254", "93.184.215.14"
SESSION = {"app": "jupyterhub", "release": "sciencebox", "component": "singleuser-server"}
HUB = {**SESSION, "component": "hub", "hub.jupyter.org/network-access-singleuser": "true"}


def policy(chart: Chart, firewall: Mapping[str, Any] | None = None) -> dict[str, Any]:
    values = {} if firewall is None else {"sciencebox.firewall": firewall}
    return one(chart.objects(**values), "NetworkPolicy", "sciencebox-sessions")


@pytest.mark.parametrize(
    ("firewall", "address", "port", "reached"),
    [
        (None, WORLD, 443, True),
        (None, POD, 8888, False),
        (None, NODE, 6443, False),
        (None, METADATA, 80, False),
        (None, METADATA, 53, False),
        (None, "100.100.100.200", 80, False),  # the metadata of another cloud
        (None, "fd00:ec2::254", 80, False),
        (None, "2606:2800:21f::1", 443, True),
        ({"refuse": ["0.0.0.0/0"]}, WORLD, 443, False),
        ({"refuse": ["0.0.0.0/0"]}, "2606:2800:21f::1", 443, False),
        ({"refuse": ["0.0.0.0/0"], "allow": ["192.168.10.6"]}, "192.168.10.6", 443, True),
        ({"refuse": ["0.0.0.0/0"], "allow": ["192.168.10.6"]}, "192.168.10.7", 443, False),
        ({"refuse": ["93.184.215.14"]}, WORLD, 443, False),
        ({"refuse": []}, METADATA, 80, False),
        ({"allow": ["10.1.0.0/16"]}, "10.1.2.3", 3128, True),
    ],
)
def test_where_a_session_gets(
    chart: Chart, firewall: Mapping[str, Any] | None, address: str, port: int, *, reached: bool
) -> None:
    assert lets_out(policy(chart, firewall), address, port) is reached


def test_names_are_looked_up_in_the_clusters_dns_alone(chart: Chart) -> None:
    rules = [
        rule for rule in policy(chart)["spec"]["egress"] if {"port": 53, "protocol": "UDP"} in rule.get("ports", [])
    ]
    (rule,) = rules
    assert rule["to"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}},
        {"ipBlock": {"cidr": "169.254.20.10/32"}},
    ]


def test_hub_and_proxy_reach_a_session_and_no_session_does(chart: Chart) -> None:
    spec = policy(chart)["spec"]
    assert selects(spec["podSelector"], SESSION)
    assert not selects(spec["podSelector"], HUB)
    (rule,) = spec["ingress"]
    (peer,) = rule["from"]
    assert selects(peer["podSelector"], HUB)
    assert not selects(peer["podSelector"], SESSION)


def test_no_pod_but_hub_and_proxy_is_reached_by_a_session(chart: Chart) -> None:
    peers = [peer for rule in policy(chart)["spec"]["egress"] for peer in rule["to"] if "podSelector" in peer]
    assert [peer["podSelector"]["matchLabels"]["component"] for peer in peers] == ["hub", "proxy"]


def test_what_the_settings_leave_out_is_the_models_default(chart: Chart) -> None:
    firewall = Settings().firewall
    assert policy(chart) == policy(chart, firewall.model_dump(mode="json"))


def test_a_firewall_that_is_switched_off_is_off(chart: Chart) -> None:
    objects = chart.objects(**{"sciencebox.firewall": {"enabled": False}})
    assert [each for each in objects if each["kind"] == "NetworkPolicy"] == []


def test_with_jobs_the_api_server_is_reached_and_nothing_beside_it(chart: Chart) -> None:
    objects = chart.objects(ROOT / "deploy/helm/examples/mig.yaml")
    sessions = one(objects, "NetworkPolicy", "sciencebox-sessions")
    assert lets_out(sessions, "192.168.10.2", 6443)
    assert not lets_out(sessions, "192.168.10.2", 10250)
    assert not lets_out(one(objects, "NetworkPolicy", "sciencebox-jobs"), "192.168.10.2", 6443)


def test_workers_of_jobs_reach_each_other_and_no_session(chart: Chart) -> None:
    spec = one(chart.objects(ROOT / "deploy/helm/examples/mig.yaml"), "NetworkPolicy", "sciencebox-jobs")["spec"]
    assert spec["ingress"] == [{"from": [{"podSelector": {}}]}]  # of their own namespace
    assert not any("namespaceSelector" in peer for rule in spec["ingress"] for peer in rule["from"])


def test_executors_of_spark_and_their_session_reach_each_other_on_its_ports_alone(chart: Chart) -> None:
    objects = chart.objects(ROOT / "deploy/helm/examples/mig.yaml", **{"jobs.spark": True})
    sessions = one(objects, "NetworkPolicy", "sciencebox-sessions")["spec"]
    jobs = one(objects, "NetworkPolicy", "sciencebox-jobs")["spec"]

    def ports(rules: list[dict[str, Any]], way: str, namespace: str, labels: Mapping[str, str]) -> list[int]:
        """Those on which pods of another namespace are let through."""
        named = {"kubernetes.io/metadata.name": namespace}
        return [
            port["port"]
            for rule in rules
            for peer in rule[way]
            if "namespaceSelector" in peer and "podSelector" in peer
            if selects(peer["namespaceSelector"], named) and selects(peer["podSelector"], labels)
            for port in rule["ports"]
        ]

    executor = {"spark-role": "executor"}
    assert ports(sessions["ingress"], "from", "sciencebox-jobs", executor) == [7078, 7079]
    assert ports(sessions["egress"], "to", "sciencebox-jobs", executor) == [7079]
    assert ports(sessions["ingress"], "from", "sciencebox-jobs", {}) == []  # of a job that is no executor
    assert ports(jobs["ingress"], "from", "sciencebox", SESSION) == [7079]
    assert ports(jobs["egress"], "to", "sciencebox", SESSION) == [7078, 7079]
    assert ports(jobs["egress"], "to", "sciencebox", HUB) == []


def test_prometheus_is_let_through_from_its_namespace(chart: Chart) -> None:
    spec = one(chart.objects(ROOT / "deploy/helm/examples/mig.yaml"), "NetworkPolicy", "sciencebox-metrics")["spec"]
    assert selects(spec["podSelector"], HUB)
    assert spec["ingress"][0]["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    ]

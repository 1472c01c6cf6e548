"""The chart: what is rendered for each example, and what each misuse is told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sciencebox
import yaml
from sciencebox import explain
from sciencebox.host.values import in_words
from sciencebox.sessions.pod import priority_class
from sciencebox.settings import Settings, parse

from tests.unit.helm.chart import CHART, EXAMPLES, ROOT, Chart, goldens, one

if TYPE_CHECKING:
    from pathlib import Path

DATA = {"sciencebox-data": {"name": "sciencebox-data", "persistentVolumeClaim": {"claimName": "sciencebox-data"}}}

OLD_VOLUMES = [
    {"name": "sciencebox-settings", "configMap": {"name": "sciencebox-settings"}},
    {"name": "sciencebox-secrets", "secret": {"secretName": "sciencebox-administrator"}},
    {"name": "sciencebox-cvmfs", "persistentVolumeClaim": {"claimName": "sciencebox-cvmfs"}},
]
POLICIES = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
OF_NO_NAMESPACE = {"ClusterRole", "ClusterRoleBinding", "PersistentVolume", "Namespace", "PriorityClass", *POLICIES}
GROUPS = [{"name": "clinic", "priority": 10}, {"name": "course", "priority": -5}, {"name": "ward", "priority": 10}]


def refusal(chart: Chart, **values: Any) -> str:
    """What is said to whoever gives these values."""
    done = chart.try_render(**values)
    assert done.returncode, done.stdout
    return in_words(done.stderr)


def test_each_example_is_rendered_as_it_was_when_somebody_read_it(chart: Chart) -> None:
    found = list(goldens(chart))
    assert len(found) == len(EXAMPLES) == 3
    for file, text in found:
        assert text == file.read_text(), f"{file.name} changed; read it, then: python -m tests.unit.helm.chart"


def test_the_schema_of_the_settings_is_the_models() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    told = "sciencebox settings schema --write deploy/helm/sciencebox/values.schema.json"
    assert schema["$defs"] == explain.definitions(Settings.model_json_schema()), told


def test_chart_images_and_package_have_one_version() -> None:
    description = yaml.safe_load((CHART / "Chart.yaml").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())["jupyterhub"]
    tags = [values["hub"]["image"]["tag"], values["singleuser"]["image"]["tag"]]
    assert {description["version"], description["appVersion"], *tags} == {sciencebox.__version__}


def test_dependencies_are_pinned_and_can_be_switched_off() -> None:
    for wanted in yaml.safe_load((CHART / "Chart.yaml").read_text())["dependencies"]:
        assert wanted["version"].replace(".", "").isdigit(), wanted
        assert wanted["condition"] == f"{wanted['name']}.enabled"


def test_the_proxy_is_that_of_a_single_server() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    ours = json.loads((ROOT / "images/proxy/package.json").read_text())["dependencies"]["configurable-http-proxy"]
    assert values["jupyterhub"]["proxy"]["chp"]["image"]["tag"] == ours


def test_the_whole_settings_file_is_accepted_and_reaches_the_hub_unchanged(chart: Chart, tmp_path: Path) -> None:
    text = (ROOT / "deploy/sciencebox.yaml").read_text().replace("source: local", "source: client", 1)
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"sciencebox": yaml.safe_load(text)}))
    settings = one(chart.objects(values), "Secret", "sciencebox-settings")["stringData"]["sciencebox.yaml"]
    assert parse(settings, "the Secret") == parse(text, "the file")


def test_large_numbers_stay_whole(chart: Chart) -> None:
    objects = chart.objects(**{"sciencebox.sessions": {"pids": 1_000_000}})
    settings = one(objects, "Secret", "sciencebox-settings")["stringData"]["sciencebox.yaml"]
    assert parse(settings, "the Secret").sessions.pids == 1_000_000


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"sciencebox.gpus": {"max_per_sesion": 2}},
            "`sciencebox.gpus`: additional properties 'max_per_sesion' not allowed.",
        ),
        ({"sciencebox.sessions": {"pids": "many"}}, "`sciencebox.sessions.pids`: got string, want null or integer."),
        ({"cvmfs": {"sorce": "host"}}, "`cvmfs`: additional properties 'sorce' not allowed."),
        ({"cvmfs": {"source": "nfs"}}, "`cvmfs.source`: value must be one of 'csi', 'host'."),
        ({"sciencebox": None}, "`values`: missing property 'sciencebox'."),
        ({"cvmfs.source": None}, "`cvmfs`: missing property 'source'."),
        ({"sessionNetwork.dns.namespace": None}, "`sessionNetwork.dns`: missing property 'namespace'."),
        ({"surprise": 1}, "additional properties 'surprise' not allowed"),
    ],
)
def test_the_schema_refuses_by_name(chart: Chart, values: dict[str, Any], expected: str) -> None:
    assert expected in refusal(chart, **values)


def test_the_password_of_a_proxy_is_in_a_secret_alone(chart: Chart) -> None:
    objects = chart.objects(**{"sciencebox.network": {"https_proxy": "http://site:hunter2@proxy:3128"}})
    assert [each["kind"] for each in objects if "hunter2" in json.dumps(each)] == ["Secret"]


def test_two_services_on_a_cluster_share_no_name_that_belongs_to_no_namespace(chart: Chart) -> None:
    jobs = {"enabled": True, "apiServer": [{"cidr": "192.168.10.2/32", "ports": [6443]}]}
    values = {
        "sciencebox.kubernetes": {"count_others": True},
        "sciencebox.groups": GROUPS,
        "cvmfs.source": "host",
        "jobs": jobs,
        "jupyterhub.singleuser.serviceAccountName": "sciencebox-session",
    }
    other = replace(chart, namespace="physics")
    names = [
        {(each["kind"], each["metadata"]["name"]) for each in one.objects(**values) if each["kind"] in OF_NO_NAMESPACE}
        for one in (chart, other)
    ]
    assert {kind for kind, _ in names[0]} == OF_NO_NAMESPACE
    assert not names[0] & names[1]


def test_each_priority_of_groups_is_a_class_by_the_name_that_the_hub_gives_its_pods(chart: Chart) -> None:
    classes = [each for each in chart.objects(**{"sciencebox.groups": GROUPS}) if each["kind"] == "PriorityClass"]
    assert {each["metadata"]["name"]: each["value"] for each in classes} == {
        priority_class("sciencebox", 10): 10,
        priority_class("sciencebox", -5): -5,
    }
    assert {each["preemptionPolicy"] for each in classes} == {"Never"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"hub": {"db": {}}}, "`hub` is not a value of this chart: move what is below it to `jupyterhub.hub`."),
        ({"singleuser": {}}, "move what is below it to `jupyterhub.singleuser`"),
        ({"cull": {}}, "move what is below it to `sciencebox.idle`"),
        ({"jupyterhub.enabled": False}, "set it to true"),
        ({"sciencebox.stack": {"source": "local"}}, "set `sciencebox.stack.source: client`"),
        ({"sciencebox.stack.publish": {"enabled": True}}, "remove `sciencebox.stack.publish`"),
        ({"sciencebox.stack.client": {"enabled": True}}, "remove `sciencebox.stack.client`"),
        ({"sciencebox.gpus": {"shares": [{"model": "L4", "parts": 2}]}}, "remove `sciencebox.gpus.shares`"),
        ({"sciencebox.gpus": {"simulate": 2}}, "remove `sciencebox.gpus.simulate`"),
        ({"sciencebox.accounts": {"source": "ldap"}}, "set `jupyterhub.hub.config.JupyterHub.authenticator_class`"),
        ({"sciencebox.monitoring": {"enabled": True}}, "set `serviceMonitor.enabled: true` instead"),
        ({"cvmfs.storageClass": ""}, "`cvmfs.storageClass` is empty"),
        ({"data.enabled": True}, "add `sciencebox-data` to `jupyterhub.singleuser.storage`"),
        ({"jupyterhub.singleuser.storage.extraVolumes": DATA}, "set `data.enabled: true`, or take it out"),
        ({"jupyterhub.singleuser.storage.extraVolumes": []}, "has lost `sciencebox-cvmfs`"),
        ({"jupyterhub.hub.extraVolumes": []}, "must keep `sciencebox-settings`: helm replaces lists"),
        ({"jupyterhub.hub.extraVolumes": OLD_VOLUMES}, "write `secret: {secretName: sciencebox-settings}`"),
        ({"jupyterhub.hub.db.type": "postgres"}, "the claim keeps the uids of users, too"),
        ({"jupyterhub.hub.db.type": "sqlite-memory"}, "`jupyterhub.hub.db.type` must be `sqlite-pvc`"),
        ({"jupyterhub.hub.allowNamedServers": True}, "several sessions each, and limits hold for a session"),
        ({"jupyterhub.hub.config.JupyterHub.allow_named_servers": True}, "leave it false"),
        ({"jupyterhub.singleuser.networkPolicy.enabled": True}, "leave it false, and use `sciencebox.firewall`"),
        ({"jupyterhub.singleuser.cloudMetadata.blockWithIptables": True}, "a privileged container in every session"),
        ({"sessionNetwork.inside": ["10.0.0.0/8"], "sciencebox.firewall": {"refuse": []}}, "put it back"),
        ({"sciencebox.firewall": {"allow": ["169.254.169.254"]}}, "sessions would reach a cloud's credentials"),
        ({"sciencebox.firewall": {"allow": ["0.0.0.0/0"]}}, "sessions would reach a cloud's credentials"),
        ({"jobs.enabled": True}, "set `jupyterhub.singleuser.serviceAccountName: sciencebox-session`"),
        ({"jobs.spark": True}, "set `jobs.enabled: true`, too"),
        ({"jupyterhub.singleuser.serviceAccountName": "admin"}, "gives every session rights in the cluster"),
        (
            {"jobs.enabled": True, "jupyterhub.singleuser.serviceAccountName": "sciencebox-session"},
            "`kubectl get endpoints kubernetes` tells the address",
        ),
    ],
)
def test_misuse_is_told_what_to_do(chart: Chart, values: dict[str, Any], expected: str) -> None:
    assert expected in refusal(chart, **values)


def test_a_monitor_needs_the_operator_that_reads_it(chart: Chart) -> None:
    told = refusal(replace(chart, apis=()), **{"serviceMonitor.enabled": True})
    assert "needs the Prometheus operator, which this cluster has not: install it, or set it to false." in told
    monitor = one(chart.objects(**{"serviceMonitor.enabled": True}), "ServiceMonitor", "sciencebox")["spec"]
    assert monitor["endpoints"][0]["path"] == "/hub/metrics"


def test_the_hub_reads_nodes_and_nothing_else_of_the_cluster(chart: Chart) -> None:
    roles = [each for each in chart.objects() if each["kind"] == "ClusterRole"]
    assert [role["rules"] for role in roles] == [
        [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}]
    ]


def test_pods_of_other_namespaces_are_read_only_where_that_is_asked_for(chart: Chart) -> None:
    objects = chart.objects(**{"sciencebox.kubernetes": {"count_others": True}})
    nodes, pods = (each for each in objects if each["kind"] == "ClusterRole")
    assert pods["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
    assert nodes == one(chart.objects(), "ClusterRole", "sciencebox-sciencebox-nodes")


def test_workloads_and_places_of_kueue_are_read_only_where_it_is_the_queue(chart: Chart) -> None:
    def rules(**values: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = one(chart.objects(**values), "Role", "sciencebox-queue")["rules"]
        return found

    queued: dict[str, Any] = {"sciencebox.kubernetes": {"kueue": "gpus"}}
    assert "kueue" not in str(rules())
    assert rules(**queued)[1:] == [
        {"apiGroups": ["kueue.x-k8s.io"], "resources": ["workloads"], "verbs": ["list", "watch"]},
        {"apiGroups": ["visibility.kueue.x-k8s.io"], "resources": ["localqueues/pendingworkloads"], "verbs": ["get"]},
    ]
    told = refusal(replace(chart, apis=()), **queued)
    assert "needs Kueue, which this cluster has not: install it, or leave the key empty." in told


def test_jobs_of_sessions_see_no_secret_and_no_other_namespace(chart: Chart) -> None:
    objects = chart.objects(ROOT / "deploy/helm/examples/mig.yaml")
    rules = one(objects, "Role", "sciencebox-jobs", "sciencebox-jobs")["rules"]
    may = {resource for rule in rules for resource in rule["resources"]}
    assert may == {"jobs", "services", "configmaps", "pods", "pods/log", "events"}
    namespace = one(objects, "Namespace", "sciencebox-jobs")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert one(objects, "ResourceQuota", "sciencebox-jobs")["spec"]["hard"]["requests.nvidia.com/gpu"] == "4"


def test_data_outlives_the_release(chart: Chart) -> None:
    claim = one(chart.objects(ROOT / "deploy/helm/examples/mig.yaml"), "PersistentVolumeClaim", "sciencebox-data")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_a_folder_of_the_nodes_is_bound_to_this_namespace_alone(chart: Chart) -> None:
    objects = chart.objects(**{"cvmfs": {"source": "host", "path": "/cvmfs"}})
    volume = one(objects, "PersistentVolume", "sciencebox-sciencebox-cvmfs")["spec"]
    assert volume["hostPath"]["path"] == "/cvmfs"
    assert (volume["claimRef"]["namespace"], volume["accessModes"]) == ("sciencebox", ["ReadOnlyMany"])
    claim = one(objects, "PersistentVolumeClaim", "sciencebox-cvmfs")["spec"]
    assert (claim["volumeName"], claim["storageClassName"]) == ("sciencebox-sciencebox-cvmfs", "")


def test_a_password_of_the_sites_own_is_not_replaced(chart: Chart) -> None:
    assert "under `sciencebox-secrets`, too" in refusal(chart, **{"administrator.existingSecret": "ours"})
    volumes = yaml.safe_load((CHART / "values.yaml").read_text())["jupyterhub"]["hub"]["extraVolumes"]
    next(each for each in volumes if each["name"] == "sciencebox-secrets")["secret"]["secretName"] = "ours"
    values = {"administrator.existingSecret": "ours", "jupyterhub.hub.extraVolumes": volumes}
    secrets = [each["metadata"]["name"] for each in chart.objects(**values) if each["kind"] == "Secret"]
    assert secrets == ["sciencebox-settings"]


def test_what_is_random_is_random(chart: Chart) -> None:
    passwords = {one(chart.objects(), "Secret", "sciencebox-administrator")["data"]["first_password"] for _ in range(2)}
    assert len(passwords) == 2

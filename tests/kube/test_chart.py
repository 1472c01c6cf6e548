"""The chart in a real cluster's API server: what helm installs there, who may do what, and how it goes back."""

from __future__ import annotations

import base64
import json
import os
import ssl
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
import yaml
from rich.console import Console
from sciencebox.host.steps import Screen, StepError, run_steps

from tests.kube.installer import NAMESPACE, Installer, charts_in, deployments, living_node, tools_of
from tests.service import wait_until
from tests.unit.helm.chart import GOLDEN, ROOT, find_helm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sciencebox.host.release import Release

    from tests.kube import rig

JOBS = "sciencebox-jobs"
HUB = f"system:serviceaccount:{NAMESPACE}:hub"
SESSION = f"system:serviceaccount:{NAMESPACE}:sciencebox-session"
JOBS_VALUES = {
    "jobs": {"enabled": True, "gpus": 2, "apiServer": [{"cidr": "192.168.10.2/32", "ports": [6443]}]},
    "data": {"enabled": True},
    "jupyterhub": {
        "singleuser": {
            "serviceAccountName": "sciencebox-session",
            "storage": {
                "extraVolumes": {
                    "sciencebox-data": {
                        "name": "sciencebox-data",
                        "persistentVolumeClaim": {"claimName": "sciencebox-data"},
                    }
                }
            },
        }
    },
    "nvidia-device-plugin": {"enabled": False},
}


@pytest.fixture(scope="module")
def site(plane: rig.ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installer]:
    """A cluster where nothing is installed yet, without nodes and storage classes."""
    helm = find_helm()
    assert helm
    folder = tmp_path_factory.mktemp("cluster")
    with deployments(plane):
        yield Installer(plane, tools_of(plane, helm, folder), charts_in(folder / "charts"))
        for namespace in (NAMESPACE, JOBS, "examples", "examples-jobs"):
            plane.try_kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture(scope="module")
def classes(site: Installer) -> Iterator[None]:
    """A default storage class, as most clusters have one, and a node."""
    site.plane.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "example.org/none",
        }
    )
    with living_node(site.plane, "node-1"):
        yield
    site.plane.kubectl("delete", "storageclass/local")


def screen() -> Screen:
    """Nobody looks."""
    return Screen(Console(quiet=True))


def password(site: Installer) -> str:
    data = site.get("secrets", "sciencebox-administrator")["data"]
    return base64.b64decode(data["first_password"]).decode()


def settings(site: Installer) -> dict[str, Any]:
    data = site.get("secrets", "sciencebox-settings")["data"]
    return yaml.safe_load(base64.b64decode(data["sciencebox.yaml"]))


def test_a_cluster_that_is_not_ready_is_told_so_and_left_alone(site: Installer, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="no default storage class") as caught:
        site.release(tmp_path, {}).check_cluster(screen())
    assert "0 of 0 ready" in str(caught.value)
    assert NAMESPACE not in site.plane.kubectl("get", "namespaces")


def test_helm_alone_says_what_is_missing_too(site: Installer, tmp_path: Path) -> None:
    release = site.release(tmp_path, {})
    release.gather_charts(screen())
    with pytest.raises(StepError, match=r"no default storage class.*It has: none\."):
        release.install(screen())


@pytest.fixture(scope="module")
def installed(site: Installer, classes: None, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The service, installed as `make deploy-k8s` does it."""
    release = site.release(tmp_path_factory.mktemp("installed"), JOBS_VALUES)
    assert run_steps(release.steps(), screen())
    return release


def test_the_address_and_the_first_password_are_told(site: Installer, installed: Release) -> None:
    told = dict(installed.summary())
    assert told["Administrator"] == f"admin, first password {password(site)}"
    assert "port-forward" in told["Address"]


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_api_server_takes_every_object_of_an_example(site: Installer, classes: None, golden: Path) -> None:
    for name in ("examples", "examples-jobs"):
        site.plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    text = golden.read_text().replace("namespace: sciencebox", "namespace: examples").replace("MASKED", "TUFTS0VE")
    objects = [each for each in yaml.safe_load_all(text) if each and each["kind"] != "ServiceMonitor"]
    for each in objects:
        each["metadata"].setdefault("namespace", "examples")  # which is not looked at where there can be none
    dry = ("--dry-run=server", "--validate=strict", "--filename=-")
    done = site.plane.try_kubectl("create", *dry, stdin=yaml.safe_dump_all(objects))
    refused = [line for line in done.stderr.splitlines() if "already exists" not in line]  # what has no namespace
    assert refused == []


@pytest.mark.parametrize(
    ("what", "allowed"),
    [
        (("list", "nodes"), True),
        (("watch", "nodes"), True),
        (("delete", "nodes"), False),
        (("patch", "nodes"), False),
        (("list", "pods", "--namespace", NAMESPACE), True),
        (("list", "pods", "--namespace", "kube-system"), False),
        (("get", "secrets", "--namespace", "kube-system"), False),
        (("list", "secrets", "--all-namespaces"), False),
        (("create", "clusterroles"), False),
    ],
)
def test_what_the_hub_may(site: Installer, installed: Release, what: tuple[str, ...], *, allowed: bool) -> None:
    assert site.may(HUB, *what) is allowed


@pytest.mark.parametrize(
    ("what", "allowed"),
    [
        (("create", "jobs", "--namespace", JOBS), True),
        (("delete", "jobs", "--namespace", JOBS), True),
        (("get", "pods", "--subresource=log", "--namespace", JOBS), True),
        (("create", "pods", "--namespace", JOBS), False),
        (("create", "pods", "--subresource=exec", "--namespace", JOBS), False),
        (("get", "secrets", "--namespace", JOBS), False),
        (("create", "roles", "--namespace", JOBS), False),
        (("create", "jobs", "--namespace", NAMESPACE), False),
        (("get", "secrets", "--namespace", NAMESPACE), False),
        (("list", "pods", "--namespace", NAMESPACE), False),
        (("list", "pods", "--namespace", "kube-system"), False),
        (("list", "nodes"), False),
        (("list", "namespaces"), False),
    ],
)
def test_what_a_session_may(site: Installer, installed: Release, what: tuple[str, ...], *, allowed: bool) -> None:
    assert site.may(SESSION, *what) is allowed


def test_gpus_of_a_kind_that_no_quota_bounds_are_refused_among_the_jobs(site: Installer, installed: Release) -> None:
    pod = json.loads(json.dumps(EXECUTOR))
    pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/mig-1g.10gb"] = "1"
    dry = ("create", "--namespace", JOBS, "--dry-run=server", "--filename=-")
    refused = "jobs may have nvidia.com/gpu, and no other kind of GPU"
    wait_until(lambda: refused in site.plane.try_kubectl(*dry, stdin=json.dumps(pod)).stderr, "such a pod is refused")
    assert site.plane.try_kubectl(*dry, stdin=json.dumps(EXECUTOR)).returncode == 0


def test_a_pod_that_might_be_root_is_refused_among_the_jobs(site: Installer, installed: Release) -> None:
    spec = {"containers": [{"name": "any", "image": "none"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": spec}
    done = site.plane.try_kubectl("apply", "--namespace", JOBS, "--filename=-", stdin=json.dumps(pod))
    assert 'violates PodSecurity "restricted' in done.stderr
    assert "runAsNonRoot" in done.stderr


def notebook(name: str, workers: int) -> dict[str, Any]:
    """The cells of the notebook that describe a job and ask the cluster, as a session's kernel has run them."""
    scope: dict[str, Any] = {"json": json, "os": os, "ssl": ssl, "sys": sys, "Path": Path, "Request": Request}
    scope |= {
        "urlopen": urlopen,
        "time": time,
        "work": {"STEPS": "1"},
        "name": name,
        "workers": workers,
        "runtime_class": None,
    }
    for cell in json.loads((ROOT / "notebooks/40_beyond_one_server.ipynb").read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and source.startswith(
            ("def container", "def objects", "ACCOUNT =", "def run_there")
        ):
            exec(source, scope)
    return scope


@pytest.fixture
def session(site: Installer, installed: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What kubelets put into a session's pod: its account's token, and where the API server is."""
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text(site.plane.kubectl("create", "token", "sciencebox-session", "-n", NAMESPACE).strip())
    (account / "namespace").write_text(NAMESPACE)
    (account / "ca.crt").write_bytes(site.plane.authority.read_bytes())
    monkeypatch.setenv("SCIENCEBOX_JOB_ACCOUNT", str(account))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(site.plane.ports["api"]))


def test_the_notebooks_job_is_taken_and_its_pods_are_made(site: Installer, session: None) -> None:
    scope = notebook("train", 2)
    scope["wanted"] = scope["objects"]("train", "print()", 2)
    for each in scope["wanted"]:
        scope["kubernetes"]("POST", scope["PATHS"][each["kind"]], each)
    plane = site.plane
    plane.kubectl("wait", "--for=jsonpath={.status.active}=2", "job/train", "--namespace", JOBS, "--timeout=60s")
    pods = json.loads(plane.kubectl("get", "pods", "--namespace", JOBS, "--output=json"))["items"]
    assert sorted(pod["spec"]["hostname"] for pod in pods) == ["train-0", "train-1"]
    assert {pod["spec"]["subdomain"] for pod in pods} == {"train"}
    told = scope["states"]()
    assert len(told) == 2
    assert all(state.startswith("Pending: 0/1 nodes are available") for state in told.values())  # it has no GPU

    for pod in pods:
        done = json.dumps({"status": {"phase": "Succeeded"}})
        arguments = ("patch", "pod", pod["metadata"]["name"], "--subresource=status", "--type=merge", f"--patch={done}")
        plane.kubectl(*arguments, "--namespace", JOBS)
    plane.kubectl("wait", "--for=condition=complete", "job/train", "--namespace", JOBS, "--timeout=60s")
    for each in reversed(scope["wanted"]):
        scope["kubernetes"]("DELETE", f"{scope['PATHS'][each['kind']]}/train?propagationPolicy=Background")
    assert "train" not in plane.kubectl("get", "jobs,services,configmaps", "--namespace", JOBS, "--output=name")


def test_more_gpus_than_jobs_may_have_are_not_given(site: Installer, session: None) -> None:
    scope = notebook("large", 3)
    for each in scope["objects"]("large", "print()", 3):
        scope["kubernetes"]("POST", scope["PATHS"][each["kind"]], each)
    plane = site.plane
    plane.kubectl("wait", "--for=jsonpath={.status.active}=2", "job/large", "--namespace", JOBS, "--timeout=60s")
    used = json.loads(plane.kubectl("get", "resourcequota", "sciencebox-jobs", "--namespace", JOBS, "--output=json"))
    assert used["status"]["hard"]["requests.nvidia.com/gpu"] == "2"
    assert len(plane.kubectl("get", "pods", "--namespace", JOBS, "--output=name").split()) == 2
    wait_until(lambda: "no further pod" in scope["states"](), "the notebook says that a pod is missing")
    assert (
        "exceeded quota: sciencebox-jobs, requested: requests.nvidia.com/gpu=1" in scope["states"]()["no further pod"]
    )
    plane.kubectl("delete", "job,service,configmap", "--selector=app.kubernetes.io/name=large", "--namespace", JOBS)


# What Spark 4.3 makes an executor of, with the template of docs/kubernetes.md.
EXECUTOR = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "sum-exec-1", "labels": {"spark-role": "executor", "spark-app-selector": "sum"}},
    "spec": {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "executor",
                "image": "apache/spark:4.3.0",
                "args": ["executor"],
                "resources": {"requests": {"cpu": "2", "memory": "1408Mi"}, "limits": {"cpu": "2", "memory": "1408Mi"}},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    },
}


def test_executors_of_spark_are_a_sessions_to_make_where_that_is_allowed_and_go_back_with_it(
    site: Installer, installed: Release, tmp_path: Path
) -> None:
    release = site.release(tmp_path, {**JOBS_VALUES, "jobs": {**JOBS_VALUES["jobs"], "spark": True}})
    assert run_steps(release.steps(), screen())
    plane, jobs = site.plane, ("--namespace", JOBS)
    plane.kubectl("create", f"--as={SESSION}", *jobs, "--filename=-", stdin=json.dumps(EXECUTOR))
    assert site.may(SESSION, "deletecollection", "pods", *jobs)
    assert site.may(SESSION, "deletecollection", "configmaps", *jobs)
    assert not site.may(SESSION, "create", "pods", "--subresource=exec", *jobs)
    assert not site.may(SESSION, "get", "secrets", *jobs)
    assert not site.may(SESSION, "create", "pods", "--namespace", NAMESPACE)
    plane.kubectl("delete", "pods", f"--as={SESSION}", *jobs, "--selector=spark-app-selector=sum", "--wait=false")
    assert site.tools.helm("rollback", "sciencebox").returncode == 0
    assert not site.may(SESSION, "create", "pods", *jobs)


def kept(site: Installer) -> list[str]:
    """What no upgrade may take away: the first password, data, and a session, by what makes each the same one."""
    objects = [site.get("persistentvolumeclaims", "sciencebox-data"), site.get("pods", "jupyter-anna")]
    return [password(site), *(each["metadata"]["uid"] for each in objects)]


def test_an_upgrade_and_a_rollback_keep_sessions_and_data_and_start_another_hub(
    site: Installer, installed: Release, tmp_path: Path
) -> None:
    labels = {"app": "jupyterhub", "component": "singleuser-server", "release": "sciencebox"}
    session = {"metadata": {"name": "jupyter-anna", "namespace": NAMESPACE, "labels": labels}}
    spec = {"containers": [{"name": "notebook", "image": "none"}]}
    site.plane.apply({"apiVersion": "v1", "kind": "Pod", **session, "spec": spec})
    before = kept(site)
    hub = site.get("deployments", "hub")["spec"]["template"]
    release = site.release(tmp_path, {**JOBS_VALUES, "sciencebox": {"limits": {"gpus": 3}}})
    assert run_steps(release.steps(), screen())
    assert settings(site)["limits"] == {"gpus": 3}
    assert site.get("deployments", "hub")["spec"]["template"] != hub
    assert kept(site) == before

    assert site.tools.helm("rollback", "sciencebox").returncode == 0
    assert "limits" not in settings(site)
    assert site.get("deployments", "hub")["spec"]["template"] == hub
    assert kept(site) == before


def test_what_does_not_come_up_is_told_why_and_the_release_before_is_put_back(
    site: Installer, installed: Release, tmp_path: Path
) -> None:
    values = {**JOBS_VALUES, "sciencebox": {"limits": {"gpus": 9}}}
    values["jupyterhub"] = {**JOBS_VALUES["jupyterhub"], "replicas": 1}
    release = site.release(tmp_path, values, ready_s=3)
    release.check_cluster(screen())
    release.gather_charts(screen())
    release.install(screen())
    assert settings(site)["limits"] == {"gpus": 9}
    with pytest.raises(StepError, match=r"hub does not come up\..*The release before was put back\."):
        release.wait(screen())
    assert "limits" not in settings(site)


def test_a_bad_value_changes_nothing(site: Installer, installed: Release, tmp_path: Path) -> None:
    before = settings(site)
    release = site.release(tmp_path, {**JOBS_VALUES, "hub": {"db": {}}})
    release.gather_charts(screen())
    with pytest.raises(StepError, match=r"move what is below it to `jupyterhub\.hub`"):
        release.install(screen())
    assert settings(site) == before


def test_a_service_that_was_removed_comes_back_with_its_data_and_password(
    site: Installer, installed: Release, tmp_path: Path
) -> None:
    before = kept(site)
    assert site.tools.helm("uninstall", "sciencebox").returncode == 0
    assert kept(site) == before
    assert not site.may(SESSION, "create", "jobs", "--namespace", JOBS)
    site.plane.kubectl("wait", "--for=delete", f"namespace/{JOBS}", "--timeout=60s")
    assert run_steps(site.release(tmp_path, JOBS_VALUES).steps(), screen())
    assert kept(site) == before

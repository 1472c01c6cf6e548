"""What a session's pod is: whole dictionaries, and the whole manifest that KubeSpawner makes of them."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from sciencebox import settings as settings_file
from sciencebox.gpus.cluster import Supply, Wish
from sciencebox.sessions.options import SessionOptions
from sciencebox.sessions.pod import Site, add_to, describe, home_in, kept, read_kept, wish

GIB = 1024**3
CPU = SessionOptions("SB_1", cores=2, memory_bytes=4 * GIB)
TWO_A100 = SessionOptions("SB_1_cuda", 4, 8 * GIB, gpu="A100", gpu_count=2)
ANY_LARGE = SessionOptions("SB_1_cuda", 4, 8 * GIB, gpu="any", gpu_count=1, gpu_memory_bytes=40 * GIB)
SUPPLY = Supply("nvidia.com/gpu", "A100", 4, 80 * GIB, None, "NVIDIA-A100")
MIG = Supply("nvidia.com/mig-1g.10gb", "A100", 7, None, "1g.10gb", "A100-MIG-1g.10gb")
ROOT = "root:x:0:0:root:/root:/usr/sbin/nologin\n"
ANNOTATED = {"fieldPath": "metadata.annotations['sciencebox.org/names']"}
NAMES = {"name": "passwd", "downwardAPI": {"items": [{"path": "passwd", "fieldRef": ANNOTATED}]}}
ADA = Site("ada", 20_007, home="/home/ada", view="/cvmfs/sciencebox.local/lcg/views/SB_1/x", longest_s=3600)
SETTINGS = settings_file.parse("kubernetes: {runtime_class: nvidia}", "test")


def parts(options: SessionOptions, site: Site = ADA, resource: str = "nvidia.com/gpu") -> Any:
    return describe(SETTINGS, options, wish(options, resource), site)


def test_a_name_that_is_none_in_passwd_brings_no_line_of_its_own_there() -> None:
    described = parts(CPU, replace(ADA, user="urn:x:0:0\nroot {userid} |é"))
    named = "urn-x-0-0-root--userid---é"
    lines = described.traits["extra_annotations"]["sciencebox.org/names"].splitlines()
    assert lines == [ROOT.strip(), f"{named}:x:20007:20007::/home/ada:/bin/bash"]
    assert described.environment["USER"] == described.environment["LOGNAME"] == named


def test_a_session_without_a_gpu_gets_none_and_what_it_asked_for() -> None:
    described = parts(CPU)
    assert described.traits == {
        "cpu_limit": 2,
        "mem_limit": 4 * GIB,
        "mem_guarantee": 4 * GIB,
        "uid": 20_007,
        "gid": 20_007,
        "fs_gid": 20_007,
        "container_security_context": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "pod_security_context": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": {
            "shared-memory": {
                "name": "shared-memory",
                "emptyDir": {"medium": "Memory", "sizeLimit": str(2 * GIB)},
            },
            "passwd": NAMES,
        },
        "volume_mounts": {
            "shared-memory": {"name": "shared-memory", "mountPath": "/dev/shm"},
            "passwd": {"name": "passwd", "mountPath": "/etc/passwd", "subPath": "passwd", "readOnly": True},
        },
        "extra_annotations": {
            "sciencebox.org/options": "stack=SB_1&cores=2&memory=4+GiB&gpu=none&gpu_count=0&gpu_memory=any",
            "sciencebox.org/names": ROOT + "ada:x:20007:20007::/home/ada:/bin/bash\n",
        },
    }
    assert described.node_expressions == []
    assert described.environment["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert described.environment["HOME"] == "/home/ada"
    assert described.environment["JUPYTER_PATH"] == "/cvmfs/sciencebox.local/lcg/views/SB_1/x/share/jupyter"


@pytest.mark.parametrize(
    ("options", "site", "resource", "added", "annotations", "expressions"),
    [
        (
            TWO_A100,
            Site("ada", 20_007, supplies=(SUPPLY,), longest_s=3600),
            "nvidia.com/gpu",
            {"nvidia.com/gpu": "2"},
            {"sciencebox.org/gpu": "A100", "sciencebox.org/longest-seconds": "3600"},
            [{"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-A100"]}],
        ),
        (
            ANY_LARGE,
            Site("ada", 20_007, supplies=(SUPPLY,)),
            "nvidia.com/gpu",
            {"nvidia.com/gpu": "1"},
            {},
            [{"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["40959"]}],
        ),
        (
            SessionOptions("SB_1", 1, GIB, gpu="A100 MIG 1g.10gb", gpu_count=1),
            Site(
                "ada", 7, supplies=(Supply("nvidia.com/mig-1g.10gb", "A100", 7, None, "1g.10gb", "A100-MIG-1g.10gb"),)
            ),
            "nvidia.com/mig-1g.10gb",
            {"nvidia.com/mig-1g.10gb": "1"},
            {"sciencebox.org/gpu": "A100 MIG 1g.10gb"},
            [{"key": "nvidia.com/gpu.product", "operator": "In", "values": ["A100-MIG-1g.10gb"]}],
        ),
        (
            SessionOptions("SB_1", 1, GIB, gpu="T4 shared", gpu_count=1),
            Site("ada", 20_007, supplies=(Supply("nvidia.com/gpu.shared", "T4 shared", 8),)),
            "nvidia.com/gpu.shared",
            {"nvidia.com/gpu.shared": "1"},
            {"sciencebox.org/gpu": "T4 shared"},
            [],
        ),
    ],
)
def test_a_choice_of_gpu_is_a_resource_and_labels_of_nodes(
    options: SessionOptions,
    site: Site,
    resource: str,
    added: dict[str, str],
    annotations: dict[str, str],
    expressions: list[Any],
) -> None:
    described = parts(options, site, resource)
    assert described.traits["extra_resource_limits"] == added
    assert described.traits["tolerations"] == {"nvidia.com/gpu": {"key": "nvidia.com/gpu", "operator": "Exists"}}
    assert described.traits["extra_pod_config"] == {"runtimeClassName": "nvidia"}
    told = described.traits["extra_annotations"]
    common = {"sciencebox.org/options", "sciencebox.org/names"}
    assert {key: value for key, value in told.items() if key not in common} == annotations
    assert described.node_expressions == expressions
    assert "NVIDIA_VISIBLE_DEVICES" not in described.environment


def test_only_a_session_with_a_gpu_waits_in_the_queue_of_kueue() -> None:
    queued = settings_file.parse("kubernetes: {kueue: gpus}", "test")
    with_gpu = describe(queued, TWO_A100, wish(TWO_A100, "nvidia.com/gpu"), ADA)
    assert with_gpu.traits["extra_labels"] == {"sciencebox.org/gpus": "2", "kueue.x-k8s.io/queue-name": "gpus"}
    assert "extra_labels" not in describe(queued, CPU, wish(CPU, "nvidia.com/gpu"), ADA).traits


def test_only_a_session_with_a_gpu_has_the_priority_of_its_group() -> None:
    clinic = replace(ADA, priority_class="hub-priority-10")
    assert parts(TWO_A100, clinic).traits["priority_class_name"] == "hub-priority-10"
    assert "priority_class_name" not in parts(CPU, clinic).traits


def test_the_session_is_told_of_its_gpus_before_a_node_is_chosen() -> None:
    facts = json.loads(parts(TWO_A100, Site("ada", 20_007, supplies=(SUPPLY,))).environment["SCIENCEBOX_SESSION"])
    assert [(gpu["model"], gpu["memory_bytes"]) for gpu in facts["gpus"]] == [("A100", 80 * GIB)] * 2
    assert facts["attach"] == "kubernetes"


@pytest.mark.parametrize("options", [CPU, TWO_A100, ANY_LARGE])
def test_a_pod_carries_what_was_asked_for(options: SessionOptions) -> None:
    told = read_kept(kept(options))
    assert told["stack"] == options.stack
    assert told["gpu_count"] == str(options.gpu_count)
    assert "{" not in kept(options)  # KubeSpawner takes annotations for templates


def test_nothing_that_a_site_configures_is_lost() -> None:
    given = {
        "volumes": [{"name": "site"}],
        "volume_mounts": {"site": {"name": "site", "mountPath": "/site"}},
        "tolerations": [{"key": "hub.jupyter.org/dedicated"}],
        "extra_pod_config": {"dnsPolicy": "Default"},
        "extra_resource_limits": {"example.com/fpga": "1"},
        "extra_annotations": {"theirs": "1"},
        "node_affinity_required": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]},
        ],
    }
    ours = {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-A100"]}
    found = add_to(given, parts(TWO_A100, Site("ada", 20_007, supplies=(SUPPLY,))))
    assert [volume["name"] for volume in found["volumes"]] == ["site", "shared-memory", "passwd"]
    assert found["volume_mounts"]["site"]["mountPath"] == "/site"
    assert [one["key"] for one in found["tolerations"]] == ["hub.jupyter.org/dedicated", "nvidia.com/gpu"]
    assert found["extra_pod_config"] == {"dnsPolicy": "Default", "runtimeClassName": "nvidia"}
    assert found["extra_resource_limits"] == {"example.com/fpga": "1", "nvidia.com/gpu": "2"}
    assert found["extra_annotations"]["theirs"] == "1"
    # Terms are alternatives: each has to ask for the GPU.
    assert found["node_affinity_required"] == [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}, ours]},
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}], "matchExpressions": [ours]},
    ]


def test_a_site_without_affinity_gets_one_term() -> None:
    found = add_to({"node_affinity_required": []}, parts(ANY_LARGE))
    expression = {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["40959"]}
    assert found["node_affinity_required"] == [{"matchExpressions": [expression]}]


@pytest.mark.parametrize(
    ("volumes", "mounts", "home"),
    [
        ({}, {}, None),
        (
            [{"name": "h", "persistentVolumeClaim": {"claimName": "claim-ada"}}, {"name": "x", "emptyDir": {}}],
            [{"name": "x", "mountPath": "/x"}, {"name": "h", "mountPath": "/home/ada"}],
            "/home/ada",
        ),
        (
            {"h": {"name": "h", "persistentVolumeClaim": {"claimName": "somebody-else"}}},
            {"h": {"name": "h", "mountPath": "/home/ada"}},
            None,
        ),
    ],
)
def test_a_home_is_where_the_users_claim_is_mounted(volumes: Any, mounts: Any, home: str | None) -> None:
    assert home_in(volumes, mounts, "claim-ada") == home


async def test_the_whole_manifest_that_kubespawner_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from kubernetes_asyncio.client import ApiClient
    from kubespawner import KubeSpawner, spawner

    monkeypatch.setattr(spawner, "load_config", lambda **_: None)
    monkeypatch.setattr(spawner, "shared_client", lambda _: SimpleNamespace())
    made = KubeSpawner(_mock=True, image="session:1", cmd=["jupyterhub-singleuser"], namespace="hub")
    made.get_env = lambda: {}
    described = parts(TWO_A100, Site("ada", 20_007, supplies=(SUPPLY,)))
    for name, value in add_to({}, described).items():
        setattr(made, name, value)
    async with ApiClient() as client:
        pod = client.sanitize_for_serialization(await made.get_pod_manifest())
    assert pod["spec"] == {
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": described.node_expressions}]
                }
            }
        },
        "automountServiceAccountToken": False,
        "containers": [
            {
                "args": ["jupyterhub-singleuser"],
                "env": [],
                "image": "session:1",
                "lifecycle": {},
                "name": "notebook",
                "ports": [{"containerPort": 8888, "name": "notebook-port"}],
                "resources": {
                    "limits": {"cpu": 4.0, "memory": 8 * GIB, "nvidia.com/gpu": "2"},
                    "requests": {"memory": 8 * GIB},
                },
                "securityContext": {
                    "runAsUser": 20_007,
                    "runAsGroup": 20_007,
                    **described.traits["container_security_context"],
                },
                "volumeMounts": [
                    {"mountPath": "/etc/passwd", "name": "passwd", "readOnly": True, "subPath": "passwd"},
                    {"mountPath": "/dev/shm", "name": "shared-memory"},
                ],
            }
        ],
        "imagePullSecrets": [],
        "restartPolicy": "OnFailure",
        "runtimeClassName": "nvidia",
        "securityContext": {"fsGroup": 20_007, **described.traits["pod_security_context"]},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "volumes": [NAMES, {"emptyDir": {"medium": "Memory", "sizeLimit": str(2 * GIB)}, "name": "shared-memory"}],
    }


def test_what_a_session_asks_of_a_node() -> None:
    assert wish(CPU, "nvidia.com/gpu") == Wish(2, 4 * GIB)
    assert wish(ANY_LARGE, "nvidia.com/gpu") == Wish(4, 8 * GIB, "nvidia.com/gpu", 1, None, 40 * GIB)
    assert wish(TWO_A100, "nvidia.com/gpu") == Wish(4, 8 * GIB, "nvidia.com/gpu", 2, "A100")

"""A session on a cluster from its form to its end: what its pod is, that it is reached, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fakes.kubelet import A100, node, wait_for_nodes
from tests.service import wait_until

if TYPE_CHECKING:
    from tests.kube.site import Site


def test_a_session_is_reached_and_its_pod_deleted_by_hand_is_told(site: Site) -> None:
    site.kubelets.serve = True
    site.start_hub()
    site.ask("ada", gpu=A100, gpu_count="2", cores="4", memory="8 GiB")
    site.runs("ada")
    assert site.reaches_session("ada")
    assert "0 of 2 free" in site.person("bob").get("spawn").text
    assert "In use by ada" in site.person("bob").get("sciencebox/gpus").text
    pod = site.pods()["ada"]
    assert pod["spec"]["nodeName"] == "gpu-a"
    limits = pod["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "4", "memory": str(8 * 1024**3), "nvidia.com/gpu": "2"}
    assert {"name": "site", "mountPath": "/site"} in pod["spec"]["containers"][0]["volumeMounts"]

    site.plane.kubectl("-n", site.namespace, "delete", "pod", pod["metadata"]["name"])
    wait_until(lambda: not site.is_ready("ada"), "the session is over")
    assert "Your last session ended: its pod was deleted." in site.person("ada").get("home").text
    wait_until(lambda: "2 of 2 free" in site.person("bob").get("spawn").text, "the GPUs are free")


def test_what_is_left_of_a_session_whose_stop_failed_is_removed_and_frees_its_gpu(site: Site) -> None:
    site.start_hub(more="from sciencebox.hub import app\napp.STRANGERS_EVERY_S = 1\n")
    for name in ("ada", "bob"):
        site.ask(name)
        site.runs(name)
    site.may_delete(allowed=False)
    site.stop("ada")
    wait_until(lambda: "cannot be removed" in site.log, "it is tried again")
    assert "Nothing is running" in site.person("ada").get("home").text
    assert site.phase("ada") == "Running"
    site.may_delete(allowed=True)
    wait_until(lambda: not site.phase("ada"), "the pod is removed")
    wait_until(lambda: "1 of 2 free" in site.person("eva").get("spawn").text, "its GPU is free")
    assert site.is_ready("bob") and site.phase("bob") == "Running"


def test_a_node_that_is_lost_or_emptied_ends_its_sessions_and_their_users_are_told(site: Site) -> None:
    site.start_hub()
    site.ask("ada")
    site.runs("ada")
    site.kubelets.add(node("gpu-b", gpus=1, product="Tesla-T4", memory_mib=15360))
    wait_for_nodes(site.kubelets)
    site.kubelets.lose("gpu-a")
    wait_until(lambda: not site.is_ready("ada"), "the session is over")
    assert "Your last session ended: its node stopped answering" in site.person("ada").get("home").text
    page = site.person("bob").get("sciencebox/gpus").text
    assert "Its node does not answer" in page
    assert "In use" not in page
    assert "1 of 3 free" in site.person("bob").get("spawn").text
    site.kubelets.nodes.add("gpu-a")  # it comes back
    wait_until(lambda: "3 of 3 free" in site.person("bob").get("spawn").text, "the node is counted again")

    site.ask("bob")
    site.runs("bob")
    site.evict("bob")
    wait_until(lambda: not site.is_ready("bob"), "the session is over")
    assert "Your last session ended: its node is being emptied" in site.person("bob").get("home").text


def test_a_start_that_fails_says_why_and_leaves_nothing(site: Site) -> None:
    site.kubelets.broken["jupyter-ada"] = "ImagePullBackOff"
    site.start_hub()
    answer = site.person("ada").send_form(gpu="any", gpu_count="1")
    said = answer.text if answer.status_code == 500 else site.failure("ada")
    assert "The software image of sessions cannot be fetched by the node" in said
    wait_until(lambda: site.phase("ada") == "", "the pod is gone")
    assert "2 of 2 free" in site.person("ada").get("spawn").text
    site.kubelets.broken.clear()
    site.ask("ada")
    site.runs("ada")
    site.stop("ada")
    assert "Nothing is running." in site.person("ada").get("home").text  # who stops a session knows why it is over


def test_pods_keep_to_the_restricted_standard_and_the_hub_to_its_namespace(site: Site) -> None:
    site.plane.kubectl(
        "label", "namespace", site.namespace, "pod-security.kubernetes.io/enforce=restricted", "--overwrite"
    )
    site.start_hub()
    site.ask("ada")
    site.runs("ada")
    hub = site.kubeconfig

    def may(*what: str) -> str:
        return site.plane.try_kubectl("auth", "can-i", *what, kubeconfig=hub).stdout.strip()

    assert may("list", "nodes") == "yes"
    assert may("create", "pods", "-n", site.namespace) == "yes"
    assert may("patch", "nodes") == "no"
    for namespace in ("default", "kube-system"):
        assert may("get", "secrets", "-n", namespace) == "no"
        assert may("list", "pods", "-n", namespace) == "no"
    assert may("create", "rolebindings", "-n", site.namespace) == "no"
    spec = site.pods()["ada"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert not any("projected" in volume for volume in spec["volumes"])

    site.delete_user("ada")  # the database gives the number to whoever comes next
    site.ask("eva")
    site.runs("eva")
    uids = [each["containers"][0]["securityContext"]["runAsUser"] for each in (spec, site.pods()["eva"]["spec"])]
    assert uids[0] != uids[1]

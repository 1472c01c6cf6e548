"""What becomes of a session whose volumes the cluster does not have, or a node cannot mount."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.service import wait_until

if TYPE_CHECKING:
    from tests.kube.site import Site

HOMES = """
c.KubeSpawner.storage_pvc_ensure = True
c.KubeSpawner.storage_class = "nowhere"
c.KubeSpawner.storage_capacity = "1Gi"
c.KubeSpawner.volumes["home"] = {"name": "home", "persistentVolumeClaim": {"claimName": "claim-{username}"}}
"""


def test_a_home_that_cannot_be_provided_is_told_and_the_start_can_be_given_up(site: Site) -> None:
    site.start_hub(more=HOMES)
    site.ask("ada")
    said = "The volume claim claim-ada cannot be provided: the cluster has no storage class nowhere"
    wait_until(lambda: said in site.waits("ada")["basis"], "the page says why")
    site.stop("ada")
    wait_until(lambda: site.phase("ada") == "", "the pod is gone")


def test_a_volume_that_a_node_cannot_mount_is_told_until_it_can_and_its_own_words_are_in_the_log(site: Site) -> None:
    mount = 'MountVolume.SetUp failed for volume "nfs-data" : mount 10.1.2.3:/export: exit status 32'
    site.kubelets.warned["jupyter-ada"] = ("FailedMount", mount)
    site.start_hub()
    site.ask("ada", gpu="none", gpu_count="0")
    said = "The node cannot mount the volume nfs-data; it is tried again."
    assert any(event["message"] == said for event in site.events("ada"))
    assert f"FailedMount: {mount}" in site.log
    site.kubelets.warned.clear()
    site.runs("ada")


def test_who_waits_in_vain_for_a_volume_reads_why_in_the_end(site: Site) -> None:
    site.kubelets.warned["jupyter-ada"] = ("FailedAttachVolume", 'Multi-Attach error for volume "pvc-1"')
    site.start_hub("sessions: {start_timeout: 10}\n")
    site.ask("ada")
    said = site.failure("ada")
    assert said.startswith("The session took more than 10 seconds to start")
    assert said.endswith("Another node still has a volume of your session; it is tried again.")
    wait_until(lambda: site.phase("ada") == "", "the pod is gone")
    assert "2 of 2 free" in site.person("ada").get("spawn").text

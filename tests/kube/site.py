"""A service on the tests' control plane: a namespace, the hub with the chart's rights, pretended kubelets, people."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from tests.fakes.little_hub import LittleHub, Person
from tests.kube.forked import Forked
from tests.ports import free_port
from tests.service import wait_until
from tests.unit.helm.chart import Chart, alone, find_helm

if TYPE_CHECKING:
    from tests.fakes.kubelet import Kubelets
    from tests.kube.rig import ControlPlane

ROOT = Path(__file__).parents[2]
ANY_NAMESPACE = "in-any-namespace"  # stands for a service's, in what is the same for all of them
RIGHTS = {"rbac.authorization.k8s.io/v1", "scheduling.k8s.io/v1"}
# What zero-to-jupyterhub's own Role of its hub has (chart 4, templates/hub/rbac.yaml).
SPAWNER_RULES = [
    {
        "apiGroups": [""],
        "resources": ["pods", "persistentvolumeclaims", "secrets", "services"],
        "verbs": ["get", "watch", "list", "create", "delete"],
    },
    {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "watch", "list"]},
]
# As zero-to-jupyterhub configures JupyterHub and KubeSpawner, with volumes of a site; then the file of the image.
CONFIG = """
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.JupyterHub.proxy_class = "tests.fakes.little_proxy.LittleProxy"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {{"admin"}}
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret = bytes(32)
c.JupyterHub.cleanup_servers = False
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 0}}
c.JupyterHub.services = []
c.JupyterHub.load_roles = []
c.KubeSpawner.namespace = "{namespace}"
c.KubeSpawner.image = "sciencebox/session:tests"
c.KubeSpawner.start_timeout = 300
c.KubeSpawner.volumes = {{"site": {{"name": "site", "emptyDir": {{}}}}}}
c.KubeSpawner.volume_mounts = {{"site": {{"name": "site", "mountPath": "/site"}}}}
c.Spawner.cmd = ["jupyterhub-singleuser"]
"""
OURS = f"""
exec(compile(open("{ROOT}/images/hub/sciencebox.py").read(), "sciencebox.py", "exec"))
c.GPUKubeSpawner.poll_interval = 1
"""
PLAIN = """
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
"""


@dataclass
class Site:
    """One service. People sign in with any password."""

    plane: ControlPlane
    kubelets: Kubelets
    namespace: str
    folder: Path
    port: int = field(default_factory=free_port)
    hub_port: int = field(default_factory=free_port)
    process: Forked | None = None

    def __post_init__(self) -> None:
        self.people = LittleHub(f"http://127.0.0.1:{self.port}", self.folder)

    @property
    def log(self) -> str:
        """What the hub said."""
        return (self.folder / "hub.log").read_text(encoding="utf-8", errors="replace")

    def install(self) -> None:
        """The namespace, and the hub's account with the rights that the chart gives it."""
        named = {"namespace": self.namespace}
        self.plane.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "hub", **named}},
            self._role(SPAWNER_RULES),
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "hub", **named},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "hub"},
                "subjects": [{"kind": "ServiceAccount", "name": "hub", **named}],
            },
            *self._granted(),
        )
        wait_until(lambda: self.plane.has(f"{self._place}/serviceaccounts/default"), "pods may be made there")

    def _role(self, rules: list[dict[str, Any]]) -> dict[str, Any]:
        named = {"name": "hub", "namespace": self.namespace}
        return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": named, "rules": rules}

    def may_delete(self, *, allowed: bool) -> None:
        """Whether the hub may delete pods, which zero-to-jupyterhub lets it."""
        pods, events = SPAWNER_RULES
        verbs = [verb for verb in pods["verbs"] if allowed or verb != "delete"]
        self.plane.apply(self._role([{**pods, "verbs": verbs}, events]))
        who = ("--namespace", self.namespace, "--as", f"system:serviceaccount:{self.namespace}:hub")
        asked = ("auth", "can-i", "delete", "pods", *who)
        wait_until(lambda: (self.plane.try_kubectl(*asked).returncode == 0) is allowed, "the right is known")

    def grant(self, **values: Any) -> None:
        """What the chart lets the hub do with these values."""
        self.plane.apply(*self._granted(**values))

    def _granted(self, **values: Any) -> list[dict[str, Any]]:
        granted: list[dict[str, Any]] = json.loads(rights(json.dumps(values)).replace(ANY_NAMESPACE, self.namespace))
        for each in granted:
            if not each["kind"].startswith(("Cluster", "Priority")):
                each["metadata"]["namespace"] = self.namespace  # as helm puts it there
        return granted

    @property
    def _place(self) -> str:
        """Of the API."""
        return f"/api/v1/namespaces/{self.namespace}"

    @cached_property
    def kubeconfig(self) -> Path:
        """The hub's own credentials."""
        token = self.plane.ask("POST", f"{self._place}/serviceaccounts/hub/token", json={})["status"]["token"]
        return self.plane.write_kubeconfig(f"hub-{self.namespace}", token, self.namespace)

    def start_hub(self, settings: str = "", more: str = "") -> None:
        """Start the hub, with `more` of a site's configuration, and wait until it answers."""
        (self.folder / "sciencebox.yaml").write_text(settings, encoding="utf-8")
        self._run("sciencebox.hub.cluster", more + OURS)

    def start_plain_hub(self, more: str = "") -> None:
        """Start JupyterHub with KubeSpawner as it comes in the place of ours, with `more` configuration."""
        self._run("jupyterhub.app", PLAIN + more)

    def _run(self, module: str, more: str) -> None:
        config = CONFIG.format(port=self.port, hub_port=self.hub_port, namespace=self.namespace, folder=self.folder)
        (self.folder / "config.py").write_text(config + more, encoding="utf-8")
        own = {
            "KUBECONFIG": str(self.kubeconfig),
            "SCIENCEBOX_SETTINGS": str(self.folder / "sciencebox.yaml"),
            "SCIENCEBOX_STATE": str(self.folder),
            "PYTHONPATH": str(ROOT),
        }
        arguments = ("-f", str(self.folder / "config.py"))
        self.process = Forked(module, arguments, {**os.environ, **own}, self.folder, self.folder / "hub.log")
        wait_until(self._answers, "the hub answers")

    def _answers(self) -> bool:
        assert self.process is not None
        assert not self.process.has_ended(), self.log[-3000:]
        try:
            return requests.get(f"{self.people.url}/hub/health", timeout=5).ok
        except requests.RequestException:
            return False

    def end_hub(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the hub."""
        if self.process:
            self.process.end(how, 30)
            self.process = None

    def pods(self) -> dict[str, dict[str, Any]]:
        """The namespace's pods, by user."""
        found = self.plane.ask("GET", f"{self._place}/pods")
        return {pod["metadata"]["annotations"]["hub.jupyter.org/username"]: pod for pod in found["items"]}

    def phase(self, user: str) -> str:
        """The phase of a user's pod; empty where there is none."""
        pod = self.pods().get(user)
        return str(pod["status"]["phase"]) if pod else ""

    def person(self, name: str) -> Person:
        """Somebody who is signed in."""
        return self.people.sign_in(name)

    def is_signed_in(self, name: str) -> bool:
        """Whether somebody could sign in; a hub that has much to read at its start may take a moment."""
        if self.person(name).get("api/user").ok:
            return True
        self.people.people.pop(name).http.close()
        return False

    def ask(self, name: str, **choices: str) -> Person:
        """Somebody sends the form. What was chosen may be refused, which the answer tells."""
        person = self.person(name)
        answer = person.send_form(**{"gpu": "any", "gpu_count": "1", **choices})
        assert answer.status_code == 302, answer.text
        return person

    def waits(self, name: str) -> dict[str, Any]:
        """Where somebody stands, by the page that waits."""
        return next(event["queue"] for event in self.events(name) if "queue" in event)

    def events(self, name: str) -> Any:
        """What a waiting page is told, until the start is over."""
        # From the hub itself, for the little proxy keeps nothing open.
        url = f"http://127.0.0.1:{self.hub_port}/hub/api/users/{name}/server/progress"
        headers = {"Accept": "text/event-stream"}
        with self.person(name).http.get(url, stream=True, headers=headers, timeout=30) as answer:
            for line in answer.iter_lines():
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])

    def waiting(self, name: str) -> str:
        """The title of the page that waits, once it does."""
        return str(self.waits(name)["title"])

    def failure(self, name: str) -> str:
        """Why a start failed, by the page that waits."""
        return next(event["message"] for event in self.events(name) if event.get("failed"))

    def stop(self, name: str) -> None:
        """Somebody presses Stop, Cancel or Leave the queue."""
        self._delete(f"users/{name}/server", name)

    def delete_user(self, name: str) -> None:
        """The administrator deletes somebody, whose session ends with that."""
        self._delete(f"users/{name}", "admin")

    def _delete(self, what: str, name: str) -> None:
        http = self.person(name).http
        headers = {"X-XSRFToken": http.cookies.get("_xsrf", path="/hub/") or ""}
        answer = http.delete(f"{self.people.url}/hub/api/{what}", headers=headers, timeout=60)
        assert answer.ok, answer.text

    def evict(self, name: str) -> None:
        """An administrator empties the node of somebody's session, as `kubectl drain` does."""
        pod = self.pods()[name]["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        self.plane.ask("POST", f"{self._place}/pods/{pod}/eviction", json=eviction)

    def runs(self, name: str) -> None:
        """Wait until somebody's session runs."""
        wait_until(lambda: self.is_ready(name), f"{name}'s session runs")

    def is_ready(self, name: str) -> bool:
        """Whether somebody's session runs."""
        model = self.person(name).get("api/user").json()
        return bool(model.get("servers", {}).get("", {}).get("ready")) or model.get("server") is not None

    def reaches_session(self, name: str) -> bool:
        """Whether somebody's own server answers them, through the proxy."""
        person = self.person(name)
        person.http.get(f"{self.people.url}/user/{name}/files/any", timeout=30)  # signs in to the session
        answer = person.http.get(f"{self.people.url}/user/{name}/api/status", timeout=30)
        return answer.ok and "kernels" in answer.json()

    def close(self) -> None:
        """Everything ends."""
        self.end_hub()
        self.people.close()
        self.plane.ask("DELETE", self._place)
        self.plane.ask("DELETE", f"{self._place}/pods", params={"gracePeriodSeconds": 0})


@cache
def rights(given: str) -> str:
    """What the chart lets the hub and its pods do beyond zero-to-jupyterhub's own Role, with these values, as JSON."""
    helm = find_helm()
    assert helm, "no helm"
    with tempfile.TemporaryDirectory() as work:
        objects = Chart(helm, alone(Path(work)), namespace=ANY_NAMESPACE).objects(**json.loads(given))
    return json.dumps([each for each in objects if each["apiVersion"] in RIGHTS])

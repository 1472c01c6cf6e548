"""Whether a cluster can run the service: what kubectl and helm tell in, a table out. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sciencebox.host.engine import numbers
from sciencebox.host.row import Row, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sciencebox.host.values import Values

Object = dict[str, Any]
OLDEST = (1, 30)  # kubeVersion of Chart.yaml
GPU = "nvidia.com/"
DRIVER = "cvmfs.csi.cern.ch"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_MODEL = "nvidia.com/gpu.product"


@dataclass(frozen=True)
class Cluster:
    """Everything that was read. `fault` says why a cluster does not answer."""

    kubectl: bool = True
    helm: str = ""
    context: str = ""
    version: str = ""
    fault: str = ""
    may_install: bool = True
    nodes: Sequence[Object] = field(default_factory=tuple)
    classes: Sequence[Object] = field(default_factory=tuple)
    drivers: frozenset[str] = frozenset()
    runtimes: frozenset[str] = frozenset()
    prometheus: bool = False  # whether its operator is there
    kueue: bool = False
    queues: frozenset[str] = frozenset()  # LocalQueues of the service's namespace
    status: str = ""  # of this release, as helm calls it; empty where it was never installed

    @property
    def default_class(self) -> str:
        """The storage class of claims that name none."""
        found = (each["metadata"] for each in self.classes)
        return next((each["name"] for each in found if each.get("annotations", {}).get(_DEFAULT_CLASS) == "true"), "")

    @property
    def class_names(self) -> list[str]:
        """Storage classes."""
        return [each["metadata"]["name"] for each in self.classes]


def rows(cluster: Cluster, values: Values, namespace: str) -> list[Row]:
    """The whole table, as far as it can be known."""
    tools = [_kubectl(cluster), _helm(cluster)]
    if not cluster.version:
        return [*tools, _answers(cluster)]
    return [
        *tools,
        _answers(cluster),
        _rights(cluster),
        _namespace(namespace),
        *_release(cluster, namespace),
        _nodes(cluster),
        *_gpus(cluster, values),
        *_runtime(cluster, values),
        *_storage(cluster, values),
        _stack(cluster, values),
        _encryption(values),
        *_prometheus(cluster, values),
        *_kueue(cluster, values),
    ]


def _kubectl(cluster: Cluster) -> Row:
    if cluster.kubectl:
        return Row("kubectl", State.OK, "installed")
    return Row("kubectl", State.FAILED, "not installed", "Install it: https://kubernetes.io/docs/tasks/tools/.")


def _helm(cluster: Cluster) -> Row:
    if not cluster.helm:
        return Row(
            "helm", State.FAILED, "not installed", "Install helm 3.14 or newer: https://helm.sh/docs/intro/install/."
        )
    if numbers(cluster.helm.lstrip("v")) < (3, 14):
        return Row("helm", State.FAILED, cluster.helm, "Upgrade to helm 3.14 or newer.")
    return Row("helm", State.OK, cluster.helm)


def _answers(cluster: Cluster) -> Row:
    if not cluster.version:
        advice = (
            "See what `kubectl cluster-info` says; KUBECONFIG names the file with the cluster's address and your key."
        )
        return Row("Cluster", State.FAILED, cluster.fault or "none answers", advice)
    found = f"Kubernetes {cluster.version}, context {cluster.context or 'of this pod'}"
    if numbers(cluster.version.lstrip("v")) < OLDEST:
        return Row("Cluster", State.FAILED, found, "Upgrade to 1.30 or newer.")
    return Row("Cluster", State.OK, found)


def _rights(cluster: Cluster) -> Row:
    if cluster.may_install:
        return Row("Rights", State.OK, "those of an administrator")
    advice = "Ask for the role cluster-admin: the hub is given the right to read nodes, which belong to no namespace."
    return Row("Rights", State.FAILED, "ClusterRoles may not be made", advice)


def _namespace(namespace: str) -> Row:
    if namespace == "default":
        return Row("Namespace", State.FAILED, "default", "Give the service one of its own: NAMESPACE=sciencebox.")
    return Row("Namespace", State.OK, namespace)


def _release(cluster: Cluster, namespace: str) -> Iterator[Row]:
    """A run of helm that was cut off leaves the release locked."""
    if cluster.status == "pending-install":
        advice = f"Run `helm -n {namespace} uninstall sciencebox`, which keeps homes and data; then this again."
        yield Row("Release", State.FAILED, "its first installation was cut off", advice)
    elif cluster.status.startswith("pending-"):
        advice = f"Run `helm -n {namespace} rollback sciencebox`, then this again."
        yield Row("Release", State.FAILED, "its last upgrade was cut off", advice)


def _nodes(cluster: Cluster) -> Row:
    ready = [node for node in cluster.nodes if _is_ready(node)]
    found = f"{len(ready)} of {len(cluster.nodes)} ready"
    if not ready:
        return Row("Nodes", State.FAILED, found, "See `kubectl get nodes` and `kubectl describe node`.")
    state = State.OK if len(ready) == len(cluster.nodes) else State.WARNING
    return Row("Nodes", state, found, "" if state is State.OK else "See `kubectl describe node` for the others.")


def _is_ready(node: Object) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _gpus(cluster: Cluster, values: Values) -> Iterator[Row]:
    offered: Counter[str] = Counter()
    for node in cluster.nodes:
        labels = node["metadata"].get("labels", {})
        for name, count in node.get("status", {}).get("allocatable", {}).items():
            if name.startswith(GPU) and int(count):
                kind = labels.get(_MODEL, name) if name == f"{GPU}gpu" else name
                offered[kind] += int(count)
    ours = bool(values.get("nvidia-device-plugin", "enabled"))
    if offered:
        yield Row("GPUs", State.OK, ", ".join(f"{count} x {kind}" for kind, count in sorted(offered.items())))
        if ours and not cluster.status:
            advice = "Set `nvidia-device-plugin.enabled: false`: a node must not have two."
            yield Row("GPUs", State.FAILED, "another device plugin (NVIDIA's GPU operator?) is here already", advice)
    elif ours and not cluster.status:
        advice = "They appear within a minute where a node has NVIDIA's driver and container toolkit."
        yield Row("GPUs", State.WARNING, "none is offered yet; the device plugin comes with the chart", advice)
    else:
        advice = (
            "See `kubectl get pods -A | grep nvidia`, and whether nodes have NVIDIA's driver and container toolkit."
        )
        yield Row("GPUs", State.WARNING, "no node offers one; sessions run without", advice)


def _runtime(cluster: Cluster, values: Values) -> Iterator[Row]:
    runtime = values.settings.kubernetes.runtime_class
    wanted = [runtime] if runtime else []
    wanted += [name] if (name := values.get("nvidia-device-plugin", "runtimeClassName")) else []
    made = values.get("runtimeClass", "name") if values.get("runtimeClass", "create") else ""
    for name in dict.fromkeys(wanted):
        if name in cluster.runtimes or name == made:
            yield Row("Runtime class", State.OK, name)
        else:
            advice = "Install NVIDIA's container toolkit on the nodes; else set `runtimeClass.create: true`."
            yield Row("Runtime class", State.FAILED, f"there is none named {name}", advice)


def _storage(cluster: Cluster, values: Values) -> Iterator[Row]:
    known = ", ".join(cluster.class_names) or "none"
    places = [
        ("Homes", ("jupyterhub", "singleuser", "storage", "dynamic", "storageClass")),
        ("Hub's database", ("jupyterhub", "hub", "db", "pvc", "storageClassName")),
        *([("Data", ("data", "storageClass"))] if values.get("data", "enabled") else []),
    ]
    for what, path in places:
        name = values.get(*path, default="")
        if name and name not in cluster.class_names:
            advice = f"Name one of: {known} (`{'.'.join(path)}`)."
            yield Row("Storage", State.FAILED, f"{what}: there is no storage class {name}", advice)
        elif not name and not cluster.default_class:
            advice = f"Set `{'.'.join(path)}` to one of: {known}; or make one the default."
            yield Row("Storage", State.FAILED, f"{what}: the cluster has no default storage class", advice)
        else:
            yield Row("Storage", State.OK, f"{what}: {name or cluster.default_class}")


def _stack(cluster: Cluster, values: Values) -> Row:
    repository = values.settings.stack.repository
    if values.get("cvmfs", "source") == "host":
        path = values.get("cvmfs", "path")
        return Row("Stack", State.OK, f"{path}/{repository}, which each node must have")
    name = values.get("cvmfs", "storageClass")
    ours = values.get("cvmfs-csi", "enabled")
    if DRIVER in cluster.drivers and ours and not cluster.status:
        advice = "Set `cvmfs-csi.enabled: false`, and `cvmfs.storageClass` to its class without a repository."
        return Row("Stack", State.FAILED, "the cluster has cvmfs-csi already", advice)
    if ours or name in cluster.class_names:
        return Row("Stack", State.OK, f"/cvmfs/{repository}, from the storage class {name}")
    advice = "Set `cvmfs-csi.enabled: true`, or name an existing class in `cvmfs.storageClass`."
    return Row("Stack", State.FAILED, f"no storage class {name}, and cvmfs-csi is switched off", advice)


def _encryption(values: Values) -> Row:
    by_ingress = values.get("jupyterhub", "ingress", "enabled") and values.get("jupyterhub", "ingress", "tls")
    if by_ingress or values.get("jupyterhub", "proxy", "https", "enabled"):
        return Row("TLS", State.OK, "at the ingress" if by_ingress else "at the proxy")
    advice = "Set `jupyterhub.proxy.https`, or an ingress with `tls`; see docs/kubernetes.md."
    return Row("TLS", State.WARNING, "none: passwords and data cross the network unencrypted", advice)


def _prometheus(cluster: Cluster, values: Values) -> Iterator[Row]:
    if not values.get("serviceMonitor", "enabled"):
        return
    if cluster.prometheus:
        yield Row("Prometheus", State.OK, "its operator is here")
    else:
        advice = "Install the Prometheus operator, or set `serviceMonitor.enabled: false`."
        yield Row("Prometheus", State.FAILED, "its operator is not here", advice)


def _kueue(cluster: Cluster, values: Values) -> Iterator[Row]:
    name = values.settings.kubernetes.kueue
    if not name:
        return
    if not cluster.kueue:
        advice = "Install Kueue, or leave `sciencebox.kubernetes.kueue` empty."
        yield Row("Queue", State.FAILED, "Kueue is not here", advice)
    elif name in cluster.queues:
        yield Row("Queue", State.OK, f"{name}, of Kueue")
    else:
        advice = "Make one, see docs/kubernetes.md; until then no session gets a GPU."
        yield Row("Queue", State.WARNING, f"the namespace has no LocalQueue {name} yet", advice)


def troubles(pods: Sequence[Object]) -> list[str]:
    """Why pods do not run, a sentence each, from what the API server says of them."""
    found = []
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status", {})
        for condition in status.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                found.append(f"{name} finds no node: {condition.get('message', 'no reason given').rstrip('.')}.")
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            waiting = container.get("state", {}).get("waiting")
            if waiting and waiting["reason"] not in ("ContainerCreating", "PodInitializing"):
                said = waiting.get("message", "").rstrip(".")
                found.append(f"{name}: {waiting['reason']}{f', {said}' if said else ''}.")
    return found


def address(values: Values, service: Mapping[str, Any], namespace: str) -> str:
    """Where users find the service: the ingress, the load balancer, or a command that leads there."""
    if values.get("jupyterhub", "ingress", "enabled"):
        hosts = values.get("jupyterhub", "ingress", "hosts", default=[])
        scheme = "https" if values.get("jupyterhub", "ingress", "tls") else "http"
        return ", ".join(f"{scheme}://{host}" for host in hosts)
    scheme = "https" if values.get("jupyterhub", "proxy", "https", "enabled") else "http"
    for given in service.get("status", {}).get("loadBalancer", {}).get("ingress", []):
        return f"{scheme}://{given.get('hostname') or given.get('ip')}"
    return f"http://localhost:8080, while this runs: kubectl -n {namespace} port-forward service/proxy-public 8080:http"

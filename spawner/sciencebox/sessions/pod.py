"""From a validated request to what its session's pod needs beside what the site's configuration says. Pure.

KubeSpawner writes the manifest from its traits; zero-to-jupyterhub and the administrator set them. `describe` says what
a session needs of its own, and `add_to` adds that to what is set: no volume, mount or toleration of the site's is lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from sciencebox.gpus.cluster import KIND_ANNOTATION, LONGEST_ANNOTATION, MEMORY_LABEL, MIB, PRODUCT_LABEL, Wish
from sciencebox.gpus.device import Device
from sciencebox.gpus.kueue import QUEUE_LABEL
from sciencebox.sessions.identity import passwd
from sciencebox.sessions.launch import facts, site_environment, stack_environment, thread_environment
from sciencebox.sessions.options import ANY_GPU, NO_GPU, to_user_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sciencebox.gpus.cluster import Supply
    from sciencebox.sessions.options import SessionOptions
    from sciencebox.settings import Settings

OPTIONS_ANNOTATION = "sciencebox.org/options"
NAMES_ANNOTATION = "sciencebox.org/names"
GPUS_LABEL = "sciencebox.org/gpus"
SHARED_MEMORY, PASSWD = "shared-memory", "passwd"
_PASSWD = f"metadata.annotations['{NAMES_ANNOTATION}']"
_RESTRICTED = {  # what Kubernetes' Pod Security Standard "restricted" asks of a container
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True)
class Site:
    """What the cluster and the hub know of one session's start.

    `supplies` are the GPUs that it may get, `view` the stack's view as sessions see it, `home` where its home is
    mounted, None where there is none, `longest_s` how long it may hold its GPUs. `priority_class` is that of its group.
    """

    user: str
    uid: int
    priority_class: str | None = None
    home: str | None = None
    supplies: tuple[Supply, ...] = ()
    view: str | None = None
    longest_s: float | None = None


@dataclass(frozen=True)
class PodParts:
    """What one session's pod needs, under the names of KubeSpawner's traits.

    `environment` is not that trait, which is a template: these values are as they are.
    """

    traits: dict[str, Any]
    node_expressions: list[dict[str, Any]]
    environment: dict[str, str]


def wish(options: SessionOptions, resource: str) -> Wish:
    """What a session asks of a node. `resource` is the one by which pods ask for the chosen GPU."""
    return Wish(
        cores=options.cores,
        memory_bytes=options.memory_bytes,
        resource=resource if options.gpu_count else None,
        count=options.gpu_count,
        kind=None if options.gpu in {ANY_GPU, NO_GPU} else options.gpu,
        min_memory_bytes=options.gpu_memory_bytes,
    )


def describe(settings: Settings, options: SessionOptions, wished: Wish, site: Site) -> PodParts:
    """Describe the pod of one session."""
    named = passwd(login(site.user), site.uid, site.home or "/")
    annotations = {OPTIONS_ANNOTATION: kept(options), NAMES_ANNOTATION: named}
    traits: dict[str, Any] = {
        "cpu_limit": options.cores,
        # What a program was promised is set aside for it; memory cannot be shared out twice.
        "mem_limit": options.memory_bytes,
        "mem_guarantee": options.memory_bytes,
        "uid": site.uid,
        "gid": site.uid,
        "fs_gid": site.uid,
        "container_security_context": _RESTRICTED,
        "pod_security_context": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": {
            SHARED_MEMORY: {
                "name": SHARED_MEMORY,
                "emptyDir": {"medium": "Memory", "sizeLimit": str(int(settings.sessions.shared_memory))},
            },
            PASSWD: {"name": PASSWD, "downwardAPI": {"items": [{"path": PASSWD, "fieldRef": {"fieldPath": _PASSWD}}]}},
        },
        "volume_mounts": {
            SHARED_MEMORY: {"name": SHARED_MEMORY, "mountPath": "/dev/shm"},  # noqa: S108 - a mount
            PASSWD: {"name": PASSWD, "mountPath": "/etc/passwd", "subPath": PASSWD, "readOnly": True},
        },
        "extra_annotations": annotations,
    }
    if wished.resource:
        traits["extra_resource_limits"] = {wished.resource: str(wished.count)}
        traits["extra_labels"] = {GPUS_LABEL: str(wished.count)}
        if settings.kubernetes.kueue:
            traits["extra_labels"][QUEUE_LABEL] = settings.kubernetes.kueue
        traits["tolerations"] = {
            key: {"key": key, "operator": "Exists"} for key in sorted(settings.kubernetes.tolerations)
        }
        if site.priority_class:
            traits["priority_class_name"] = site.priority_class
        if settings.kubernetes.runtime_class:
            traits["extra_pod_config"] = {"runtimeClassName": settings.kubernetes.runtime_class}
        if wished.kind:
            annotations[KIND_ANNOTATION] = wished.kind
        if site.longest_s:
            annotations[LONGEST_ANNOTATION] = f"{site.longest_s:.0f}"
    return PodParts(traits, _expressions(wished, site.supplies), _environment(settings, options, wished, site))


def login(user: str) -> str:
    """A user's name as /etc/passwd can have it: a sign-in service may tell one with colons, spaces or braces."""
    return re.sub(r"[^\w.@+-]", "-", user)


def priority_class(namespace: str, priority: int) -> str | None:
    """The name of the class of pods that the chart makes for groups of this priority; None where they have none."""
    number = f"minus-{-priority}" if priority < 0 else str(priority)
    return f"{namespace}-priority-{number}" if priority else None


def kept(options: SessionOptions) -> str:
    """The request as a pod carries it, so that a hub that was killed knows what was asked for."""
    return urlencode(to_user_options(options))


def read_kept(text: str) -> dict[str, str]:
    """The same as `user_options`."""
    return dict(parse_qsl(text, keep_blank_values=True))


def _expressions(wished: Wish, supplies: Sequence[Supply]) -> list[dict[str, Any]]:
    """Which nodes will do, by their labels."""
    found: list[dict[str, Any]] = []
    products = sorted({supply.product for supply in supplies if supply.product})
    if wished.kind and products:
        found.append({"key": PRODUCT_LABEL, "operator": "In", "values": products})
    if wished.min_memory_bytes:
        # The label is in MiB, and there is no "at least".
        found.append({"key": MEMORY_LABEL, "operator": "Gt", "values": [str(wished.min_memory_bytes // MIB - 1)]})
    return found


def _environment(settings: Settings, options: SessionOptions, wished: Wish, site: Site) -> dict[str, str]:
    found = {
        **site_environment(settings),
        **stack_environment(site.view),
        "USER": login(site.user),
        "LOGNAME": login(site.user),
        "SHELL": "/bin/bash",
        **thread_environment(options.cores),
        "SCIENCEBOX_DATA": "/data",
        "SCIENCEBOX_SESSION": facts(options, _devices(wished, site.supplies), "kubernetes", site.view, None),
    }
    if site.home:
        found["HOME"] = site.home
    if wished.resource:
        found["NVIDIA_DRIVER_CAPABILITIES"] = "compute,utility"
    else:
        found["NVIDIA_VISIBLE_DEVICES"] = "void"  # a CUDA image's own `all` must never leak cards
    return found


def _devices(wished: Wish, supplies: Sequence[Supply]) -> list[Device]:
    """The GPUs as far as they are known before the scheduler has chosen a node."""
    kinds = {(supply.model, supply.profile) for supply in supplies}
    model, profile = kinds.pop() if len(kinds) == 1 else ("NVIDIA GPU", None)
    memory = min((supply.memory_bytes or 0 for supply in supplies), default=0)
    return [Device("", n, model, memory, mig_profile=profile) for n in range(wished.count)]


# Adding it to what is configured


def add_to(given: Mapping[str, Any], parts: PodParts) -> dict[str, Any]:
    """What KubeSpawner's traits are to be for this session; `given` is what they are by configuration."""
    found = {name: _added(given.get(name), value) for name, value in parts.traits.items()}
    if parts.node_expressions:
        found["node_affinity_required"] = _each_with(given.get("node_affinity_required"), parts.node_expressions)
    return found


def _added(given: Any, ours: Any) -> Any:
    """Dictionaries are joined, entries are added to lists; anything else is ours."""
    if not isinstance(ours, dict):
        return ours
    if isinstance(given, list):
        return [*given, *ours.values()]
    return {**(given or {}), **ours}


def _each_with(terms: Any, expressions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Terms are alternatives, so each of them has to ask for what we need."""
    known = list(terms.values() if isinstance(terms, dict) else terms or ()) or [{}]
    return [{**term, "matchExpressions": [*term.get("matchExpressions", ()), *expressions]} for term in known]


def home_in(volumes: Any, mounts: Any, claim: str) -> str | None:
    """Where a pod has its user's home: the mount of the volume of this claim; None where there is none."""
    listed = volumes.values() if isinstance(volumes, dict) else volumes
    names = {v["name"] for v in listed if (v.get("persistentVolumeClaim") or {}).get("claimName") == claim}
    places = mounts.values() if isinstance(mounts, dict) else mounts
    return next((str(mount["mountPath"]) for mount in places if mount["name"] in names), None)

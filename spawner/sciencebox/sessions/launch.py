"""From a validated request to the arguments of one container. Pure: the whole container is described here.

`describe` is the only place that decides what a session's container may do; the spawner hands the result to the engine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sciencebox.sessions.stack import folder_of
from sciencebox.settings import NETWORK_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sciencebox.gpus.device import Device
    from sciencebox.sessions.attach import Attachment
    from sciencebox.sessions.identity import Identity
    from sciencebox.sessions.options import SessionOptions
    from sciencebox.settings import Settings

PORT = 8888


@dataclass(frozen=True)
class Launch:
    """What the engine is told, in the words of docker-py: create arguments and host configuration."""

    environment: dict[str, str]
    labels: dict[str, str]
    create: dict[str, Any] = field(default_factory=dict)
    host: dict[str, Any] = field(default_factory=dict)


def describe(
    settings: Settings,
    options: SessionOptions,
    identity: Identity,
    attachment: Attachment,
    devices: Sequence[Device],
    *,
    view: str | None,
    labels: dict[str, str],
    until: float | None = None,
) -> Launch:
    """Describe the container of one session.

    `view` is the stack's view as sessions see it, None when no release is published; `labels` say whose it is; `until`
    is when its time is over, in seconds since the epoch.
    """
    environment = {
        **site_environment(settings),
        **_user_environment(identity),
        **stack_environment(view),
        **attachment.environment,
        "SCIENCEBOX_SESSION": facts(options, devices, attachment.mode, view, until),
        **thread_environment(options.cores),
    }
    data = settings.data_root / "data"
    environment["SCIENCEBOX_DATA"] = "/data"
    binds = [
        f"{identity.home}:{identity.home_in_session}:rw",
        f"{identity.passwd}:/etc/passwd:ro",
        f"{identity.group}:/etc/group:ro",
        f"{data}:/data:ro",
        stack_volume(settings),
        *attachment.binds,
    ]
    host: dict[str, Any] = {
        "binds": binds,
        "mem_limit": options.memory_bytes,
        "memswap_limit": options.memory_bytes,
        "cpu_period": 100_000,
        "cpu_quota": options.cores * 100_000,
        "pids_limit": settings.sessions.pids,
        "shm_size": int(settings.sessions.shared_memory),
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "oom_score_adj": 500,  # where the server has no memory left, sessions go before the hub and its proxy
        "init": False,
        "log_config": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
    }
    if attachment.device_requests:
        host["device_requests"] = list(attachment.device_requests)
    if attachment.devices:
        host["devices"] = list(attachment.devices)
    if attachment.runtime:
        host["runtime"] = attachment.runtime
    create = {"user": f"{identity.uid}:{identity.uid}", "working_dir": identity.home_in_session}
    return Launch(environment, {**labels, **attachment.labels}, create, host)


def stack_volume(settings: Settings) -> str:
    """How a session sees the stack. What a client mounts later, or anew, reaches sessions that run already."""
    if settings.stack.source == "client":
        return f"{settings.stack.mount}:/cvmfs:ro,rslave"
    return f"{folder_of(settings, settings.stack.repository)}:/cvmfs/{settings.stack.repository}:ro"


def facts(options: SessionOptions, devices: Sequence[Device], mode: str, view: str | None, until: float | None) -> str:
    """What the session may know of itself, as JSON; the notebooks and the welcome page read it."""
    known = {
        "release": options.stack,
        "view": view,
        "until": until,
        "cores": options.cores,
        "memory_bytes": options.memory_bytes,
        "attach": mode,
        "simulated": any(device.simulated for device in devices),
        "gpus": [
            {
                "uuid": device.driver_uuid,
                "model": device.kind if device.share else device.model,
                "memory_bytes": device.memory_bytes,
                "mig_profile": device.mig_profile,
                "simulated": device.simulated,
            }
            for device in devices
        ],
    }
    return json.dumps(known, sort_keys=True)


def _user_environment(identity: Identity) -> dict[str, str]:
    return {
        "HOME": identity.home_in_session,
        "USER": identity.name,
        "LOGNAME": identity.name,
        "SHELL": "/bin/bash",
    }


def stack_environment(view: str | None) -> dict[str, str]:
    """By which Jupyter finds the kernels of a view."""
    return {"JUPYTER_PATH": f"{view}/share/jupyter"} if view else {}


def thread_environment(cores: int) -> dict[str, str]:
    """As many threads as cores, and threads that sleep while they wait for one another.

    Cores are a share of the server's time. A thread that spins while it waits, as OpenMP's do unless they are told,
    uses up the time of the very thread that it waits for as soon as others compute, too.
    """
    return {"OMP_NUM_THREADS": str(cores), "OMP_WAIT_POLICY": "passive"}


def site_environment(settings: Settings) -> dict[str, str]:
    """Proxies and indexes of the site, under each of the names that tools read."""
    found = {
        variable: value for variable, key in NETWORK_VARIABLES.items() if (value := getattr(settings.network, key))
    }
    if index := settings.network.python_index:
        found["UV_DEFAULT_INDEX"] = index
    return found | {name.lower(): value for name, value in found.items() if name.endswith("_PROXY")}

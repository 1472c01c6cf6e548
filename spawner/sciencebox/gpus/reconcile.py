"""What the containers say about who holds which GPU. Pure: container facts in, holdings and ghosts out.

The labels of a container are the ledger, and this file is the only place that writes and reads them. A GPU is held
exactly as long as a container labelled with its UUID exists, in whatever state: a container that was created may be
started the next moment, a paused one has its memory on the card, one whose removal failed may still have a process. So
nothing is freed because a container *looks* finished; what looks finished is removed, and its absence frees the GPU.

A container of this deployment that does not run, and that nobody is about to start, is such a ghost: its session ended
without the hub seeing it (killed, out of memory, engine restarted, hub killed between creation and start). Sessions are
never restarted with old devices, so removing it loses nothing. Containers of other deployments count as holders, too,
and are never touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from sciencebox.gpus.pool import Holding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sciencebox.gpus.device import Device

USER_LABEL = "sciencebox.user"
GPUS_LABEL = "sciencebox.gpus"
DEPLOYMENT_LABEL = "sciencebox.deployment"
SINCE_LABEL = "sciencebox.since"
UNTIL_LABEL = "sciencebox.until"

# States in which the engine has no process for the container and will not get one by itself.
_NOT_RUNNING = frozenset({"created", "exited", "dead"})


@dataclass(frozen=True)
class ContainerFacts:
    """One container as the engine lists it; `state` is its word for it, such as `running` or `exited`."""

    id: str
    name: str
    labels: Mapping[str, str]
    state: str

    @classmethod
    def listed(cls, item: Mapping[str, Any]) -> ContainerFacts:
        """One entry of the engine's list of containers. One that is being removed has lost its name already."""
        names = item["Names"] or ["/"]
        return cls(item["Id"], names[0].lstrip("/"), item["Labels"] or {}, item["State"])

    @property
    def since(self) -> float | None:
        """When its session began, in seconds since the epoch; None where it does not say."""
        return _seconds(self.labels.get(SINCE_LABEL, ""))


@dataclass(frozen=True)
class Ledger:
    """What the containers of the engine hold, and the ids of those of our own that must be removed."""

    holdings: tuple[Holding, ...] = ()
    ghosts: tuple[str, ...] = ()


def labels(
    user: str, devices: Sequence[Device], deployment: str, since: float, until: float | None = None
) -> dict[str, str]:
    """The labels of a session's container. `since` and `until` are in seconds since the epoch.

    A session without a GPU has no `sciencebox.gpus` label, and one without a limit no `sciencebox.until`.
    """
    found = {USER_LABEL: user, DEPLOYMENT_LABEL: deployment, SINCE_LABEL: _moment(since)}
    if devices:
        found[GPUS_LABEL] = ",".join(device.uuid for device in devices)
    return found if until is None else found | {UNTIL_LABEL: _moment(until)}


def reconcile(containers: Iterable[ContainerFacts], deployment: str, in_motion: Collection[str]) -> Ledger:
    """Read the ledger from the containers of the engine.

    `in_motion` names the sessions that were being started at some time since the containers were listed
    (`Broker.in_motion`, asked with the number of this reading, after it and before `see_ledger`): what the list says
    about them is out of date. Ghosts are told by container id, because a new session may have the name by now.
    """
    seen = list(containers)
    return Ledger(
        holdings=tuple(holding for container in seen for holding in _holdings(container, deployment)),
        ghosts=tuple(c.id for c in seen if _is_ghost(c, deployment) and c.name not in in_motion),
    )


def _holdings(container: ContainerFacts, deployment: str) -> Iterable[Holding]:
    uuids = [uuid.strip() for uuid in container.labels.get(GPUS_LABEL, "").split(",")]
    user = container.labels.get(USER_LABEL, "unknown")
    until = _seconds(container.labels.get(UNTIL_LABEL, ""))
    ours = container.labels.get(DEPLOYMENT_LABEL) == deployment
    return [Holding(uuid, user, container.name, container.since, until, ours) for uuid in dict.fromkeys(uuids) if uuid]


def _is_ghost(container: ContainerFacts, deployment: str) -> bool:
    ours = container.labels.get(DEPLOYMENT_LABEL) == deployment
    return ours and container.state in _NOT_RUNNING and bool(container.labels.get(GPUS_LABEL))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def _seconds(text: str) -> float | None:
    """Seconds since the epoch, None when somebody wrote something else into the label."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None

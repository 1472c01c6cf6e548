"""Why an engine did not start a container: in words for its user, and the cause for the operator. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

WRITE_CDI_SPEC = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
WRITE_DEVICE_NODES = "nvidia-modprobe -u -c 0"


class AttachError(Exception):
    """A session's container could not get what it needs: in words for its user, and its cause for the operator."""

    def __init__(self, user_message: str, operator_message: str) -> None:
        super().__init__(operator_message)
        self.user_message = user_message
        self.operator_message = operator_message


@dataclass(frozen=True)
class _Known:
    """An error of the engine. `cause` may quote the groups of `pattern`."""

    pattern: str
    user: str
    cause: str


_TELL = "tell the administrator."
_KNOWN = (
    _Known(
        r"unresolvable CDI devices ([^\n\"]+)",
        f"The server's list of GPUs is out of date, so yours could not be attached; {_TELL}",
        r"The engine's CDI specification lacks \1; write it anew with " + f"`{WRITE_CDI_SPEC}`.",
    ),
    _Known(
        r"could not select device driver \"?(\w*)\"?",
        f"This server cannot attach GPUs at the moment; {_TELL}",
        r"The engine has no device driver `\1`: enable CDI in the engine, or install NVIDIA's container toolkit and "
        "restart the engine; `gpus.attach` chooses the way.",
    ),
    _Known(
        r"(?i)unknown or invalid runtime name: \"?(\w+)\"?",
        f"This server cannot attach GPUs at the moment; {_TELL}",
        r"The engine has no runtime `\1` any more: run `nvidia-ctk runtime configure --runtime=docker` and restart it; "
        "`gpus.attach` chooses the way.",
    ),
    _Known(
        r"nvidia-container-cli: ([^\n\"]+)",
        f"NVIDIA's container toolkit could not attach your GPU; {_TELL}",
        r"nvidia-container-cli failed: \1. Check the driver with `nvidia-smi` on the server.",
    ),
    _Known(
        r"only supported in cgroup v2",
        f"Shares of a GPU do not work on this server; choose a whole GPU, or {_TELL}",
        "NVIDIA_GPU_MEMORY_LIMIT was set, but limits of GPU memory need cgroup v2.",
    ),
    _Known(
        r"(?:custom device \"?|stat |device node |lstat )(/[^\s\":]*nvidia[^\s\":]*)\"?:? ?.*no such file or directory",
        f"The device of your GPU is missing on the server; {_TELL}",
        r"\1 does not exist: is the driver loaded? " + f"`{WRITE_DEVICE_NODES}` makes the nodes.",
    ),
    _Known(
        r"no space left on device",
        f"The server's disk is full, so no session can start; {_TELL}",
        "The disk of the engine or of the homes is full; `docker system df` shows what takes it.",
    ),
    _Known(
        r"(?i)no such image: ([^\s\"]+)",
        f"The software image of sessions is missing on the server; {_TELL}",
        r"The image \1 is not built; run `make deploy`.",
    ),
    _Known(
        r"bind source path does not exist: ([^\s\"]+)",
        f"A folder that every session needs is missing on the server; {_TELL}",
        r"\1 does not exist on the server; `make deploy` makes the service's folders.",
    ),
    _Known(
        r"network ([^\s\"]+) not found",
        f"The network of sessions is missing on the server; {_TELL}",
        r"The engine has no network \1; run `make deploy`.",
    ),
    _Known(
        r"(?:Bind for ([^\s\"]+) failed: )?port is already allocated",
        f"A network port that the session needs is taken; try again, or {_TELL}",
        r"A published port is in use by another program: \1",
    ),
    _Known(
        r"container name \"/?([^\"]+)\" is already in use",
        "Your last session is still being removed; try again in a minute.",
        r"A container called \1 exists already; its removal is under way or failed.",
    ),
    _Known(
        r"Range of CPUs is from [\d.]+ to ([\d.]+)",
        "The server has fewer cores than were asked for; choose fewer.",
        r"More cores are offered than the server's \1; correct `sessions.cores.choices`.",
    ),
    _Known(
        r"(?:OCI runtime create failed|failed to create (?:shim task|task for container)): ?([^\n]+)",
        f"The session's container could not be started; {_TELL}",
        r"The runtime refused the container: \1",
    ),
)


def explain_engine_error(text: str) -> AttachError:
    """What an engine's error text means for the user, in one sentence, and for the operator."""
    for known in _KNOWN:
        match = re.search(known.pattern, text)
        if match:
            cause = match.expand(known.cause).strip()
            return AttachError(known.user, f"{cause} [{text.strip()}]")
    return AttachError(f"The container engine could not start the session; {_TELL}", text.strip())

"""A service of the hub that stops what nobody uses: JupyterHub's own idle culler, told how it is with GPUs.

A session with a GPU is judged by what its GPU does, whoever looks at it; any other by its user's activity.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

from jupyterhub_idle_culler import IdleCuller

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from sciencebox.sections import Idle

SERVICE = "sciencebox-culler"
SCOPES = ["list:users", "read:users:activity", "read:servers", "delete:servers", "admin:server_state"]
SLOWEST_LOOK_S = 30


def is_over(*, inactive: timedelta | None, inactive_limit: int, server: Mapping[str, Any], **_others: Any) -> bool:
    """Whether a session is to be stopped; limits are in seconds, 0 or None is never. `server` is the API's model."""
    gpu = (server.get("state") or {}).get("gpu_idle")
    if gpu is not None:
        return bool(gpu["limit_s"]) and gpu["idle_s"] >= gpu["limit_s"]
    return inactive is not None and inactive_limit > 0 and inactive.total_seconds() >= inactive_limit


def command(idle: Idle, url: str = "") -> list[str]:
    """How the hub starts it. `url` is the hub's API, where it is not at the address that the hub tells its services."""
    session_s = 3600 * idle.session_hours
    every_s = max(1, min(round(6 * idle.gpu_minutes) or SLOWEST_LOOK_S, SLOWEST_LOOK_S))
    where = [f"--url={url}"] if url else []
    return [sys.executable, "-m", __name__, f"--timeout={session_s}", f"--cull-every={every_s}", *where]


class Culler(IdleCuller):
    """With our rule instead of the usual one."""

    def start(self) -> None:
        """Look and stop, again and again."""
        self.cull_arbiter_hook = is_over
        super().start()


if __name__ == "__main__":
    # The hub ends it by an interrupt. As an exception that could be lost in a callback, and the hub would wait for it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Culler.launch_instance()

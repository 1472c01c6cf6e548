"""A cluster's hub as a process that begins with its imports done: they take longer than most tests of it.

All are forks of one process that has imported it and does nothing else.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from multiprocessing import get_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["sciencebox.hub.cluster"])


class Forked:
    """A running hub: the `main` of a module, with arguments. What it says goes to the end of `log`."""

    def __init__(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
    ) -> None:
        """`environment` is all that it has, with KUBECONFIG."""
        given = (module, tuple(arguments), dict(environment), folder, log)
        self._process = _CONTEXT.Process(target=_run, args=given, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process.pid is not None
        return self._process.pid

    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.exitcode is not None

    def end(self, how: signal.Signals, seconds: float) -> None:
        """End it by a signal, if it has not ended, and wait until it has."""
        if not self.has_ended():
            os.kill(self.pid, how)
        self._process.join(seconds)
        assert self.has_ended(), f"it does not end by {how.name}"
        self._process.close()


def _run(module: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> None:
    from kubernetes_asyncio.config import kube_config

    with log.open("ab") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    kube_config.KUBE_CONFIG_DEFAULT_LOCATION = environment["KUBECONFIG"]  # was read when that was imported
    sys.argv = [module, *arguments]
    import_module(module).main()

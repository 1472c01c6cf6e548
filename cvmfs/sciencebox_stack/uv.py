"""Running uv and saying in words why it failed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_CREDENTIALS = re.compile(r"//[^/@\s]+@")


def find_uv() -> Path:
    """The uv program: the one installed with this package, else the one on PATH.

    Raises:
        StackError: there is none.
    """
    beside = str(Path(sys.executable).parent)
    found = shutil.which("uv", path=os.pathsep.join([beside, os.environ.get("PATH", os.defpath)]))
    if found is None:
        raise StackError("uv is needed to install packages and was not found; install it with `pip install uv`.")
    return Path(found)


@dataclass(frozen=True)
class Uv:
    """uv with the variables that every call gets on top of the caller's (proxies, certificates, indexes stay)."""

    program: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(self, task: str, arguments: Sequence[str], on_line: Callable[[str], None] | None = None) -> None:
        """Run uv and hand each line it says to ``on_line``.

        Raises:
            StackError: uv failed at ``task``; says why.
        """
        environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
        environment |= {"UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1", **self.variables}
        said: list[str] = []
        command = [str(self.program), *arguments]
        with subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            try:
                for line in process.stderr or ():
                    said.append(line.rstrip())
                    if on_line is not None:
                        on_line(line.rstrip())
            except BaseException:
                process.terminate()
                raise
        if process.returncode != 0:
            raise StackError(explain_failure(task, "\n".join(said)))


def explain_failure(task: str, said: str) -> str:
    """One sentence from what uv said when it could not do ``task``."""
    text = _CREDENTIALS.sub("//", said)
    causes = [
        line.strip().removeprefix("error: ").removeprefix("cause: ").strip()
        for line in text.splitlines()
        if line.strip().startswith(("error: ", "cause: "))
    ]
    last = causes[-1] if causes else text.strip().splitlines()[-1] if text.strip() else "it said nothing"
    if "No space left on device" in text:
        return (
            f"Could not {task}: the disk is full. Free some space (`sciencebox-stack prune` removes trees that no"
            " release uses) and run the same command again; what is finished is kept."
        )
    if "Hash mismatch" in text:
        return f"Could not {task}: a file differs from the lock. {last.rstrip('.')}; check the package index."
    if "not found in the package registry" in text or "there is no version" in text or "no wheels" in text:
        return f"Could not {task}: the package index lacks a file that the lock names. {last}"
    if re.search(r"error sending request|dns error|[Tt]imed? ?out|onnection", text):
        return (
            f"Could not {task}: the package index could not be reached ({last}). Check the network, proxy and"
            " index settings and run the same command again; what is finished is kept."
        )
    return f"Could not {task}: {last}"

"""Running other programs: their output goes to the screen's log, their failure becomes a sentence."""

from __future__ import annotations

import shlex
import subprocess
from collections import deque
from typing import TYPE_CHECKING

from sciencebox.host.steps import StepError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sciencebox.host.steps import Screen

LINES_KEPT = 15


def run(
    command: Sequence[str],
    screen: Screen,
    *,
    env: Mapping[str, str] | None = None,
    accepted: Collection[int] | None = (0,),
    on_failure: str = "",
    may_be_ended: bool = True,
    each: Callable[[str], object] = str,
) -> int:
    """Run a program, showing its lines, which `each` gets, too; its status.

    When this is interrupted, the program is ended, or waited for. Raises StepError with `on_failure` and the last lines
    of its output, unless it ends with an `accepted` status; None: any is.
    """
    screen.log(f"$ {shlex.join(command)}")
    last: deque[str] = deque(maxlen=LINES_KEPT)
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            env=env,
        ) as process:
            try:
                for line in process.stdout or ():
                    if line.strip():
                        last.append(line.rstrip())
                        each(last[-1])
                        screen.now(line.strip()[:100])
            except KeyboardInterrupt:  # what goes on would write where the next command does
                if may_be_ended:
                    process.terminate()
                process.communicate()
                raise
    except OSError as error:
        raise StepError(f"`{command[0]}` cannot be run: {error.strerror}.") from error
    if accepted is not None and process.returncode not in accepted:
        said = f" It said: {last[-1]}" if last else ""
        message = on_failure or f"`{shlex.join(command[:3])}` failed (status {process.returncode})."
        raise StepError(message + said, "\n".join(last))
    return process.returncode


def ask(command: Sequence[str], timeout_s: float = 20, env: Mapping[str, str] | None = None) -> str | None:
    """What a program prints, or None when it is missing, fails or does not come back."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=timeout_s,
            check=False,
            env=env,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

"""The user's own environment script: `~/.sciencebox/environment.sh`, or the file that USER_ENV_SCRIPT names.

It is sourced by Bash before the session's server starts, so what it exports is there for terminals and kernels. One
that fails, or does not end, changes nothing: the session starts, and its first page says what went wrong.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

SCRIPT, CHOICE = ".sciencebox/environment.sh", "USER_ENV_SCRIPT"
PROBLEM = "SCIENCEBOX_ENVIRONMENT_PROBLEM"  # a sentence for the first page
PATIENCE_S = 20
SHOWN_CHARACTERS = 300
# What the session itself is made of: a script that changed it would only keep the session from starting.
_KEPT_BEGINNINGS = ("JUPYTERHUB_", "JPY_", "SCIENCEBOX_", "NVIDIA_")
_KEPT = frozenset({"HOME", "USER", "LOGNAME", "PWD", "OLDPWD", "SHLVL", "_"})  # the last four are Bash's own
_SOURCE = 'source "$1" >&2 </dev/null && exec env -0'


def apply(environ: MutableMapping[str, str]) -> None:
    """Run the script, if there is one, and take over what it exports."""
    script = Path(environ.get(CHOICE) or Path(environ.get("HOME", "/")) / SCRIPT)
    if CHOICE not in environ and not script.is_file():
        return
    try:
        exported = run(script, environ)
    except ScriptError as error:
        environ[PROBLEM] = str(error)
        return
    for name in {*environ, *exported} - _KEPT:
        if name.startswith(_KEPT_BEGINNINGS):
            continue
        if name in exported:
            environ[name] = exported[name]
        else:
            del environ[name]


class ScriptError(Exception):
    """The script could not be applied; the message is for its user."""


def run(script: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What the environment is after the script.

    Raises:
        ScriptError: it failed, did not end in time, or is not there.
    """
    command = ["bash", "--noprofile", "--norc", "-c", _SOURCE, "environment", str(script)]
    # Into files: a pipe is read until whatever the script left running has ended, too.
    try:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            done = subprocess.run(
                command,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=PATIENCE_S,
                check=False,
            )
            printed, said = (_content(file) for file in (out, err))
    except subprocess.TimeoutExpired:
        raise ScriptError(
            f"Your environment script {script} did not end in {PATIENCE_S} s, so it was not used."
        ) from None
    except OSError as error:
        raise ScriptError(f"Your environment script {script} could not be run: {error.strerror}.") from None
    if done.returncode != 0:
        told = said.decode(errors="replace").strip()[-SHOWN_CHARACTERS:] or f"status {done.returncode}"
        raise ScriptError(f"Your environment script {script} failed, so it was not used. It said: {told}")
    if not printed:  # by `exit` or `exec`: nothing is known of what it exported
        raise ScriptError(f"Your environment script {script} ended its shell, so it was not used. Use `return`.")
    pairs = (os.fsdecode(pair).partition("=") for pair in printed.split(b"\0") if pair)
    return {name: value for name, _, value in pairs}


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()

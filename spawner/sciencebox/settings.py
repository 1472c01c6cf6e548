"""The settings file `deploy/sciencebox.yaml`: its model, and its errors.

The model is the only place that knows a key: the documentation in `Field(description=...)`, the JSON schema, the
reference and the checks all follow from it. Its parts are in `sections.py` and beside it.
"""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from sciencebox import explain
from sciencebox.accounts_section import Accounts
from sciencebox.cluster_section import Kubernetes
from sciencebox.gpus_section import Gpus
from sciencebox.sections import (
    GIB,
    MIB,
    NETWORK_VARIABLES,
    Engine,
    Firewall,
    Folder,
    Group,
    Idle,
    Images,
    Limits,
    Monitoring,
    Name,
    Network,
    Queue,
    Section,
    Server,
    Sessions,
)
from sciencebox.stack_section import Stack

__all__ = ["GIB", "MIB", "NETWORK_VARIABLES", "Settings", "SettingsError", "load", "parse", "read_yaml"]

_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")


class SettingsError(ValueError):
    """The settings file cannot be used; the message names file, line and key, and what would be right."""


class Settings(Section):
    """All settings of one deployment."""

    name: Name = Field("sciencebox", description="Name of this deployment; containers and networks carry it.")
    data_root: Folder = Field(Path("/var/lib/sciencebox"), description="Folder for homes, data, stack and state.")
    server: Server = Server()
    engine: Engine = Engine()
    gpus: Gpus = Gpus()
    queue: Queue = Queue()
    limits: Limits = Limits()
    groups: list[Group] = Field(
        [],
        description="Groups of users with limits of their own: a list of sections with `name`, any key of `limits`, "
        "`weight` (share of the GPUs; without a group it is 1) and `priority` (who has more goes first; else 0).",
    )
    idle: Idle = Idle()
    sessions: Sessions = Sessions()
    stack: Stack = Stack()
    accounts: Accounts = Accounts()
    network: Network = Network()
    firewall: Firewall = Firewall()
    kubernetes: Kubernetes = Kubernetes()
    monitoring: Monitoring = Monitoring()
    images: Images = Images()

    @model_validator(mode="after")
    def _paths_are_usable(self) -> Settings:
        paths = {
            "data_root": self.data_root,
            "engine.socket": self.engine.socket,
            "gpus.driver_root": self.gpus.driver_root,
            "stack.mount": self.stack.mount,
        }
        for key, path in paths.items():
            if not path.is_absolute() or path.root == "//":  # which stays as it is, and is no mount point's beginning
                raise ValueError(f"`{key}` must be an absolute path; given: {str(path)!r}")
            # They are written into volume arguments, where a colon or a space would mean something else.
            if not _PLAIN_PATH.fullmatch(str(path)) or ".." in path.parts:
                raise ValueError(f"`{key}` may have letters, digits and `/._-` only, and no `..`; given: {str(path)!r}")
        if len(self.data_root.parts) < 3:
            raise ValueError(f"`data_root` must be a folder of its own, such as /srv/sciencebox, not {self.data_root}")
        return self

    @model_validator(mode="after")
    def _groups_differ(self) -> Settings:
        names = [group.name for group in self.groups]
        for name in names:
            if names.count(name) > 1:  # what one limits, the other would allow
                raise ValueError(f"`groups` has {name!r} more than once; put its keys together")
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> Settings:
        ports = {"server.https_port": self.server.https_port, "server.http_port": self.server.http_port}
        if self.monitoring.enabled:
            ports["monitoring.port"] = self.monitoring.port
        if self.stack.publish.enabled:
            ports["stack.publish.port"] = self.stack.publish.port
        for (one, port), (other, its) in combinations(ports.items(), 2):
            if port == its:
                raise ValueError(f"`{one}` and `{other}` are both {port}; choose another one")
        return self


def load(path: Path) -> Settings:
    """Read and check a settings file. Raises SettingsError with file, line and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is not a text file in UTF-8") from error
    return parse(text, str(path))


def parse(text: str, source: str) -> Settings:
    """Check the text of a settings file; `source` names it in errors. All errors are told at once."""
    tree, values, doubtful = read_yaml(text, source, "name")
    if doubtful:
        raise SettingsError("\n".join(doubtful))
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        schema = Settings.model_json_schema()
        lines = [explain.error(dict(detail), schema, tree, source) for detail in error.errors()]
        raise SettingsError("\n".join(lines)) from error


class _Loader(yaml.SafeLoader):
    """Without what nobody means: dates, of days that exist or not, `1:30` for 90 and `0443` for 291 are text."""


_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_ODD_NUMBER = r"[-+]?0[0-9_]|.*:"  # how one begins that is octal or to the base of 60
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, re.compile(f"(?!{_ODD_NUMBER}){pattern.pattern}", re.VERBOSE) if tag in _NUMBERS else pattern)
        for tag, pattern in resolvers
        if tag != "tag:yaml.org,2002:timestamp"
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(text: str, source: str, example: str) -> tuple[yaml.Node | None, dict[str, Any], list[str]]:
    """A file of keys, of which `example` is one: its tree, its values, and what is doubtful of its keys, with lines.

    Raises SettingsError where it is no such file.
    """
    try:
        tree = yaml.compose(text, Loader=_Loader)
        values = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
        doubtful = [f"{source}:{at}: {what}" for what, at in explain.doubtful_keys(tree)]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        raise SettingsError(f"{where}: not valid YAML: {getattr(error, 'problem', error)}") from error
    except RecursionError as error:
        raise SettingsError(f"{source}: a part of it contains itself") from error
    except (ValueError, AttributeError) as error:  # of a value behind a tag such as !!int
        raise SettingsError(f"{source}: a value is not what its tag says: {error}") from error
    if not isinstance(values, (dict, type(None))):
        raise SettingsError(f"{source}: expected keys such as `{example}:`, found {explain.short(values)}")
    return tree, values or {}, doubtful

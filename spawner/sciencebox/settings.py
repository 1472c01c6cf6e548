"""The settings file `deploy/sciencebox.yaml`: its model, its defaults and its errors.

The model is the only place that knows a key: the documentation in `Field(description=...)`, the JSON schema and the
checks all follow from it.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ByteSize, ConfigDict, Field, ValidationError, model_validator

Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
UserName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$")]
MIB = 1024**2


class SettingsError(ValueError):
    """The settings file cannot be used; the message names file, line and key, and what would be right."""


class Section(BaseModel):
    """A part of the settings. Unknown keys are refused: a misspelt key must never be silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(Section):
    """Under which address the service is reached."""

    hostname: str = Field("localhost", pattern=r"^[A-Za-z0-9.-]+$", description="Name that users type in the browser.")
    https_port: Port = Field(443, description="Port of the service.")
    http_port: Port = Field(80, description="Port that redirects to https.")
    tls: Literal["internal", "acme", "files"] = Field(
        "internal",
        description="Certificate: `internal` (made here; browsers warn until its authority is trusted), `acme` "
        "(Let's Encrypt; the name must be reachable from the internet) or `files` (your own).",
    )
    certificate: Path | None = Field(None, description="With `tls: files`: the certificate chain, PEM.")
    key: Path | None = Field(None, description="With `tls: files`: its private key, PEM.")
    acme_email: str | None = Field(None, description="With `tls: acme`: whom the authority may write to.")

    @model_validator(mode="after")
    def _files_are_named(self) -> Server:
        if self.tls == "files" and not (self.certificate and self.key):
            raise ValueError("`tls: files` needs both `certificate` and `key`")
        if self.https_port == self.http_port:
            raise ValueError("`https_port` and `http_port` must differ")
        return self


class Engine(Section):
    """The container engine that runs the service and its sessions."""

    socket: Path = Field(Path("/var/run/docker.sock"), description="The engine's socket on this server.")


class Gpus(Section):
    """Which GPUs are offered and how they reach a session."""

    driver_root: Path = Field(Path("/"), description="Where the NVIDIA driver is installed; `/` for packages and .run.")
    attach: Literal["auto", "cdi", "nvidia", "bind"] = Field(
        "auto", description="How a card is handed to a container; `auto` takes the best that `make doctor` finds."
    )
    models: list[str] = Field([], description="Models that users may choose by name; empty: every model found.")
    max_per_session: int = Field(4, ge=1, le=64, description="Most GPUs that one session may hold.")
    show_holders: bool = Field(True, description="Show users who holds a busy GPU; false shows counts only.")
    simulate: int = Field(
        0, ge=0, le=16, description="Offer this many SIMULATED GPUs instead of real ones, to show the product."
    )


class Cores(Section):
    """CPU cores that a session may have."""

    choices: list[Annotated[int, Field(ge=1, le=1024)]] = Field([1, 2, 4, 8], min_length=1)
    default: int = Field(2, ge=1)

    @model_validator(mode="after")
    def _default_is_offered(self) -> Cores:
        if self.default not in self.choices:
            raise ValueError(f"`default: {self.default}` is not one of the choices {self.choices}")
        return self


Memory_ = Annotated[ByteSize, Field(ge=256 * MIB, description="For example 8 GiB.")]


class Memory(Section):
    """Memory that a session may have."""

    choices: list[Memory_] = Field([ByteSize(n * 1024 * MIB) for n in (2, 4, 8, 16)], min_length=1)
    default: Memory_ = Field(ByteSize(4 * 1024 * MIB))

    @model_validator(mode="after")
    def _default_is_offered(self) -> Memory:
        if self.default not in self.choices:
            offered = ", ".join(size.human_readable() for size in self.choices)
            raise ValueError(f"`default: {self.default.human_readable()}` is not one of the choices {offered}")
        return self


class Sessions(Section):
    """What a user may ask for in the spawn form, and what every session is held to."""

    cores: Cores = Cores()
    memory: Memory = Memory()
    pids: int = Field(4096, ge=64, le=1_000_000, description="Most processes and threads in one session.")
    shared_memory: Memory_ = Field(
        ByteSize(2 * 1024 * MIB), description="Size of /dev/shm, which PyTorch's data loaders need."
    )
    start_timeout: int = Field(120, ge=10, le=3600, description="Seconds a session may take to answer.")


class Stack(Section):
    """The software under /cvmfs."""

    repository: str = Field("sciencebox.local", pattern=r"^[a-z0-9.-]+$", description="Folder under /cvmfs.")
    release: str = Field("SB_1", pattern=r"^[A-Za-z0-9_]+$", description="Release that sessions see.")
    variant: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto`: cuda where a driver is found.")


class Accounts(Section):
    """Who may sign in."""

    administrator: UserName = Field("admin", description="First administrator, made by `make deploy`.")
    sign_up: bool = Field(True, description="Let people ask for an account; the administrator approves it.")
    demo_users: list[UserName] = Field([], description="Accounts made at once, for a demonstration.")


class Network(Section):
    """How images, the stack and sessions reach package indexes through the site's network."""

    http_proxy: str | None = Field(None, description="Default: the environment's HTTP_PROXY.")
    https_proxy: str | None = Field(None, description="Default: the environment's HTTPS_PROXY.")
    no_proxy: str | None = Field(None, description="Default: the environment's NO_PROXY.")
    python_index: str | None = Field(None, description="Index for pip and uv, instead of their default.")
    npm_registry: str | None = Field(None, description="Registry for npm, instead of its default.")
    apt_mirror: str | None = Field(None, description="Mirror for Debian packages, instead of the default.")


class Images(Section):
    """Where container images come from."""

    debian: str = Field(
        "debian:bookworm-slim",
        description="Image that all others are built from; bootstrapped from packages where no registry answers.",
    )


class Settings(Section):
    """All settings of one deployment."""

    name: Name = Field("sciencebox", description="Name of this deployment; containers and networks carry it.")
    data_root: Path = Field(Path("/var/lib/sciencebox"), description="Folder for homes, data, stack and state.")
    server: Server = Server()
    engine: Engine = Engine()
    gpus: Gpus = Gpus()
    sessions: Sessions = Sessions()
    stack: Stack = Stack()
    accounts: Accounts = Accounts()
    network: Network = Network()
    images: Images = Images()

    @model_validator(mode="after")
    def _data_root_is_absolute(self) -> Settings:
        if not self.data_root.is_absolute():
            raise ValueError(f"`data_root` must be an absolute path, not {self.data_root}")
        return self


def load(path: Path) -> Settings:
    """Read and check a settings file. Raises SettingsError with file, line and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(text, str(path))


def parse(text: str, source: str) -> Settings:
    """Check the text of a settings file; `source` names it in errors."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        raise SettingsError(f"{where}: not valid YAML: {getattr(error, 'problem', error)}") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise SettingsError(f"{source}: expected keys such as `name:`, found {type(values).__name__}")
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        lines = [_explain(dict(detail), tree, source) for detail in error.errors()]
        raise SettingsError("\n".join(lines)) from error


def _explain(detail: dict[str, Any], tree: yaml.Node | None, source: str) -> str:
    """One pydantic error as a sentence with its place in the file."""
    where = tuple(detail["loc"])
    key = ".".join(str(part) for part in where)
    place = f"{source}:{_line(tree, where)}"
    if detail["type"] == "extra_forbidden":
        known = _keys(where[:-1])
        close = difflib.get_close_matches(str(where[-1]), known, n=1, cutoff=0.5)
        advice = f"did you mean `{close[0]}`?" if close else f"known here: {', '.join(known)}"
        return f"{place}: unknown key `{key}`; {advice}"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "byte_size":
        message = "must be a size such as 8 GiB, at least 256 MiB"
    given = detail.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{place}: `{key}`: {message}{shown}" if key else f"{place}: {message}"


def _line(node: yaml.Node | None, where: tuple[int | str, ...]) -> int:
    """The line, from 1, of the deepest part of `where` that the file has."""
    line = node.start_mark.line + 1 if node else 1
    for part in where:
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                if name.value == part:
                    line, node = name.start_mark.line + 1, value
                    break
            else:
                return line
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line


def _keys(where: tuple[int | str, ...]) -> list[str]:
    """The keys that the model knows in the section at `where`."""
    model: Any = Settings
    for part in where:
        model = model.model_fields[part].annotation
        if get_origin(model) is Union:
            model = next(choice for choice in get_args(model) if choice is not type(None))
    return sorted(model.model_fields)

"""The settings file `deploy/sciencebox.yaml`: its model, its defaults and its errors.

The model is the only place that knows a key: the documentation in `Field(description=...)`, the JSON schema, the
reference and the checks all follow from it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from sciencebox import explain

MIB = 1024**2
GIB = 1024**3
SMALLEST_MEMORY = 256 * MIB
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")


def _matching(pattern: str, accepts: str) -> Any:
    """Text of a certain form; `accepts` says in words which."""
    return Field(pattern=pattern, json_schema_extra={"accepts": accepts})


def _at_least_smallest(value: ByteSize) -> ByteSize:
    if value < SMALLEST_MEMORY:
        raise ValueError(f"must be at least {explain.size(SMALLEST_MEMORY)}; given: {explain.size(value)}")
    return value


Whole = Annotated[int, Strict()]
Hours = Annotated[Whole, Field(ge=1, le=8760)]
Span = Annotated[float, Strict(), Field(ge=0, le=8760)]  # in hours
Port = Annotated[Whole, Field(ge=1, le=65535)]
Count = Annotated[Whole, Field(ge=1, le=1024)]
Name = Annotated[
    str, _matching(r"^[a-z0-9][a-z0-9-]{0,30}$", "up to 31 lower-case letters, digits and hyphens, no hyphen first")
]
UserName = Annotated[
    str,
    _matching(
        r"^[a-z_][a-z0-9_.-]{0,31}$",
        "a login name: up to 32 lower-case letters, digits, `_`, `.` and `-`, a letter or `_` first",
    ),
]
HostName = Annotated[str, _matching(r"^[A-Za-z0-9.-]+$", "a host name or an IPv4 address, without https:// and port")]
Url = Annotated[str, _matching(r"^https?://\S+$", "an address that begins with http:// or https://")]
MailAddress = Annotated[str, _matching(r"^[^\s{}@]+@[^\s{}@]+$", "a mail address")]
MemorySize = Annotated[
    ByteSize,
    AfterValidator(_at_least_smallest),
    WithJsonSchema(
        {
            "type": ["string", "integer"],
            "format": "size",
            "accepts": f"a size such as 8 GiB, at least {explain.size(SMALLEST_MEMORY)}",
        }
    ),
]
Folder = Annotated[
    Path,
    Field(json_schema_extra={"accepts": "an absolute path of letters, digits and `/._-`, such as /srv/sciencebox"}),
]


class SettingsError(ValueError):
    """The settings file cannot be used; the message names file, line and key, and what would be right."""


class Section(BaseModel):
    """A part of the settings. Unknown keys are refused: a misspelt key must never be silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_means_default(cls, values: Any) -> Any:
        """A key without a value, as left behind when the lines under it are commented out."""
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if value is not None or key not in cls.model_fields}


class Server(Section):
    """Under which address the service is reached."""

    hostname: HostName = Field(
        "auto", description="Name that users type; `auto`: this server's full name, else its address."
    )
    https_port: Port = Field(443, description="Port of the service.")
    http_port: Port = Field(80, description="Port that redirects to https.")
    tls: Literal["internal", "acme", "files"] = Field(
        "internal",
        description="Certificate: `internal` (made here; browsers warn until its authority is trusted), `acme` "
        "(Let's Encrypt; the name must be reachable from the internet) or `files` (your own).",
    )
    certificate: Path | None = Field(None, description="With `tls: files`: the certificate chain, PEM.")
    key: Path | None = Field(None, description="With `tls: files`: its private key, PEM.")
    acme_email: MailAddress | None = Field(None, description="With `tls: acme`: whom the authority may write to.")

    @model_validator(mode="after")
    def _makes_sense(self) -> Server:
        if self.tls == "files" and not (self.certificate and self.key):
            raise ValueError("`tls: files` needs both `certificate` and `key`")
        if self.tls == "acme" and self.hostname == "auto":
            raise ValueError("`tls: acme` needs `hostname`, the public name that the certificate is for")
        if self.https_port == self.http_port:
            raise ValueError(f"`https_port` and `http_port` must differ; both are {self.http_port}")
        return self


class Engine(Section):
    """The container engine that runs the service and its sessions."""

    socket: Folder = Field(Path("/var/run/docker.sock"), description="The engine's socket on this server.")


class Gpus(Section):
    """Which GPUs are offered and how they reach a session."""

    driver_root: Folder = Field(
        Path("/"), description="Where the NVIDIA driver is installed; `/` for packages and .run."
    )
    attach: Literal["auto", "cdi", "nvidia", "bind"] = Field(
        "auto",
        description="How a card is handed to a container: `cdi`, `nvidia` (the toolkit's runtime hook), `bind` (driver "
        "files and device nodes, without the toolkit) or `auto`, the best that `make doctor` finds.",
    )
    models: list[str] = Field([], description="Models that users may choose by name; empty: every model found.")
    max_per_session: Annotated[Whole, Field(ge=1, le=64)] = Field(4, description="Most GPUs that one session may hold.")
    show_holders: bool = Field(True, description="Show users who holds a busy GPU; false shows counts only.")
    simulate: Annotated[Whole, Field(ge=0, le=16)] = Field(
        0, description="Offer this many SIMULATED GPUs instead of real ones, to show the product."
    )


class Cores(Section):
    """CPU cores that a session may have."""

    choices: list[Count] = Field([1, 2, 4, 8], min_length=1, description="What the form offers.")
    default: Count = Field(2, description="What the form proposes; one of the choices.")

    @model_validator(mode="after")
    def _default_is_offered(self) -> Cores:
        if self.default not in self.choices:
            raise ValueError(f"`default: {self.default}` is not one of the choices {self.choices}")
        return self


class Memory(Section):
    """Memory that a session may have; one that needs more is ended by the kernel."""

    choices: list[MemorySize] = Field(
        [ByteSize(n * GIB) for n in (2, 4, 8, 16)], min_length=1, description="What the form offers."
    )
    default: MemorySize = Field(ByteSize(4 * GIB), description="What the form proposes; one of the choices.")

    @model_validator(mode="after")
    def _default_is_offered(self) -> Memory:
        if self.default not in self.choices:
            offered = ", ".join(explain.size(choice) for choice in self.choices)
            raise ValueError(f"`default: {explain.size(self.default)}` is not one of the choices {offered}")
        return self


class Sessions(Section):
    """What a user may ask for in the spawn form, and what every session is held to."""

    cores: Cores = Cores()
    memory: Memory = Memory()
    pids: Annotated[Whole, Field(ge=64, le=1_000_000)] = Field(
        4096, description="Most processes and threads in one session."
    )
    shared_memory: MemorySize = Field(
        ByteSize(2 * GIB), description="Size of /dev/shm, which PyTorch's data loaders need."
    )
    start_timeout: Annotated[Whole, Field(ge=10, le=3600)] = Field(
        120, description="Seconds a session may take to answer."
    )


class Queue(Section):
    """Who gets the next GPU when all are in use: who had least of them lately for their weight, then who came first."""

    half_life_hours: Hours = Field(
        24, description="What somebody used counts half after this many hours, a quarter after twice as many."
    )
    longest_wait_hours: Hours = Field(
        24,
        description="Who waited this many hours goes before everybody who waited less, whatever weight and priority.",
    )
    grace_minutes: Annotated[Whole, Field(ge=1, le=10_080)] = Field(
        30, description="How long a place is kept after its user has closed the waiting page."
    )


class Limits(Section):
    """What each user may have of the GPUs; 0: no limit. A group of `groups` may say otherwise for its members."""

    gpus: Annotated[Whole, Field(ge=0, le=64)] = Field(0, description="Most GPUs at once.")
    session_hours: Span = Field(
        24,
        description="Longest session with a GPU: its user is warned 10 minutes and 1 minute before its end, then it is "
        "stopped. The queue's estimates come from it.",
    )
    extension_hours: Span = Field(
        0,
        description="How much longer a user may let a session with a GPU run, while nobody waits; 0: no longer.",
    )
    gpu_hours_week: Annotated[float, Strict(), Field(ge=0, le=1_000_000)] = Field(
        0, description="Most GPU hours in any seven days; a session with two GPUs uses two an hour."
    )


class Group(Limits):
    """A group of users, as the hub's administration page or the sign-in service has it.

    A limit that is left out is that of `limits`; of several groups, the most generous counts.
    """

    name: str = Field(min_length=1, description="The group's name.")
    weight: Annotated[Whole, Field(ge=1, le=1000)] = Field(
        1, description="Share of the GPUs, as against somebody without a group, who has weight 1."
    )
    priority: Annotated[Whole, Field(ge=-100, le=100)] = Field(
        0, description="Who has more goes first, whatever was used lately; without a group it is 0."
    )


Minutes = Annotated[float, Strict(), Field(ge=0, le=100_000)]
Percent = Annotated[Whole, Field(ge=0, le=100)]


class Idle(Section):
    """Sessions that nobody uses, or whose GPUs do nothing, are stopped so that others can have what they hold."""

    gpu_minutes: Minutes = Field(
        120,
        description="A session whose GPUs have all been idle for so long is stopped, even if somebody looks at it; one "
        "whose GPUs compute goes on, even if nobody does. 0: never.",
    )
    gpu_utilisation_percent: Percent = Field(
        5, description="A GPU that computes less of the time than this is idle, if its memory is, too."
    )
    gpu_memory_percent: Percent = Field(
        100,
        description="How much of its memory may be in use on an idle GPU; 100: however much, for TensorFlow takes all "
        "at once, and PyTorch keeps what it had.",
    )
    warn_minutes: Minutes = Field(10, description="How long before that its user is warned.")
    session_hours: Annotated[Whole, Field(ge=0, le=8760)] = Field(
        24, description="A session without a GPU that nobody has used for so long is stopped. 0: never."
    )

    @model_validator(mode="after")
    def _warns_in_time(self) -> Idle:
        limit, warning = self.gpu_minutes, self.warn_minutes
        if 0 < limit <= warning:
            raise ValueError(f"`warn_minutes: {warning:g}` must be less than `gpu_minutes: {limit:g}`")
        return self


class Stack(Section):
    """The software under /cvmfs."""

    repository: Annotated[str, _matching(r"^[a-z0-9][a-z0-9.-]*$", "a repository name such as sciencebox.local")] = (
        Field("sciencebox.local", description="Folder under /cvmfs.")
    )
    release: Annotated[str, _matching(r"^[A-Za-z0-9_]+$", "a release name such as SB_1")] = Field(
        "SB_1", description="Release that sessions see."
    )
    variant: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Libraries of the release: `cpu`, `cuda`, or `auto`: `cuda` where a driver is found."
    )


class Accounts(Section):
    """Who may sign in."""

    administrator: UserName = Field("admin", description="First administrator, made by `make deploy`.")
    sign_up: bool = Field(True, description="Let people ask for an account; the administrator approves it.")
    demo_users: list[UserName] = Field([], description="Accounts made at once, for a demonstration.")


class Network(Section):
    """How images, the stack and sessions reach package indexes through the site's network."""

    http_proxy: Url | None = Field(None, description="Proxy for http; empty: the environment's HTTP_PROXY.")
    https_proxy: Url | None = Field(None, description="Proxy for https; empty: the environment's HTTPS_PROXY.")
    no_proxy: str | None = Field(None, description="Hosts reached without a proxy; empty: the environment's NO_PROXY.")
    python_index: Url | None = Field(
        None, description="Index for pip and uv; empty: the environment's PIP_INDEX_URL, else their default."
    )
    npm_registry: Url | None = Field(
        None, description="Registry for npm; empty: the environment's NPM_CONFIG_REGISTRY, else its default."
    )
    apt_mirror: Url | None = Field(
        None,
        description="Mirror that images are bootstrapped from and get Debian packages from; empty: Debian's own.",
    )


# The environment variables that programs read for a key of `network`.
NETWORK_VARIABLES = {
    "HTTP_PROXY": "http_proxy",
    "HTTPS_PROXY": "https_proxy",
    "NO_PROXY": "no_proxy",
    "PIP_INDEX_URL": "python_index",
    "NPM_CONFIG_REGISTRY": "npm_registry",
}


class Monitoring(Section):
    """A Prometheus beside the hub, for this server's own eyes."""

    enabled: bool = Field(False, description="Keep the hub's figures in a Prometheus of the service's own.")
    port: Port = Field(9090, description="Port of this server, of no other, where it is asked.")
    days: Annotated[Whole, Field(ge=1, le=3650)] = Field(90, description="How long figures are kept.")


class Images(Section):
    """Where container images come from."""

    debian: str = Field(
        "debian:bookworm-slim",
        description="Image that all others are built from; bootstrapped from packages where no registry answers.",
    )


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
    monitoring: Monitoring = Monitoring()
    images: Images = Images()

    @model_validator(mode="after")
    def _paths_are_usable(self) -> Settings:
        paths = {
            "data_root": self.data_root,
            "engine.socket": self.engine.socket,
            "gpus.driver_root": self.gpus.driver_root,
        }
        for key, path in paths.items():
            if not path.is_absolute():
                raise ValueError(f"`{key}` must be an absolute path; given: {str(path)!r}")
            # They are written into volume arguments, where a colon or a space would mean something else.
            if not _PLAIN_PATH.fullmatch(str(path)) or ".." in path.parts:
                raise ValueError(f"`{key}` may have letters, digits and `/._-` only, and no `..`; given: {str(path)!r}")
        if len(self.data_root.parts) < 3:
            raise ValueError(f"`data_root` must be a folder of its own, such as /srv/sciencebox, not {self.data_root}")
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
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
        doubtful = [f"{source}:{at}: {what}" for what, at in explain.doubtful_keys(tree)]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        raise SettingsError(f"{where}: not valid YAML: {getattr(error, 'problem', error)}") from error
    except RecursionError as error:
        raise SettingsError(f"{source}: a part of it contains itself") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise SettingsError(f"{source}: expected keys such as `name:`, found {explain.short(values)}")
    if doubtful:
        raise SettingsError("\n".join(doubtful))
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        schema = Settings.model_json_schema()
        lines = [explain.error(dict(detail), schema, tree, source) for detail in error.errors()]
        raise SettingsError("\n".join(lines)) from error

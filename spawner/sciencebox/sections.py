"""The sections of the settings file: each key with its type, its default and its description."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import GroupedMetadata
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    Strict,
    WithJsonSchema,
    model_validator,
)

from sciencebox import explain

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024**2
GIB = 1024**3
SMALLEST_MEMORY = 256 * MIB


def matching(pattern: str, accepts: str) -> Any:
    """Text of a certain form; `accepts` says in words which."""
    return Field(pattern=pattern, json_schema_extra={"accepts": accepts})


@dataclass(frozen=True)
class SizeFrom(GroupedMetadata):
    """For a ByteSize: at least so many bytes; `example` is a size in words."""

    smallest: int
    example: str

    def __iter__(self) -> Iterator[object]:
        """What pydantic makes of it."""
        accepts = f"a size such as {self.example}, at least {explain.size(self.smallest)}"
        yield AfterValidator(self._is_enough)
        yield WithJsonSchema({"type": ["string", "integer"], "format": "size", "accepts": accepts})

    def _is_enough(self, value: ByteSize) -> ByteSize:
        if value < self.smallest:
            raise ValueError(f"must be at least {explain.size(self.smallest)}; given: {explain.size(value)}")
        return value


Whole = Annotated[int, Strict()]
Hours = Annotated[Whole, Field(ge=1, le=8760)]
Span = Annotated[float, Strict(), Field(ge=0, le=8760)]  # in hours
Port = Annotated[Whole, Field(ge=1, le=65535)]
Count = Annotated[Whole, Field(ge=1, le=1024)]
Name = Annotated[
    str, matching(r"^[a-z0-9][a-z0-9-]{0,30}$", "up to 31 lower-case letters, digits and hyphens, no hyphen first")
]
UserName = Annotated[
    str,
    matching(
        r"^[a-z_][a-z0-9_.-]{0,31}$",
        "a login name: up to 32 lower-case letters, digits, `_`, `.` and `-`, a letter or `_` first",
    ),
]
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
HOST_NAME = rf"^{_LABEL}(\.{_LABEL})*$"  # RFC 1123
HostName = Annotated[str, matching(HOST_NAME, "a host name or an IPv4 address, without https:// and port")]
Url = Annotated[str, matching(r"^https?://\S+$", "an address that begins with http:// or https://")]
PlainUrl = Annotated[
    str,
    matching(
        r"^https://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?$",
        "an address that begins with https://, without user, query and unusual characters",
    ),
]
MailAddress = Annotated[str, matching(r"^[^\s{}@]+@[^\s{}@]+$", "a mail address")]
MemorySize = Annotated[ByteSize, SizeFrom(SMALLEST_MEMORY, "8 GiB")]
Subnet = Annotated[
    IPv4Network,
    BeforeValidator(str),  # else the number 10 is taken for 0.0.0.10
    WithJsonSchema({"type": "string", "accepts": "an IPv4 network such as 10.0.0.0/8, or an address"}),
]
Folder = Annotated[
    Path,
    Field(json_schema_extra={"accepts": "an absolute path of letters, digits and `/._-`, such as /srv/sciencebox"}),
]


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
        "(from an authority that gives them by itself, as Let's Encrypt; it must reach this server by its name) or "
        "`files` (your own).",
    )
    certificate: Path | None = Field(None, description="With `tls: files`: the certificate chain, PEM.")
    key: Path | None = Field(None, description="With `tls: files`: its private key, PEM.")
    acme_email: MailAddress | None = Field(None, description="With `tls: acme`: whom the authority may write to.")
    acme_directory: PlainUrl | None = Field(
        None, description="With `tls: acme`: the authority's directory, as of the site's own; empty: Let's Encrypt's."
    )
    acme_root: Path | None = Field(
        None, description="With `acme_directory`: whom to trust when asking there, PEM, if servers do not anyway."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Server:
        if self.tls == "files" and not (self.certificate and self.key):
            raise ValueError("`tls: files` needs both `certificate` and `key`")
        if self.tls == "acme" and self.hostname == "auto":
            raise ValueError("`tls: acme` needs `hostname`, the name that the certificate is for")
        if self.acme_root and not self.acme_directory:
            raise ValueError("`acme_root` is of no use without `acme_directory`")
        if self.https_port == self.http_port:
            raise ValueError(f"`https_port` and `http_port` must differ; both are {self.http_port}")
        return self

    def address(self, hostname: str) -> str:
        """The address that users type, of the service by this name."""
        return f"https://{hostname}" + ("" if self.https_port == 443 else f":{self.https_port}")


class Engine(Section):
    """The container engine that runs the service and its sessions."""

    socket: Folder = Field(Path("/var/run/docker.sock"), description="The engine's socket on this server.")


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


class Firewall(Section):
    """What sessions reach over the network. Never each other; the rest of the world as told here."""

    enabled: bool = Field(
        True, description="Set rules in this server's kernel; without them sessions reach each other and everything."
    )
    refuse: list[Subnet] = Field(
        [IPv4Network("169.254.0.0/16")],
        description="Networks that no session reaches, such as `10.0.0.0/8`, or `0.0.0.0/0` for all. The default is "
        "where clouds tell a server's secrets.",
    )
    allow: list[Subnet] = Field([], description="What is reached all the same, such as a package index's address.")

    @model_validator(mode="after")
    def _can_be_a_set(self) -> Firewall:
        for key in ("refuse", "allow"):
            networks = getattr(self, key)
            for number, one in enumerate(networks):
                for other in networks[number + 1 :]:
                    if one.overlaps(other):
                        raise ValueError(f"`{key}` names {one} and {other}; one lies in the other, keep the larger")
        return self


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

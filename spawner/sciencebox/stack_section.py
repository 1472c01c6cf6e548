"""The section of the settings file about the software under /cvmfs, beside `sections`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ByteSize, Field, model_validator

from sciencebox.sections import GIB, Folder, Port, Section, SizeFrom, matching

# What the image of the client brings addresses and public keys of.
DOMAINS = ("cern.ch", "egi.eu", "opensciencegrid.org")
_HOP = r"(DIRECT|https?://[A-Za-z0-9.:_-]+)"
_ADDRESS = r"https?://[A-Za-z0-9.:/_~-]+"


RepositoryName = Annotated[str, matching(r"^[a-z0-9][a-z0-9.-]*$", "a repository name such as sciencebox.local")]
CacheSize = Annotated[ByteSize, SizeFrom(GIB, "50 GiB")]


class Publish(Section):
    """The stack as a CVMFS repository, for other servers and clusters."""

    enabled: bool = Field(False, description="Sign the built stack and serve it, at /cvmfs/REPOSITORY on this port.")
    port: Port = Field(8000, description="Port of the web server; plain HTTP, for clients check every signature.")


class Origin(Section):
    """Where a repository comes from."""

    name: RepositoryName = Field(description="The repository.")
    url: Annotated[
        str,
        matching(
            rf"^{_ADDRESS}(;{_ADDRESS})*$",
            "the repository's address, such as http://server.example.org:8000/cvmfs/software.example.org; several with "
            "`;` between them",
        ),
    ] = Field(description="Its address; several, of which the first that answers is asked, with `;` between them.")
    key: Folder = Field(description="File on this server with the public half of its master key.")

    @model_validator(mode="after")
    def _names_a_key(self) -> Origin:
        if not self.key.is_absolute():
            raise ValueError(f"`key` must be an absolute path; given: {str(self.key)!r}")
        return self


class Client(Section):
    """With `source: client`: a CernVM-FS client as a service of this deployment, where the server has none."""

    enabled: bool = Field(
        False, description="Mount the repositories below `mount` by this service; else this server's own client does."
    )
    image: Annotated[
        str, matching(r"^[a-z0-9][A-Za-z0-9.:/@_-]*$", "the name of an image with its tag or its digest")
    ] = Field(
        "registry.cern.ch/cvmfs/service:2.11.2-1",
        description="Image with the client; with `NAME@sha256:...` it is certainly this one.",
    )
    proxy: (
        Annotated[
            str,
            matching(rf"^{_HOP}([;|]{_HOP})*$", "caches as in CVMFS_HTTP_PROXY, such as http://squid.example.org:3128"),
        ]
        | None
    ) = Field(
        None,
        description="HTTP caches on the way to the servers, as in CVMFS_HTTP_PROXY; `DIRECT`: none; empty: the proxy "
        "for http of `network`, else none.",
    )
    cache: CacheSize = Field(
        ByteSize(20 * GIB),
        description="How much of what was fetched is kept on this server, in `client` of `data_root`.",
    )
    origins: list[Origin] = Field(
        [],
        description="Where repositories come from that the client does not know by itself, as it does those of "
        f"{', '.join(DOMAINS[:-1])} and {DOMAINS[-1]}: a list of sections with `name`, `url` and `key` (a file with "
        "the public key).",
    )


class Stack(Section):
    """The software under /cvmfs."""

    source: Literal["local", "client"] = Field(
        "local",
        description="`local`: built on this server; `client`: mounted by a CernVM-FS client.",
    )
    repository: RepositoryName = Field("sciencebox.local", description="Folder under /cvmfs.")
    release: Annotated[str, matching(r"^[A-Za-z0-9_]+$", "a release name such as SB_1")] = Field(
        "SB_1", description="Release that sessions see."
    )
    variant: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Libraries of the release: `cpu`, `cuda`, or `auto`: `cuda` where a driver is found."
    )
    mount: Folder = Field(
        Path("/cvmfs"), description="With `source: client`: where this server mounts repositories, or an automounter."
    )
    more: list[RepositoryName] = Field(
        [], description="With `source: client`: further repositories whose views users may choose, as sft.cern.ch."
    )
    client: Client = Client()
    publish: Publish = Publish()

    @property
    def mounted(self) -> tuple[str, ...]:
        """The repositories that the service mounts: those that it knows where to get from."""
        origins = {origin.name for origin in self.client.origins}
        return tuple(name for name in (self.repository, *self.more) if name in origins or _is_known(name))

    @model_validator(mode="after")
    def _is_built_before_it_is_published(self) -> Stack:
        if self.publish.enabled and self.source != "local":
            raise ValueError("`publish` needs `source: local`: what another server publishes is served there")
        return self

    @model_validator(mode="after")
    def _is_mounted_from_somewhere(self) -> Stack:
        if not self.client.enabled:
            return self
        if self.source != "client":
            raise ValueError("`client` needs `source: client`: what is built on this server is not mounted")
        for name in self.more or (self.repository,):
            if name not in self.mounted:
                raise ValueError(f"`client.origins` must say where {name} comes from: `name`, `url` and `key`")
        return self


def _is_known(repository: str) -> bool:
    return repository.endswith(tuple(f".{domain}" for domain in DOMAINS))

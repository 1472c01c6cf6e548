"""The section of the settings file for a cluster, beside `sections`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from sciencebox.sections import Section, Url, matching

ResourceName = Annotated[
    str,
    matching(r"^nvidia\.com/[A-Za-z0-9.-]+$", "a resource of NVIDIA's device plugin"),
]
TaintKey = Annotated[
    str,
    matching(r"^([a-z0-9.-]+/)?[A-Za-z0-9._-]+$", "the key of a taint, such as nvidia.com/gpu"),
]


QueueName = Annotated[
    str,
    matching(r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$", "the name of a LocalQueue, of small letters, digits and -"),
]


class Kubernetes(Section):
    """How sessions ask a cluster for GPUs; without a cluster these keys mean nothing."""

    gpu_resource: ResourceName = Field("nvidia.com/gpu", description="What a user gets who asks for any GPU.")
    runtime_class: str = Field(
        "", description="Runtime class of sessions with a GPU, such as `nvidia`; empty: the cluster's default."
    )
    tolerations: list[TaintKey] = Field(
        ["nvidia.com/gpu"], description="Keys of taints that keep others off GPU nodes, and not sessions with a GPU."
    )
    prometheus: Url | None = Field(
        None,
        description="A Prometheus that is told by NVIDIA's DCGM exporter what GPUs do, such as "
        "`http://prometheus-operated.monitoring:9090`; empty: that is not known, and no idle GPU is noticed.",
    )
    prometheus_token_file: Path | None = Field(
        None,
        description="A file of the hub with the bearer token that this Prometheus wants, such as "
        "`/run/secrets/prometheus/token` from the Secret `sciencebox-prometheus`; it is read anew for each question.",
    )
    prometheus_ca_file: Path | None = Field(
        None,
        description="A file of the hub with the authority of its certificate, such as "
        "`/run/secrets/prometheus/ca.crt`; empty: those that every system knows.",
    )
    kueue: QueueName = Field(
        "",
        description="The LocalQueue of Kueue in the service's namespace in which sessions with a GPU wait; empty: "
        "they wait for the cluster's scheduler alone.",
    )
    count_others: bool = Field(
        False,
        description="Count GPUs that pods outside the service's namespace hold as taken. For that the hub may read "
        "every pod of the cluster, with what its environment says.",
    )

    @model_validator(mode="after")
    def _keeps_its_secrets(self) -> Kubernetes:
        where = urlsplit(self.prometheus or "")
        if where.username or where.password:
            raise ValueError("`prometheus` has a password in it; give a token by `prometheus_token_file`")
        if (self.prometheus_token_file or self.prometheus_ca_file) and where.scheme != "https":
            raise ValueError("`prometheus_token_file` and `prometheus_ca_file` need a `prometheus` with https://")
        return self

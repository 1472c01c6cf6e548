"""The section of the settings file for a cluster, beside `sections`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sciencebox.sections import Section, Url

ResourceName = Annotated[
    str,
    Field(
        pattern=r"^nvidia\.com/[A-Za-z0-9.-]+$",
        json_schema_extra={"accepts": "a resource of NVIDIA's device plugin"},
    ),
]
TaintKey = Annotated[
    str,
    Field(
        pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9._-]+$",
        json_schema_extra={"accepts": "the key of a taint, such as nvidia.com/gpu"},
    ),
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
    count_others: bool = Field(
        False,
        description="Count GPUs that pods outside the service's namespace hold as taken. For that the hub may read "
        "every pod of the cluster, with what its environment says.",
    )

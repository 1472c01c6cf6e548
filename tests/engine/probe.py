"""A container made as a session's is, and what a program in it sees of GPUs."""

from __future__ import annotations

import json
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import pytest
from sciencebox.sessions.refusals import explain_engine_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import APIClient
    from sciencebox.sessions.attach import Attachment
    from sciencebox.sessions.refusals import AttachError

GPU_PY = Path(__file__).parents[2] / "notebooks/brainmri/gpu.py"
PROGRAM = """
import glob, json, os, sys
sys.path.insert(0, "/probe")
import gpu
driver = gpu.driver()
print(json.dumps({
    "nodes": sorted(glob.glob("/dev/nvidia*")),
    "usable": sorted(path for path in glob.glob("/dev/nvidia*") if os.access(path, os.R_OK | os.W_OK)),
    "library": driver.library,
    "cuda": driver.cuda,
    "cards": driver.devices,
    "visible": os.environ.get("NVIDIA_VISIBLE_DEVICES"),
}))
"""


@dataclass
class Probe:
    """Containers of one engine, made from one image and removed at the end; as sessions are, of a foreign user."""

    client: APIClient
    image: str
    runtime: str | None = None
    module: Path = GPU_PY  # seen in a container as /probe/<its name>
    arguments: tuple[str, ...] = ("-c", PROGRAM)
    user: str = "20001:20001"
    pid_mode: str | None = None
    made: list[str] = field(default_factory=list)

    @classmethod
    @contextmanager
    def of(cls, client: APIClient, image: str, runtime: str | None = None, **options: Any) -> Iterator[Probe]:
        probe = cls(client, image, runtime, **options)
        try:
            yield probe
        finally:
            for container in probe.made:
                client.remove_container(container, force=True, v=True)

    def create(self, attachment: Attachment, *, image: str | None = None, network: str = "none") -> str:
        """A container without privileges."""
        host = self.client.create_host_config(
            binds=[f"{self.module}:/probe/{self.module.name}:ro", *attachment.binds],
            devices=list(attachment.devices),
            device_requests=list(attachment.device_requests),
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            network_mode=network,
            pid_mode=self.pid_mode,
            runtime=attachment.runtime or self.runtime,
        )
        container = self.client.create_container(
            image or self.image,
            ["python3", *self.arguments],
            user=self.user,
            environment=attachment.environment,
            labels=attachment.labels,
            name=f"sciencebox-test-{uuid.uuid4().hex[:12]}",
            host_config=host,
        )
        self.made.append(container["Id"])
        return str(container["Id"])

    def run(self, attachment: Attachment, *, image: str | None = None) -> dict[str, Any]:
        """What a program sees in a container with this attachment."""
        container = self.create(attachment, image=image)
        self.client.start(container)
        status = self.client.wait(container, timeout=60)["StatusCode"]
        output = self.client.logs(container).decode()
        assert status == 0, output
        seen: dict[str, Any] = json.loads(output)
        return seen

    def refused(self, attachment: Attachment, *, image: str | None = None, network: str = "none") -> AttachError:
        """The explanation of the engine's refusal to create or start such a container."""
        with pytest.raises(docker.errors.APIError) as raised:
            self.client.start(self.create(attachment, image=image, network=network))
        return explain_engine_error(str(raised.value.explanation))

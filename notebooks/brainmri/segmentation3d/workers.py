"""Several processes, each with a GPU of its own, that share the batches of one training.

Together they do what one process would do with the whole batch: each takes its patches of it, the loss is that of all
patches, and the slopes are averaged (Li et al. 2020, PyTorch Distributed, doi 10.14778/3415478.3415530).

Where torchrun has started the processes, these are taken: its first one calls `run`, the others call `follow`.
"""

from __future__ import annotations

import gc
import os
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed, multiprocessing, nn

from brainmri import gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    Bars = Callable[[str], Callable[..., None]]
    Task = Callable[["Worker", Bars, Any], None]

T = TypeVar("T")

POLL_S = 0.2
TORCHRUN = "env://"  # where its processes are told how to meet
LOOPBACK = "lo"  # all workers are in this session: nothing listens where others could reach it


class WorkerError(ValueError):
    """One of the workers failed, and the others were stopped."""


@dataclass(frozen=True)
class Worker:
    """One of `count` processes. The first is the one that writes and speaks."""

    number: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.number == 0

    def part(self, batch: int) -> slice:
        """Its patches of a batch. Raises ValueError where not all get as many."""
        if batch % self.count:
            raise ValueError(f"{self.count} workers cannot share {batch} patches evenly; use a multiple")
        each = batch // self.count
        return slice(self.number * each, (self.number + 1) * each)

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network, such that a way back through it averages the slopes of all workers."""
        if self.count == 1:
            return network
        return nn.parallel.DistributedDataParallel(network, forward_sync_buffers=False)

    def whole(self, part: torch.Tensor) -> torch.Tensor:
        """What all workers have, along the first axis. All are to work out the same from it.

        Slopes find their way back to the worker's own part, as many times as there are workers, for the mean of all
        workers' slopes is divided by that.
        """
        if self.count == 1:
            return part
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(self.count)]
        distributed.all_gather(parts, part.detach().contiguous())
        own = parts[self.number] = part.clone()
        if own.requires_grad:
            own.register_hook(lambda slope: slope * self.count)
        return torch.cat(parts)

    def told(self, value: T) -> T:
        """What the first worker has."""
        if self.count > 1:
            distributed.broadcast_object_list(box := [value])
            return box[0]
        return value

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of all workers' values."""
        if self.count > 1:
            distributed.all_reduce(value := value / self.count)
        return value


def launched() -> Worker | None:
    """Which of the processes that torchrun has started this one is; None where it has not.

    Raises ValueError where some of them are on another machine.
    """
    if not distributed.is_torchelastic_launched():
        return None
    number, count, here = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if here != count:
        raise ValueError(f"torchrun started {count} processes and {here} of them here; start all in one session")
    return Worker(number, count)


def follow(worker: Worker) -> None:
    """What each process of torchrun but the first does: wait for the first one's `run`, and take part in it."""
    with _joined(worker, TORCHRUN):
        task, argument = worker.told(None)  # type: ignore[misc]
        task(worker, lambda _title: lambda *_: None, argument)


def run(count: int, task: Task, argument: Any, bars: Bars) -> None:
    """Let `count` processes do `task(worker, bars, argument)`; the first one's progress is shown by `bars`.

    They are new ones, or those of torchrun. `task` and `argument` are pickled. Raises WorkerError when a new one fails,
    with its error; then all are stopped, which torchrun does itself.
    """
    if worker := launched():
        with _joined(worker, TORCHRUN):
            worker.told((task, argument))
            task(worker, bars, argument)
        return
    heard, told = get_context("spawn").Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as meeting, heard:
        with told:
            order = _Order(count, Path(meeting) / "all", told, task, argument)
            started = multiprocessing.spawn(_join, (order,), count, join=False)
        shown: dict[str, Callable[..., None]] = {}
        try:
            while not started.join(POLL_S):
                _show(heard, shown, bars)
        except (multiprocessing.ProcessRaisedException, multiprocessing.ProcessExitedException) as error:
            said = str(error).strip().splitlines()[-1].removeprefix(f"process {error.error_index} ")
            raise WorkerError(
                f"process {error.error_index + 1} of {count} failed, so all were stopped: {said}. What was stored "
                "stays; run the same again to go on from there"
            ) from error
        finally:
            _show(heard, shown, bars)
            for process in started.processes:
                process.kill()


@dataclass(frozen=True)
class _Order:
    """What each process is told: how many there are, where they meet, where the first one speaks, what to do."""

    count: int
    place: Path
    told: Connection
    task: Task
    argument: Any


def _join(number: int, order: _Order) -> None:
    """What each new process does."""
    worker = Worker(number, order.count)

    def bars(title: str) -> Callable[..., None]:
        return lambda *state: order.told.send((title, state)) if worker.first else None

    with _joined(worker, f"file://{order.place}"):
        order.task(worker, bars, order.argument)


@contextmanager
def _joined(worker: Worker, place: str) -> Iterator[None]:
    """Be one of those that meet at `place`. After an error their group is left as it is, so that it is told first."""
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", LOOPBACK)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(worker.number)
    warnings.filterwarnings("ignore", "Grad strides do not match")  # of kernels of one voxel, where they mean nothing
    torch.set_num_threads(max(1, gpu.session().cores // worker.count))
    distributed.init_process_group(
        "nccl" if on_gpu else "gloo", init_method=place, rank=worker.number, world_size=worker.count
    )
    yield
    gc.collect()  # what is wrapped holds the group, whose threads must have ended when Python does
    distributed.destroy_process_group()


def _show(heard: Connection, shown: dict[str, Callable[..., None]], bars: Bars) -> None:
    """Show what the first process has told meanwhile."""
    try:
        while heard.poll():
            title, state = heard.recv()
            if title not in shown:
                shown[title] = bars(title)
            shown[title](*state)
    except EOFError:  # it has ended
        pass

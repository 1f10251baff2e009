"""Data-parallel training: every process holds the whole model and computes its share of every batch.

    torchrun --nproc-per-node 2 -m -- textvae train …

The expensive parts, encoders and decoders, are split by sentences, and their outputs are gathered. Whatever
couples the sentences of a batch (free bits on a batch mean, a discrepancy between q(z) and the prior, batch
normalisation, a controller of the rate) therefore sees the whole batch in every process and needs no
distributed version. Every process draws the noise of the whole batch, from generators in the same state.

The loss is the same in all processes, and the mean of their gradients is the gradient of that loss
(`training.share`). Two processes equal one up to rounding; with dropout inside a split module, whose masks
depend on the process, they are equal in distribution. In a direction without a gradient, such as that of a feature
that is the same for every sentence under batch normalisation, Adam makes of rounding steps as large as all others.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from textvae.data.batches import Batch
from textvae.errors import ConfigError, LostProcessError, RunError
from textvae.files import LOCK
from textvae.models.decoders import Decoder
from textvae.models.encoders import Encoder
from textvae.runs import Run
from textvae.training.share import Share

__all__ = ["Processes"]

SENTENCES = {Encoder: 0, Decoder: 1}
"""The modules that are split, and the axis of sentences in their input and output tensors."""

PATIENCE = timedelta(hours=6)
"""How long a process waits for another, which may be tokenising a corpus."""


class Processes:
    """This process's place in the distributed group. With one process every method is a no-op."""

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        device: torch.device | str = "cpu",
        host: "distributed.ProcessGroup | None" = None,
    ) -> None:
        self.rank, self.size = rank, size
        self.device = torch.device(device)
        self._host = host
        self._inside = False
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    @classmethod
    def join(cls, device: torch.device) -> "Processes":
        """Join the group that torchrun started, one device per process; without torchrun, a group of one.

        Raises
        ------
        ConfigError
            If there are more processes than devices.
        """
        if int(os.environ.get("WORLD_SIZE", 1)) == 1:
            return cls(device=device)
        from accelerate import PartialState

        local, devices = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
        if device.type == "cuda" and local > devices:
            raise ConfigError(f"torchrun: {local} processes on {devices} CUDA devices; start one per device")
        state = PartialState(cpu=device.type == "cpu", timeout=PATIENCE)
        own = device if device.type == "cpu" else state.device
        # Decisions are exchanged on the host, by gloo, so that no process waits for its device.
        host = distributed.new_group(timeout=PATIENCE, backend="gloo")
        atexit.register(_leave)
        return cls(state.process_index, state.num_processes, own, host)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def local_copy(self, run: Run) -> Run:
        """Return the run on rank 0 and a temporary copy on every other rank.

        So all ranks run the same code, but only rank 0 writes the real directory.

        Raises
        ------
        RunError
            If a process cannot read the run's directory.
        """
        self.wait()  # until the main process has made the directory
        if not self.is_main:
            run = self._copy(run)
        self.wait()  # until all others have copied it
        return run

    def _copy(self, run: Run) -> Run:
        if self._scratch is not None:  # a first stage, copied with the run that contains it
            run.path.mkdir(exist_ok=True)
            return run
        self._scratch = tempfile.TemporaryDirectory(prefix="textvae-")
        copy = Path(self._scratch.name) / "run"
        try:
            shutil.copytree(run.path, copy, ignore=shutil.ignore_patterns("tensorboard", LOCK))
        except OSError as error:
            raise RunError(
                f"{run.path}: cannot be read by process {self.rank} ({error.strerror or error}); several machines"
                " need a directory that all of them can read"
            ) from error
        return Run(copy)

    def wait(self) -> None:
        """Wait until every process is here."""
        self.any(False)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return flag if self.size == 1 else bool(self._sum(torch.tensor(float(flag)), self._host))

    def agreed(self, value: float) -> float:
        """The main process's value, so that all processes decide the same."""
        if self.size == 1:
            return value
        told = torch.tensor(value if self.is_main else 0.0, dtype=torch.float64)
        return float(self._sum(told, self._host))

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        with _telling():
            for work in [distributed.all_reduce(gradient, async_op=True) for gradient in gradients]:
                work.wait()
        torch._foreach_div_(gradients, self.size)

    @contextmanager
    def splitting(self, module: nn.Module) -> Iterator[None]:
        """Make encoders and decoders of `module` compute this process's sentences and return those of all.

        Within the context, every process must run the same operations on the same batches.
        """
        split = tuple(SENTENCES) if self.size > 1 else ()
        parts = [part for part in module.modules() if isinstance(part, split)]
        own = [part.__dict__.get("forward") for part in parts]  # set by `precision.cast`
        try:
            for part in parts:
                part.forward = self._split(part)
            yield
        finally:
            for part, before in zip(parts, own, strict=True):
                del part.forward
                if before is not None:
                    part.forward = before

    def _split(self, part: nn.Module) -> Callable[..., Tensor]:
        whole: Callable[..., Tensor] = part.forward
        axis = next(axis for family, axis in SENTENCES.items() if isinstance(part, family))

        def forward(batch: Batch, *z: Tensor) -> Tensor:
            if self._inside:  # nested in a part that is already split
                return whole(batch, *z)
            share = Share(self.rank, self.size, self._sum, batch.sentences, axis)
            self._inside = True
            try:
                with self._own_dropout(part):
                    out = whole(share.of_batch(batch), *(share.own(values) for values in z))
            finally:
                self._inside = False
            return share.gathered(out)

        return forward

    @contextmanager
    def _own_dropout(self, part: nn.Module) -> Iterator[None]:
        """In training mode, use random numbers that differ between processes; then restore the common state."""
        if not part.training:
            yield
            return
        seed = int(torch.randint(1 << 62, ()))
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed + self.rank)
            yield

    def _sum(self, values: Tensor, group: "distributed.ProcessGroup | None" = None) -> Tensor:
        if values.numel():  # without a z, features have no columns
            with _telling():
                distributed.all_reduce(values, group=group)
        return values


def _leave() -> None:
    """Leave the group before the interpreter is gone: gloo's threads would else now and then abort the process."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


@contextmanager
def _telling() -> Iterator[None]:
    """Report a broken connection as a `LostProcessError`."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and type(error) is not RuntimeError:
            raise  # the device's own, such as out of memory
        raise LostProcessError(
            "another process of this job has died; the same command resumes from the last checkpoint, with"
            " any number of processes"
        ) from error

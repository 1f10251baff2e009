"""Several processes that train one model: each holds all of it and computes its share of every batch.

    torchrun --nproc-per-node 2 -m -- textvae train …

What costs time, the encoders and decoders, is split by sentences, and what they return is gathered again.
Whatever couples the sentences of a batch (free bits on a batch mean, a discrepancy between q(z) and the
prior, batch normalisation, a controller that watches the rate) thus sees the whole batch in every process,
and is written once, for one. Noise is drawn for the whole batch everywhere, from generators in one state.

The loss is the same in all processes, and the mean of their gradients is the gradient of that one loss
(`training.share`). Two processes equal one to rounding; dropout inside a split module, whose masks depend on
the process, leaves them equal in distribution.
"""

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
from textvae.errors import LostProcessError, RunError
from textvae.models.decoders import Decoder
from textvae.models.encoders import Encoder
from textvae.runs import Run
from textvae.training.share import Share

__all__ = ["Processes"]

SENTENCES = {Encoder: 0, Decoder: 1}
"""What is split, and on which axis of tensors in and out its sentences lie."""

PATIENCE = timedelta(hours=6)
"""How long a process waits for another, which may have a corpus to tokenise."""


class Processes:
    """This process among all that train one model; alone, nothing here does anything."""

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
        """Meet the processes that torchrun started, each with a device of its own; alone without torchrun."""
        if int(os.environ.get("WORLD_SIZE", 1)) == 1:
            return cls(device=device)
        from accelerate import PartialState

        state = PartialState(cpu=device.type == "cpu", timeout=PATIENCE)
        own = device if device.type == "cpu" else state.device
        # What the processes decide together they tell each other past their devices, which are left to their work.
        host = distributed.new_group(timeout=PATIENCE, backend="gloo")
        return cls(state.process_index, state.num_processes, own, host)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def own(self, run: Run) -> Run:
        """The run itself for the main process; for each other one a copy of its own, which is thrown away.

        So every process does the same, step by step, and one alone writes the run.

        Raises
        ------
        RunError
            If a process does not see the run's directory.
        """
        self.any(False)  # the main process has made the directory
        if not self.is_main:
            run = self._copy(run)
        self.any(False)  # and goes on when it has been copied
        return run

    def _copy(self, run: Run) -> Run:
        if self._scratch is not None:  # a first stage, copied with the run it is in
            run.path.mkdir(exist_ok=True)
            return run
        self._scratch = tempfile.TemporaryDirectory(prefix="textvae-")
        copy = Path(self._scratch.name) / "run"
        try:
            shutil.copytree(run.path, copy, ignore=shutil.ignore_patterns("tensorboard", "lock"))
        except OSError as error:
            raise RunError(
                f"{run.path}: cannot be read by process {self.rank} ({error.strerror or error}); several machines"
                " need a directory that all of them see"
            ) from error
        return Run(copy)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return flag if self.size == 1 else bool(self._sum(torch.tensor(float(flag)), self._host))

    def agreed(self, value: float) -> float:
        """The main process's value, so that all decide alike."""
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
        """Within, encoders and decoders of `module` compute this process's sentences and return those of all.

        Every process must do the same within, with the same batches.
        """
        split = tuple(SENTENCES) if self.size > 1 else ()
        parts = [part for part in module.modules() if isinstance(part, split)]
        own = [part.__dict__.get("forward") for part in parts]  # what `precision` put there
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
            if self._inside:  # a part of a part that is split already
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
        """In training, random numbers that differ between processes; outside, all stay in one state."""
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


@contextmanager
def _telling() -> Iterator[None]:
    """What a broken connection means, in one sentence."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            "another process of this job has died; the same command goes on from the last checkpoint, with any"
            " number of processes"
        ) from error

"""Benchmark cells: a model of given sizes on random sentences with the lengths of Penn Treebank's.

The benchmark needs no corpus: the cost of a step depends on lengths and sizes, not on the words.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch

from textvae import builder
from textvae.config import Config, Draft
from textvae.data.batches import BatchStream, Sequences
from textvae.data.resident import gathering_on
from textvae.data.tokenizers import EOS, UNPREDICTED
from textvae.models.text_vae import TextVAE
from textvae.objectives.objective import Objective
from textvae.training.graphs import record
from textvae.training.precision import Precision, prepare
from textvae.training.updates import Joint

__all__ = ["MEAN", "REFERENCE", "Cell", "Workload", "grid", "penn_lengths", "sentences_of"]

MEAN, DEVIATION, LONGEST = 22.1, 10.1, 83
"""Tokens per sentence of Penn Treebank's train split, EOS counted."""


@dataclass(frozen=True)
class Cell:
    """The sizes of model and batch, the device and the precision."""

    embedding_dim: int = 256
    hidden_dim: int = 256
    latent_dim: int = 32
    vocabulary: int = 10_000  # types that can be predicted
    batch_size: int = 32
    device: str = "cpu"
    precision: Precision = "float32"

    @property
    def name(self) -> str:
        """For example `256/256, vocabulary 10,000, batch 32, cpu float32`."""
        sizes = f"{self.embedding_dim}/{self.hidden_dim}, vocabulary {self.vocabulary:,}, batch {self.batch_size}"
        return f"{sizes}, {self.device} {self.precision}"

    @property
    def tokens(self) -> int:
        """The size of the model's vocabulary, with the tokens that are never predicted."""
        return self.vocabulary + UNPREDICTED

    @property
    def products(self) -> dict[str, int]:
        """Parameters that enter a matrix product for every token; those used once per sentence are not counted."""
        width, hidden = self.embedding_dim, self.hidden_dim
        return {
            "encoder": 4 * hidden * (width + hidden),
            "recurrence": 4 * hidden * (width + self.latent_dim + hidden),
            "output": hidden * self.vocabulary,
        }

    def config(self) -> Config:
        """The settings for Penn Treebank with these sizes."""
        draft = Draft()
        draft.merge_file("ptb")
        sizes = {"embedding_dim": self.embedding_dim, "hidden_dim": self.hidden_dim}
        model = {"latent_dim": self.latent_dim, "encoder": sizes, "decoder": sizes}
        training = {"precision": self.precision}
        draft.merge({"model": model, "data": {"batch_size": self.batch_size}, "training": training}, "bench")
        return builder.complete(draft)


REFERENCE = Cell()
"""Penn Treebank in the set-up of Li et al. 2019."""


def grid(device: str) -> Iterator[Cell]:
    """Every cell of the full bench on one device."""
    precisions: tuple[Precision, ...] = ("float32",) if device.startswith("cpu") else ("float32", "tf32", "bf16")
    sizes = ((256, 256), (512, 1024))
    for precision, (width, hidden), vocabulary, batch in product(
        precisions, sizes, (10_000, 50_000, 200_000), (32, 128)
    ):
        yield Cell(width, hidden, 32, vocabulary, batch, device, precision)


class Workload:
    """The objects of a cell, created on first use."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.config = cell.config()
        self.device = builder.device(cell.device)
        self.generator = torch.Generator(self.device).manual_seed(0)

    @cached_property
    def model(self) -> TextVAE:
        torch.manual_seed(0)
        return builder.model(self.config, self.cell.tokens).to(self.device)

    @cached_property
    def objective(self) -> Objective:
        made = builder.objective(self.config, self.model, self.cell.tokens, self.stream.batches_per_epoch)
        made.to(self.device)
        prepare(made, self.cell.precision, self.device)
        return made

    @cached_property
    def update(self) -> Joint:
        made = builder.update(self.config, self.objective, self.stream.batches_per_epoch)
        assert isinstance(made, Joint)
        record(made, None, self.device)
        return made

    @cached_property
    def stream(self) -> BatchStream:
        sentences = sentences_of(penn_lengths(4_000), self.cell.vocabulary)
        return BatchStream(sentences, self.cell.batch_size, seed=0, gathering=gathering_on(self.device))


def penn_lengths(count: int) -> np.ndarray:
    """Lengths drawn from a gamma distribution with Penn Treebank's mean and standard deviation."""
    random = np.random.Generator(np.random.PCG64(0))
    shape = (MEAN / DEVIATION) ** 2
    lengths: np.ndarray = random.gamma(shape, MEAN / shape, count).round().clip(2, LONGEST).astype(np.int64)
    return lengths


def sentences_of(lengths: np.ndarray, vocabulary: int) -> Sequences:
    """Sentences of random tokens with these lengths, EOS counted."""
    random = np.random.Generator(np.random.PCG64(0))
    ids = random.integers(EOS + 1, vocabulary + UNPREDICTED, int(lengths.sum()), dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids[offsets[1:] - 1] = EOS
    return Sequences(ids, offsets)

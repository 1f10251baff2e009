"""`textvae bench`: the training step against what the machine's own matrix product allows.

Ceiling and step are measured in turn, in one process, over several rounds, and the best rounds are
compared: a neighbour's load then falls on both. A token costs 6P floating-point operations, P being the
parameters that enter matrix products (2P forward, 4P backward).

Sentences are random tokens with lengths like Penn Treebank's, so that the bench needs no corpus.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from textvae import build
from textvae.config import Config, Draft
from textvae.data.batches import BatchStream, Sequences
from textvae.data.tokenizers import EOS
from textvae.models.text_vae import TextVAE

__all__ = ["bench"]

SIZE = 2048
VOCABULARY = 10_002
SENTENCES = 4_000


def bench(rounds: int = 5, steps: int = 30, threads: int | None = None) -> dict[str, Any]:
    """Rates of the matrix product and of the training step at 256/256/32, batch 32, vocabulary 10,000."""
    if threads:
        torch.set_num_threads(threads)
    draft = Draft()
    draft.merge_file("ptb")
    config = build.complete(draft)
    torch.manual_seed(0)
    model = build.model(config, VOCABULARY)
    train = training_step(config, model)
    products, speeds = [], []
    for _ in range(rounds):
        products.append(matrix_product())
        speeds.append(rate(train, steps))
    ceiling, speed = max(products), max(speeds)
    flops = 6 * parameters_in_products(model)
    return {
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "ceiling_gflops": ceiling / 1e9,
        "training": {
            "flops_per_token": flops,
            "tokens_per_second": speed,
            "fraction_of_ceiling": speed * flops / ceiling,
            "median_fraction_of_ceiling": statistics.median(
                s * flops / p for s, p in zip(speeds, products, strict=True)
            ),
        },
    }


def matrix_product() -> float:
    """Floating-point operations a second of a float32 product of two 2048 × 2048 matrices."""
    a, b = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    torch.mm(a, b)
    began = time.perf_counter()
    for _ in range(4):
        torch.mm(a, b)
    return 4 * 2 * SIZE**3 / (time.perf_counter() - began)


def training_step(config: Config, model: TextVAE) -> Callable[[int], int]:
    """A function that makes optimiser step `i` and says how many tokens it took."""
    stream = BatchStream(random_sentences(), config.data.batch_size, seed=0)
    objective = build.objective(config, model, stream.batches_per_epoch)
    update = build.update(config, objective, stream.batches_per_epoch)
    generator = torch.Generator().manual_seed(0)
    return lambda step: update(stream, step, generator).batch.tokens


def rate(step: Callable[[int], int], steps: int) -> float:
    """Tokens a second over some steps, after one that does not count."""
    step(0)
    began = time.perf_counter()
    tokens = sum(step(i) for i in range(steps))
    return tokens / (time.perf_counter() - began)


def random_sentences() -> Sequences:
    """Random tokens; lengths drawn from a gamma with Penn Treebank's mean of 22 and deviation of 10."""
    random = np.random.Generator(np.random.PCG64(0))
    lengths = np.clip(random.gamma(4.84, 22 / 4.84, SENTENCES), 2, 80).astype(np.int64)
    ids = random.integers(EOS + 1, VOCABULARY, lengths.sum(), dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids[offsets[1:] - 1] = EOS
    return Sequences(ids, offsets)


def parameters_in_products(model: TextVAE) -> int:
    """Elements of all matrices but the embeddings, which are looked up and not multiplied."""
    looked_up = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    return sum(p.numel() for p in model.parameters() if p.dim() > 1 and id(p) not in looked_up)

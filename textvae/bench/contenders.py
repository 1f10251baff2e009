"""The contenders of the benchmark: functions that do some work and return its amount.

ceiling                        floating-point operations of a product of two square matrices, by `torch.mm`
product                        the same by `models.products`: the faster of two libraries on a CPU
training                       tokens of an optimiser step
packed, padded                 tokens of a step of the plain reference
decoder                        tokens of one pass of the decoder, without padding
evaluation                     tokens × samples of an importance-weighted estimate, in float32 as always
encoder, recurrence, output    tokens of that part, forward and backward
clipping, optimiser            steps, without computing gradients
data                           tokens of batches that are only drawn
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from textvae.bench.cell import Workload, penn_lengths, sentences_of
from textvae.bench.reference import PlainStep, PlainVAE
from textvae.bench.timing import Work
from textvae.data.batches import Batch, Sequences, collate
from textvae.evaluation.estimators import importance_weighted_nll
from textvae.evaluation.noise import SentenceNoise
from textvae.models.decoders import LSTMDecoder
from textvae.models.modes import inert
from textvae.models.output import word_log_probs
from textvae.models.products import product
from textvae.training.updates.joint import gradient_norms

__all__ = ["PLAIN", "SAMPLES", "STEP", "WHOLE", "evaluation", "training"]

SAMPLES = 16
"""Samples of z per sentence in the timed evaluation: one chunk."""
ROWS = 512
"""Sentences in the decoder's pass: as many as evaluation decodes at once, counting samples."""


def ceiling(load: Workload) -> Work:
    return _squares(load, torch.mm)


def fastest(load: Workload) -> Work:
    return _squares(load, product)


def _squares(load: Workload, multiply: Callable[[Tensor, Tensor], Tensor]) -> Work:
    size = 2048 if load.device.type == "cpu" else 8192
    dtype = torch.bfloat16 if load.cell.precision == "bf16" else torch.float32
    a, b = torch.randn(2, size, size, device=load.device, dtype=dtype)

    def work() -> int:
        multiply(a, b)
        return 2 * size**3

    return work


def training(load: Workload) -> Work:
    """On a GPU the first call, which is not timed, is two epochs: a step is recorded when its shape comes again."""
    update, stream, generator = load.update, load.stream, load.generator
    first = [2 * stream.batches_per_epoch] if load.device.type == "cuda" else []

    def work() -> int:
        steps = first.pop() if first else 1
        return sum(update(stream, 0, generator).batch.tokens for _ in range(steps))

    return work


def packed(load: Workload) -> Work:
    return _plain(load, packed=True)


def padded(load: Workload) -> Work:
    return _plain(load, packed=False)


def _plain(load: Workload, packed: bool) -> Work:
    cell = load.cell
    torch.manual_seed(0)
    model = PlainVAE(cell.tokens, cell.embedding_dim, cell.hidden_dim, cell.latent_dim, packed=packed)
    return PlainStep(model, load.stream.sequences, cell.batch_size, load.device)


def decoder(load: Workload) -> Work:
    length = int(penn_lengths(1_000).mean())
    sentences = sentences_of(np.full(ROWS, length), load.cell.vocabulary)
    batch = collate([sentences[i] for i in range(ROWS)]).to(load.device)
    z = torch.randn(1, ROWS, load.cell.latent_dim, device=load.device)

    def work() -> int:
        with inert(load.model):
            load.model.decoder(batch, z)
        return batch.tokens

    return work


def evaluation(load: Workload) -> Work:
    sentences = middling(load.cell.vocabulary)
    noise = SentenceNoise(0, load.cell.latent_dim)

    def work() -> int:
        importance_weighted_nll(load.model, sentences, SAMPLES, noise)
        return SAMPLES * len(sentences.ids)

    return work


def middling(vocabulary: int, batch: int = 32, split: int = 3_761) -> Sequences:
    """The middle batch, by length, of a split as large as Penn Treebank's test split."""
    start = split // 2 // batch * batch
    return sentences_of(np.sort(penn_lengths(split))[start : start + batch], vocabulary)


def data(load: Workload) -> Work:
    return lambda: sum(next(load.stream).tokens for _ in range(20))


def optimiser(load: Workload) -> Work:
    return _after_backward(load, load.update.optimiser.step)


def clipping(load: Workload) -> Work:
    model, one = load.model, torch.ones((), device=load.device)

    def clip() -> None:
        gradient_norms(load.objective, model.posterior, model.decoder)
        torch._foreach_mul_([p.grad for p in model.parameters() if p.grad is not None], one)

    return _after_backward(load, clip)


def _after_backward(load: Workload, act: Callable[[], object]) -> Work:
    """Run an operation on the gradients with zeros, so that no weight changes."""
    gradients = [(p, torch.zeros_like(p)) for p in load.model.parameters()]

    def work() -> int:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        act()
        load.model.zero_grad(set_to_none=True)
        return 1

    return work


def encoder(load: Workload) -> Work:
    def backward(batch: Batch) -> None:
        q = load.model.posterior(batch)
        (q.mean.sum() + q.variance.sum()).backward()

    return _there_and_back(load, backward)


def recurrence(load: Workload) -> Work:
    def backward(batch: Batch) -> None:
        z = torch.zeros(1, batch.sentences, load.cell.latent_dim, device=load.device, requires_grad=True)
        _lstm(load).hidden(batch.inputs, z).sum().backward()

    return _there_and_back(load, backward)


def output(load: Workload) -> Work:
    weight, width = _lstm(load).output_weight, load.cell.hidden_dim

    def backward(batch: Batch) -> None:
        states = torch.zeros(batch.tokens, width, device=load.device, requires_grad=True)
        words = torch.zeros(batch.tokens, dtype=torch.long, device=load.device)
        with torch.autocast(load.device.type, torch.bfloat16, enabled=load.cell.precision == "bf16"):
            log_probs = word_log_probs(states, weight, words)
        log_probs.mean().backward()

    return _there_and_back(load, backward)


def _there_and_back(load: Workload, backward: Callable[[Batch], None]) -> Work:
    """Run a part of the model on the next batch, forward and backward."""

    def work() -> int:
        batch = next(load.stream)
        load.model.zero_grad(set_to_none=True)
        backward(batch)
        return batch.tokens

    return work


def _lstm(load: Workload) -> LSTMDecoder:
    made = load.model.decoder
    assert isinstance(made, LSTMDecoder)
    return made


WHOLE: dict[str, Callable[[Workload], Work]] = {
    "ceiling": ceiling,
    "product": fastest,
    "training": training,
    "decoder": decoder,
    "evaluation": evaluation,
}
PLAIN: dict[str, Callable[[Workload], Work]] = {"packed": packed, "padded": padded}
STEP: dict[str, Callable[[Workload], Work]] = {
    "encoder": encoder,
    "recurrence": recurrence,
    "output": output,
    "clipping": clipping,
    "optimiser": optimiser,
    "data": data,
}
"""The parts of a training step, each on its own."""

"""Does the decoder listen to z? Its likelihood and accuracy under other z, and its gradient with respect to z.

    listening             G = distortion under another sentence's z − distortion under its own
    distortion under z    −log p(x|z), with z the sentence's own, the prior's or another sentence's
    words right           #{t : argmax_w p(w | w₍<ₜ₎, z) = wₜ}, given all words before
    gradient norm         ‖∂ log p(x|z) / ∂z‖ at the sentence's own z
    gain at position t    log p(wₜ | w₍<ₜ₎, z) − log p_LM(wₜ | w₍<ₜ₎); net of the rate, Σₜ gain − rate

A gain over a language model counts only net of the rate: a higher rate can always lower the distortion.

References
----------
Bowman et al. 2016, *Generating Sentences from a Continuous Space*: the decoder that ignores z.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from textvae.data.batches import Batch, Sequences, longest_first
from textvae.evaluation.estimators import Survey, by_sentence, standard_error
from textvae.models.modes import fixed, inert
from textvae.models.text_vae import TextVAE

__all__ = [
    "another",
    "distortion_under",
    "gradient_norms",
    "listening",
    "mean_along",
    "position_gain",
    "token_log_probs",
    "words_right",
]

BATCH = 64
SEEN = 30
"""Minimum number of sentences that reach a position for its mean to be reported."""


def listening(model: TextVAE, sequences: Sequences, survey: Survey, seed: int, batch_size: int = BATCH) -> Tensor:
    """G of every sentence (N,): its distortion under a random other sentence's z minus that under its own."""
    other = another(len(sequences), seed)
    return distortion_under(model, sequences, survey.z[other], batch_size) - survey.distortion


def another(count: int, seed: int) -> Tensor:
    """For each of `count` sentences the index of another (N,): a random permutation with a single cycle."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(count)
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)
    return torch.from_numpy(other)


def mean_along(name: str, values: Tensor, other: Tensor) -> dict[str, float]:
    """The mean of values (N,) that compare sentences with another's z, and its standard error under `name`_se.

    The value of sentence n depends on the z of sentence other(n), whose own value depends on it too: along the
    cycle, each value is correlated with the next. With h the values less their mean, the variance of the mean is
    Σₙ (hₙ² + 2 hₙ h_other(n)) / N², and at least that of independent values.
    """
    centred = values.double() - values.double().mean()
    shared = 2 * (centred * centred[other]).sum().clamp_min(0)
    variance = (centred.square().sum() + shared) / max(len(values) - 1, 1) / len(values)
    error = float(variance.sqrt()) if len(values) > 1 else math.nan
    return {name: float(values.double().mean()), f"{name}_se": error}


def distortion_under(model: TextVAE, sequences: Sequences, z: Tensor, batch_size: int = BATCH) -> Tensor:
    """−log p(x|z) of every sentence (N,), in nats, under the z (N, D) given for it."""

    def distortion(batch: Batch, code: Tensor) -> Tensor:
        log_probs: Tensor = model.decoder(batch, code[None])
        return -log_probs.sum(-1)[0]

    return _under(model, sequences, z, distortion, batch_size)


def token_log_probs(model: TextVAE, sequences: Sequences, z: Tensor, batch_size: int = BATCH) -> Tensor:
    """log p(wₜ | w₍<ₜ₎, z) of every token, in the order of `sequences.ids`."""
    result = torch.empty(len(sequences.ids), dtype=z.dtype)
    with inert(model):
        for indices, batch in longest_first(sequences, batch_size):
            code = z[torch.from_numpy(indices)].to(model.device)
            scores = model.decoder(batch.to(model.device), code[None])[0].cpu()
            for row, score in zip(indices.tolist(), scores, strict=True):
                first, end = sequences.offsets[row : row + 2]
                result[first:end] = score[: end - first]
    return result


def words_right(model: TextVAE, sequences: Sequences, z: Tensor, batch_size: int = BATCH) -> Tensor:
    """Number of tokens of each sentence (N,) that are the decoder's first choice, given all before them."""

    def count(batch: Batch, code: Tensor) -> Tensor:
        state = model.decoder.start(code)
        right = torch.zeros_like(batch.lengths)
        for words, targets in zip(batch.inputs.T, batch.targets.T, strict=True):
            log_probs, state = model.decoder.step(words, state)
            right += log_probs.argmax(-1) == targets  # never on padding, whose probability is 0
        return right

    return _under(model, sequences, z, count, batch_size)


def gradient_norms(model: TextVAE, sequences: Sequences, z: Tensor, batch_size: int = BATCH) -> Tensor:
    """‖∂ log p(x|z) / ∂z‖ of every sentence (N,), in nats per unit of z, at the z (N, D) given for it."""

    def norm(batch: Batch, code: Tensor) -> Tensor:
        with fixed(model):
            code = code.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(model.decoder(batch, code[None]).sum(), code)
        norms: Tensor = gradient.norm(dim=1)
        return norms

    return _under(model, sequences, z, norm, batch_size)


def position_gain(own: Tensor, reference: Tensor, sequences: Sequences, rate: Tensor) -> dict[str, object]:
    """Gain over a language model by position and in total, before and after subtracting the rate (N,).

    `own` and `reference` are log-probabilities of every token, as `token_log_probs` gives them.
    """
    gain = (own - reference).double()
    sentence = torch.from_numpy(np.repeat(np.arange(len(sequences)), sequences.lengths))
    position = torch.arange(len(gain)) - torch.from_numpy(sequences.offsets)[sentence]
    total = torch.zeros(len(sequences), dtype=torch.float64).index_add_(0, sentence, gain)
    counts = position.bincount()
    shown = range(int((counts >= min(SEEN, len(sequences))).sum()))
    columns = [gain[position == place] for place in shown]
    net = total - rate.double()
    return {
        "lm_gain": float(total.mean()),
        "lm_gain_se": standard_error(total),
        "lm_gain_net_of_rate": float(net.mean()),
        "lm_gain_net_of_rate_se": standard_error(net),
        "lm_gain_by_position": [float(column.mean()) for column in columns],
        "lm_gain_by_position_se": [standard_error(column) for column in columns],
        "sentences_by_position": [len(column) for column in columns],
    }


def _under(
    model: TextVAE, sequences: Sequences, z: Tensor, of: Callable[[Batch, Tensor], Tensor], batch_size: int
) -> Tensor:
    """`of(batch, z)` of every sentence (N,), where it gets a batch and its rows of z (N, D) on the device."""
    (found,) = by_sentence(
        model,
        sequences,
        lambda batch, rows: (of(batch.to(model.device), z[rows].to(model.device)),),
        batch_size=batch_size,
    )
    return found

"""Tiny models and batches, exact answers by enumeration and quadrature, and the checks of measurement.md.

The checks are functions, so that the same one passes for our estimators and rejects the broken ones.
"""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from textvae.build import SLOTS
from textvae.data.batches import Batch, Sequences, collate
from textvae.data.tokenizers import EOS, UNK
from textvae.evaluation.noise import SentenceNoise
from textvae.models.terms import Pass, forward_pass, log_weight
from textvae.models.text_vae import TextVAE

torch.set_num_threads(1)
# Two threads wait for each other at these sizes: ten times slower on a busy machine.

VOCABULARY = 7
WORDS = (UNK, 4, 5, 6)
"""PAD, BOS and EOS aside: with EOS, five types can be predicted."""

HIDDEN = 5
SIZES = {"embedding_dim": HIDDEN, "hidden_dim": HIDDEN}
SILENT = {"dropout_in": 0.0, "dropout_out": 0.0}

MEMBERS: Mapping[str, Mapping[str, Sequence[dict[str, Any]]]] = {
    "model.encoder": {
        "lstm": [
            {**SIZES, "bidirectional": both, "pooling": pooling, "layers": layers}
            for both, pooling, layers in product((False, True), ("last", "mean", "max"), (1, 2))
        ],
        "none": [{}],
    },
    "model.posterior": {"diagonal": [{}], "dirac": [{}]},
    "model.prior": {"standard_normal": [{}]},
    "model.decoder": {
        "lstm": [
            {**SIZES, "z_to": z_to, "tied": tied, "inputless": inputless, "layers": layers}
            for z_to, tied, inputless, layers in product(
                ("state", "input", "both"), (False, True), (False, True), (1, 2)
            )
        ],
    },
    "objective.weight": {
        "constant": [{}, {"value": 0.3}, {"value": 0.0}],
        "linear": [{"steps": 10}, {"steps": 1}, {"steps": 0}, {"steps": 7, "start": 0.8, "end": 0.2}],
        "sigmoid": [{}, {"midpoint": 20, "steepness": 0.5}, {"midpoint": 0, "steepness": 3.0, "end": 0.4}],
        "cyclical": [
            {"length": 10},
            {"length": 1, "cycles": 1},
            {"length": 7, "cycles": 3, "ratio": 0.6, "start": 0.1, "end": 0.9},
            {"length": 100, "cycles": 2, "ratio": 0.55},
            {"length": 5, "cycles": 2, "ratio": 1.0},
        ],
    },
    "objective.penalty": {
        "rate": [{}],
        "none": [{}],
        "free_bits_per_dimension": [
            {"nats_per_dimension": nats, "over": over, "form": form}
            for nats, over, form in product((0.0, 0.3), ("batch", "sentence"), ("max", "mask"))
        ],
        "free_bits_total": [
            {"nats_total": nats, "over": over, "form": form}
            for nats, over, form in product((0.0, 0.3), ("batch", "sentence"), ("max", "mask"))
        ],
    },
}
"""Every member of every slot whose family has invariants, with the options to test it under."""


def members(slot: str, *, kinds: Iterable[str] | None = None) -> list[Any]:
    """(kind, options) of every entry of a slot, as test parameters."""
    return [
        pytest.param(
            kind, options, id=":".join([kind, *(f"{k}={v}" for k, v in options.items() if k not in SIZES)])
        )
        for kind, variants in MEMBERS[slot].items()
        for options in variants
        if kinds is None or kind in kinds
    ]


def make(slot: str, kind: str, *context: Any, **options: Any) -> Any:
    """A member of a slot; torch's remark about the empty weights of `latent_dim` 0 is left out."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        return SLOTS[slot][kind](*context, **options)


def rows_of(*rows: Sequence[int]) -> list[np.ndarray]:
    """Rows of words, EOS appended to each."""
    return [np.array([*row, EOS], dtype=np.int32) for row in rows]


def batch_of(*rows: Sequence[int]) -> Batch:
    return collate(rows_of(*rows))


def sequences_of(rows: Iterable[Sequence[int]]) -> Sequences:
    full = rows_of(*rows)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in full])]).astype(np.int64)
    return Sequences(np.concatenate(full), offsets)


def random_rows(count: int, longest: int, seed: int = 0) -> list[list[int]]:
    """Rows of 0 to `longest` random words."""
    random = np.random.default_rng(seed)
    return [random.choice(WORDS, size=random.integers(0, longest + 1)).tolist() for _ in range(count)]


def randomise(module: torch.nn.Module, scale: float, seed: int) -> None:
    """Every parameter from U(−scale, scale)."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        values = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data = ((2 * values - 1) * scale).to(parameter.dtype)


def tiny(
    latent_dim: int = 2,
    *,
    encoder: tuple[str, dict[str, Any]] | None = None,
    posterior: str = "diagonal",
    decoder: tuple[str, dict[str, Any]] | None = None,
    scale: float = 1.0,
    seed: int = 0,
    vocabulary: int = VOCABULARY,
) -> TextVAE:
    """A random float64 model in evaluation mode; `scale` is the width of its weights."""
    kind, options = encoder or ("lstm", SIZES)
    built = make("model.encoder", kind, vocabulary, **options)
    decoder_kind, decoder_options = decoder or ("lstm", SIZES)
    model = TextVAE(
        make("model.posterior", posterior, built, latent_dim),
        make("model.prior", "standard_normal", latent_dim),
        make("model.decoder", decoder_kind, vocabulary, latent_dim, **{**SILENT, **decoder_options}),
    ).double()
    randomise(model, scale, seed)
    return model.eval()


def deafen(model: TextVAE) -> TextVAE:
    """The same model with a decoder that ignores z."""
    decoder: Any = model.decoder
    decoder.first_state.weight.data.zero_()
    if decoder.z_at_input:
        decoder.lstm.weight_ih_l0.data[:, -model.latent_dim :] = 0
    return model


def alive(latent_dim: int) -> TextVAE:
    """A random model with D of 1 or 2 whose decoder hears z, and whose q is wide but not the posterior."""
    model = tiny(latent_dim, seed={1: 4, 2: 2}[latent_dim])
    decoder, q = model.decoder, model.posterior.parameters_of_q.weight.data
    loud = {1: 2.0, 2: 1.5}[latent_dim]
    decoder.first_state.weight.data *= loud
    decoder.lstm.weight_ih_l0.data[:, -latent_dim:] *= loud
    decoder.output.weight.data *= loud + 0.5
    q[:latent_dim] *= {1: 3.0, 2: 1.5}[latent_dim]
    q[latent_dim:] *= 0.15
    return model


def complete_strings(longest: int, words: Sequence[int] = WORDS) -> Iterator[tuple[int, ...]]:
    """All sentences of at most `longest` tokens, EOS counted; rows without their EOS."""
    for length in range(longest):
        yield from product(words, repeat=length)


def unfinished(length: int, words: Sequence[int] = WORDS) -> list[np.ndarray]:
    """All prefixes of `length` words that have not ended: rows for `collate`, without EOS."""
    return [np.array(row, dtype=np.int32) for row in product(words, repeat=length)]


@torch.no_grad()
def log_likelihood(model: TextVAE, batch: Batch, z: Tensor) -> Tensor:
    """log p(x|z) (G, B) at points z (G, D), the same for every sentence."""
    tokens = model.decoder(batch, z[:, None].expand(-1, batch.sentences, -1))
    return tokens.sum(-1)


class Quadrature:
    """The truth about sentences under a model with D ≤ 2, on a grid over z (trapezoid rule, float64)."""

    def __init__(self, model: TextVAE, batch: Batch, spacing: float, reach: float = 9.0) -> None:
        axis = torch.arange(-reach, reach + spacing / 2, spacing, dtype=torch.float64)
        self.z = torch.cartesian_prod(*[axis] * model.latent_dim).reshape(-1, model.latent_dim)
        self.log_volume = model.latent_dim * math.log(spacing)
        with torch.no_grad():
            self.log_prior = model.prior().log_prob(self.z)[:, None]
            posterior = model.posterior(batch)
            self.log_q = posterior.log_prob(self.z[:, None].expand(-1, batch.sentences, -1))
        self.log_likelihood = log_likelihood(model, batch, self.z)
        joint = self.log_likelihood + self.log_prior
        self.log_evidence = (joint + self.log_volume).logsumexp(0)
        self.log_posterior = joint - self.log_evidence

    def under_q(self, values: Tensor) -> Tensor:
        """E_q of values (G, B)."""
        return ((self.log_q + self.log_volume).exp() * values).sum(0)

    @property
    def distortion(self) -> Tensor:
        return -self.under_q(self.log_likelihood)

    @property
    def rate(self) -> Tensor:
        return self.under_q(self.log_q - self.log_prior)

    @property
    def gap(self) -> Tensor:
        """KL(q(z|x) ‖ p(z|x))."""
        return self.under_q(self.log_q - self.log_posterior)

    @property
    def elbo(self) -> Tensor:
        """log p(x) − KL(q(z|x) ‖ p(z|x)): never by way of distortion and rate."""
        return self.log_evidence - self.gap

    @property
    def weight_variance(self) -> Tensor:
        """Var_q(w / p(x)) = ∫ p(z|x)² / q(z|x) dz − 1."""
        return (2 * self.log_posterior - self.log_q + self.log_volume).exp().sum(0) - 1


def truth(model: TextVAE, batch: Batch, spacing: float | None = None) -> Quadrature:
    """The quadrature on a grid whose doubling changes no answer by 1e-6 (a variance: of itself)."""
    spacing = spacing or (0.04 if model.latent_dim == 1 else 0.08)
    coarse, fine = Quadrature(model, batch, 2 * spacing), Quadrature(model, batch, spacing)
    for name in ("log_evidence", "distortion", "rate", "gap", "weight_variance"):
        exact = getattr(fine, name)
        error = ((getattr(coarse, name) - exact).abs() / exact.abs().clamp_min(1)).max()
        assert error < 1e-6, f"{name} is not exact: doubling the grid moves it by {error:.1e}"
    return fine


@torch.no_grad()
def draw_log_weights(model: TextVAE, batch: Batch, draws: int, seed: int, chunk: int = 4096) -> Tensor:
    """(draws, B) log-weights by the library's own route, keyed noise included."""
    noise = SentenceNoise(seed, model.latent_dim)
    parts = [
        log_weight(forward_pass(model, batch, noise(batch, start, min(start + chunk, draws))))
        for start in range(0, draws, chunk)
    ]
    return torch.cat(parts)


@torch.no_grad()
def draw_pass(model: TextVAE, batch: Batch, draws: int, seed: int) -> Pass:
    """One pass with many draws of z for every sentence."""
    return forward_pass(model, batch, SentenceNoise(seed, model.latent_dim)(batch, 0, draws))


def check_unbiased(estimates: Tensor, exact: Tensor, deviations: float = 3.5) -> None:
    """Means of replications (R, B) meet exact values (B,) within their standard errors."""
    error = estimates.double().std(0) / math.sqrt(len(estimates))
    z = (estimates.double().mean(0) - exact) / error.clamp_min(1e-12)
    assert z.abs().max() < deviations, f"biased: off by {z.tolist()} standard errors"


def check_standard_errors(z_scores: Tensor) -> None:
    """z-scores (R,) of at least 200 replications have mean 0 and s.d. 1."""
    count = z_scores.numel()
    assert count >= 200
    mean, spread = z_scores.double().mean(), z_scores.double().std()
    assert abs(mean) < 3.5 / math.sqrt(count), f"z-scores have mean {mean:.3f}"
    assert abs(spread - 1) < 0.08 + 3 / math.sqrt(2 * count), f"z-scores have s.d. {spread:.3f}"


def check_lower_bound(estimates: Tensor, exact: Tensor) -> None:
    """The mean over replications (R, B) is never above the exact value (B,) by 3 standard errors."""
    error = estimates.double().std(0) / math.sqrt(len(estimates))
    above = (estimates.double().mean(0) - exact) / error.clamp_min(1e-12)
    assert above.max() < 3, f"above the exact value by {above.max():.1f} standard errors"


def check_tight(estimates: Tensor, exact: Tensor, variance: Tensor, samples: int) -> None:
    """The bias of a K-sample bound (R, B) at large K is −Var(w/p)/2K, to 15 %."""
    bias = estimates.double().mean(0) - exact
    expected = -variance / (2 * samples)
    assert ((bias - expected).abs() < 0.15 * expected.abs()).all(), f"bias {bias}, expected {expected}"

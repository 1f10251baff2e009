"""Tiny models and batches, exact answers by enumeration and quadrature, and the checks of what is estimated.

The checks are functions, so that the same one passes for our estimators and rejects the broken ones.
"""

import inspect
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from textvae.builder import SLOTS
from textvae.data.batches import Batch, Sequences, collate
from textvae.data.tokenizers import EOS, UNK
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.quadrature import Quadrature, on_grid
from textvae.models.decoders import LSTMDecoder
from textvae.models.linear_gaussian import Coordinates, LinearGaussian, LinearPosterior
from textvae.models.terms import Pass, forward_pass, log_weight
from textvae.models.text_vae import TextVAE
from textvae.objectives.objective import Objective

torch.set_num_threads(1)
# Two threads wait for each other at these sizes: ten times slower on a busy machine.

VOCABULARY = 7
WORDS = (UNK, 4, 5, 6)
"""PAD, BOS and EOS aside: with EOS, five types can be predicted."""

HIDDEN = 5
SIZES = {"embedding_dim": HIDDEN, "hidden_dim": HIDDEN}

SCHEDULED: Mapping[str, Sequence[dict[str, Any]]] = {
    "constant": [{}, {"value": 0.3}, {"value": 0.0}],
    "linear": [{"steps": 10}, {"steps": 1}, {"steps": 0}, {"steps": 7, "start": 0.8, "end": 0.2}],
    "sigmoid": [{}, {"midpoint": 20, "steepness": 0.5}, {"midpoint": 0, "steepness": 3.0, "end": 0.4}],
    "tanh": [{}, {"midpoint": 20, "width": 5.0}, {"midpoint": 0, "width": 3.0, "end": 0.4}],
    "cosine": [{"steps": 10}, {"steps": 1}, {"steps": 0}, {"steps": 7, "start": 0.8, "end": 0.2}],
    "cyclical": [
        {"length": 10},
        {"length": 1, "cycles": 1},
        {"length": 7, "cycles": 3, "ratio": 0.6, "start": 0.1, "end": 0.9},
        {"length": 100, "cycles": 2, "ratio": 0.55},
        {"length": 5, "cycles": 2, "ratio": 1.0},
    ],
}

MEMBERS: Mapping[str, Mapping[str, Sequence[dict[str, Any]]]] = {
    "model.encoder": {
        "lstm": [
            {**SIZES, "bidirectional": both, "pooling": pooling, "layers": layers}
            for both, pooling, layers in product((False, True), ("last", "mean", "max"), (1, 2))
        ],
        "bag_of_words": [{"embedding_dim": HIDDEN, "pooling": pooling} for pooling in ("mean", "max")],
        "transformer": [
            {"embedding_dim": HIDDEN, "hidden_dim": 6, "layers": layers, "heads": 2, "pooling": pooling}
            for layers, pooling in product((1, 2), ("mean", "max"))
        ],
        "none": [{}],
    },
    "model.posterior": {
        "diagonal": [{}],
        "dirac": [{}],
        "full": [{}],
        "flow": [
            {"hidden_dim": HIDDEN, "context_dim": 3, "family": family, "coupling": coupling}
            for family, coupling in product(("affine", "spline"), (True, False))
        ],
        "fixed_variance": [{}],
        "vmf": [{}, {"concentration": 0.5}],
        "power_spherical": [{}, {"concentration": 20.0}],
        "batch_norm": [{}],
        "scale": [{}],
        "du": [{}, {"dropout": 0.0, "floor": 0.0}],
        "delta": [{}, {"nats_per_dimension": 1.5}],
    },
    "model.prior": {
        "standard_normal": [{}],
        "uniform_sphere": [{}],
        "mixture": [{"components": 1}, {"components": 4}],
        "vamp": [{"components": 3}],
        "flow": [{"hidden_dim": HIDDEN}, {"hidden_dim": HIDDEN, "family": "spline", "coupling": False}],
    },
    "model.decoder": {
        "lstm": [
            {**SIZES, "z_to": z_to, "tied": tied, "inputless": inputless, "layers": layers}
            for z_to, tied, inputless, layers in product(
                ("state", "input", "both"), (False, True), (False, True), (1, 2)
            )
        ]
        + [
            {**SIZES, "z_to": "everywhere", "inputless": inputless, "layers": layers}
            for inputless, layers in product((False, True), (1, 2))
        ],
        "bag_of_words": [{"hidden_dim": HIDDEN}],
        "window": [
            {**SIZES, "order": order, "inputless": inputless}
            for order, inputless in ((0, False), (1, False), (2, False), (4, False), (2, True))
        ],
        "dilated_convolution": [
            {**SIZES, "inner_dim": 3, "kernel": kernel, "dilations": dilations, "inputless": inputless}
            for kernel, dilations, inputless in (
                (1, (1,), False),
                (2, (1, 2), False),
                (3, (1, 2, 4), False),
                (3, (2, 1), True),
            )
        ],
        "injective_lstm": [
            {**SIZES, "convex_dim": 4, "convex_layers": convex, "layers": layers, "inputless": inputless}
            for convex, layers, inputless in ((1, 1, False), (2, 1, False), (3, 2, False), (2, 1, True))
        ],
        "transformer": [
            {
                "embedding_dim": 6,
                "hidden_dim": 6,
                "heads": heads,
                "layers": layers,
                "tied": tied,
                "inputless": inputless,
            }
            for heads, layers, tied, inputless in (
                (1, 1, False, False),
                (2, 2, False, False),
                (3, 2, True, False),
                (2, 2, False, True),
            )
        ],
    },
    "objective.weight": {
        **SCHEDULED,
        "pi": [
            {"target_rate": 3.0},
            {"target_rate": 3.0, "kp": 0.5, "ki": 0.02, "kd": 0.1, "low": 0.1, "high": 0.7},
        ],
        "soft_free_bits": [{"target_rate": 3.0}, {"target_rate": 3.0, "change": 0.02, "slack": 0.0, "start": 1.0}],
        "minimum_rate": [{"target_rate": 3.0}, {"target_rate": 3.0, "lr": 0.05, "decay": 0.5, "start": 0.2}],
    },
    "objective.distortion_weight": {
        **SCHEDULED,
        "constraint": [
            {"target_distortion": 3.0},
            {"target_distortion": 3.0, "lr": 0.1, "smoothing": 0.5, "start": 2.0, "low": 0.5, "high": 3.0},
        ],
    },
    "objective.auxiliary": {
        "none": [{}],
        "bag_of_words": [{"hidden_dim": HIDDEN}, {"hidden_dim": HIDDEN, "weight": 0.5}],
        "coupled": [{}, {"match": 0.0}],
        "mmd": [{"kernel": kernel, "weight": weight} for kernel in ("imq", "rbf") for weight in (1.0, 10.0)],
        "mutual_divergence": [{}, {"diversity": 2.0, "smoothness": 0.0}],
    },
    "objective.bound": {
        "elbo": [{}],
        "iwae": [{"gradient": gradient} for gradient in ("standard", "stl", "dreg")],
    },
    "objective.inference": {"amortised": [{}], "semi_amortised": [{}, {"steps": 2, "momentum": 0.0}]},
    "objective.corruption": {
        "none": [{}],
        "words": [{}, {"delete": 0.0}, {"delete": 1.0}, {"delete": 0.2, "blank": 0.3, "shuffle": 3}],
    },
    "objective.penalty": {
        "rate": [{}],
        "none": [{}],
        "capacity": [{"target_rate": 1.5}, {"target_rate": 1.5, "steps": 10}],
        "unit_variance": [{}],
        "unscaled_rate": [{}],
        "free_bits_per_dimension": [
            {"nats_per_dimension": nats, "over": over, "form": form}
            for nats, over, form in product((0.0, 0.3), ("batch", "sentence"), ("max", "mask"))
        ],
        "free_bits_per_group": [
            {"nats_per_group": nats, "groups": groups, "over": over, "form": form}
            for nats, groups, over, form in product((0.0, 0.3), (1, 2), ("batch", "sentence"), ("max", "mask"))
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
        return SLOTS[slot].members[kind](*context, **options)


def silent(kind: str) -> dict[str, float]:
    """The options that switch off all dropout of a kind of decoder."""
    known = inspect.signature(SLOTS["model.decoder"].members[kind]).parameters
    return {name: 0.0 for name in known if name.startswith("dropout")}


def objective_of(model: TextVAE, *, samples: int = 1, **parts: Any) -> Objective:
    """An objective around a model; a part is an object, a number (constant), a name, or (name, options)."""

    def part(slot: str, default: Any, *context: Any) -> Any:
        given = parts.pop(slot, default)
        if isinstance(given, (int, float)):
            given = ("constant", {"value": given})
        kind, options = (given, {}) if isinstance(given, str) else given if isinstance(given, tuple) else (None, {})
        return given if kind is None else make(f"objective.{slot}", kind, *context, **options)

    objective = Objective(
        model,
        weight=part("weight", 1.0),
        distortion_weight=part("distortion_weight", 1.0),
        penalty=part("penalty", "rate"),
        auxiliary=part("auxiliary", "none", model, VOCABULARY),
        bound=part("bound", "elbo"),
        corruption=part("corruption", "none"),
        inference=part("inference", "amortised"),
        word_dropout=part("word_dropout", 0.0),
        teacher_forcing=part("teacher_forcing", 1.0),
        samples=samples,
    )
    assert not parts, f"no such parts of an objective: {parts}"
    return objective


def rows_of(*rows: Sequence[int]) -> list[np.ndarray]:
    """Rows of words, EOS appended to each."""
    return [np.array([*row, EOS], dtype=np.int32) for row in rows]


def batch_of(*rows: Sequence[int]) -> Batch:
    return collate(rows_of(*rows))


def sequences_of(rows: Iterable[Sequence[int]]) -> Sequences:
    full = rows_of(*rows)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in full])]).astype(np.int64)
    return Sequences(np.concatenate(full), offsets)


NO_SENTENCES = Sequences(np.empty(0, dtype=np.int32), np.zeros(1, dtype=np.int64))


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
    prior: str = "standard_normal",
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
        make("model.prior", prior, latent_dim),
        make("model.decoder", decoder_kind, vocabulary, latent_dim, **{**silent(decoder_kind), **decoder_options}),
    ).double()
    randomise(model, scale, seed)
    return model.eval()


def deafen(model: TextVAE) -> TextVAE:
    """The same model with a decoder that ignores z: every weight that reads it is 0."""
    decoder: Any = model.decoder
    if not isinstance(decoder, LSTMDecoder):
        decoder.hear.weight.data.zero_()
        return model
    decoder.first_state.weight.data.zero_()
    hears = [decoder.z_at_input, *[decoder.z_everywhere] * (decoder.layers - 1)]
    layers = [lstm for lstm, does in zip(decoder.lstm, hears, strict=True) if does]
    last = [decoder.output_weight] if decoder.z_everywhere else []
    for weight in [*(lstm.weight_ih_l0 for lstm in layers), *last]:
        weight.data[:, -model.latent_dim :] = 0
    return model


def alive(latent_dim: int) -> TextVAE:
    """A random model with D of 1 or 2 whose decoder hears z, and whose q is wide but not the posterior."""
    model = tiny(latent_dim, seed={1: 4, 2: 2}[latent_dim])
    decoder, q = model.decoder, model.posterior
    loud = {1: 2.0, 2: 1.5}[latent_dim]
    decoder.first_state.weight.data *= loud
    decoder.lstm[0].weight_ih_l0.data[:, -latent_dim:] *= loud
    decoder.output.weight.data *= loud + 0.5
    q.mean.weight.data *= {1: 3.0, 2: 1.5}[latent_dim]
    q.log_variance.weight.data *= 0.15
    return model


def solvable(
    latent_dim: int,
    coordinates: int,
    *,
    posterior: str = "diagonal",
    variance: float = 0.5,
    learned: bool = False,
    scale: float = 1.0,
    seed: int = 0,
) -> LinearGaussian:
    """A random linear-Gaussian model in float64, whose W has entries from N(0, scale²)."""
    q = make("model.posterior", posterior, Coordinates(coordinates), latent_dim)
    model = LinearGaussian(q, coordinates, variance=variance, learned=learned).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.decoder.linear.parameters():
        parameter.data = scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    randomise(model.posterior, 0.1, seed)
    return model.eval()


def set_posterior(model: LinearGaussian, q: LinearPosterior) -> None:
    """Write q into the heads of a diagonal or full posterior, which see x and 1."""
    heads: Any = model.posterior
    factor = torch.linalg.cholesky(q.covariance.detach())
    heads.mean.weight.data = torch.cat([q.slope, q.offset[:, None]], 1).detach()
    spreads = [heads.log_variance] if hasattr(heads, "log_variance") else [heads.log_diagonal, heads.below]
    for head in spreads:
        head.weight.data.zero_()
    if hasattr(heads, "log_variance"):
        heads.log_variance.weight.data[:, -1] = q.covariance.detach().diagonal().log()
    else:
        rows, columns = torch.tril_indices(len(factor), len(factor), -1)
        heads.log_diagonal.weight.data[:, -1] = factor.diagonal().log()
        heads.below.weight.data[:, -1] = factor[rows, columns]


def complete_strings(longest: int, words: Sequence[int] = WORDS) -> Iterator[tuple[int, ...]]:
    """All sentences of at most `longest` tokens, EOS counted; rows without their EOS."""
    for length in range(longest):
        yield from product(words, repeat=length)


def unfinished(length: int, words: Sequence[int] = WORDS) -> list[np.ndarray]:
    """All prefixes of `length` words that have not ended: rows for `collate`, without EOS."""
    return [np.array(row, dtype=np.int32) for row in product(words, repeat=length)]


def truth(model: TextVAE, batch: Batch, spacing: float | None = None) -> Quadrature:
    """The quadrature on a grid whose doubling changes no answer by 1e-6 (a variance: of itself)."""
    exact = on_grid(model, batch, spacing or (0.04 if model.latent_dim == 1 else 0.08))
    assert exact.error.max() < 1e-6, f"not exact: doubling the grid moves an answer by {exact.error.max():.1e}"
    variance = exact.weight_variance
    change = (exact.coarser().weight_variance - variance).abs() / variance.clamp_min(1)
    assert change.max() < 1e-6, f"not exact: doubling the grid moves a variance by {change.max():.1e} of itself"
    return exact


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

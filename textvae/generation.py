"""Sentences from z: greedy, sampling and beam search, for any decoder.

Every routine stops at a hard length limit, so it terminates even if the decoder never emits EOS, and can
forbid tokens such as `<unk>`. Random choices use the caller's generator.

References
----------
Holtzman et al. 2020, *The Curious Case of Neural Text Degeneration*: top-p sampling.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from torch import Generator, Tensor

from textvae.data.batches import Sequences
from textvae.data.tokenizers import BOS, EOS, UNK
from textvae.errors import ConfigError, require_whole
from textvae.models.decoders import Decoder
from textvae.models.modes import inert
from textvae.models.text_vae import TextVAE

__all__ = [
    "MAX_LENGTH",
    "Choice",
    "Decoding",
    "beam_search",
    "generate",
    "greedy",
    "interpolate",
    "sampling",
    "simulate",
    "z_from_prior",
]

MAX_LENGTH = 100
"""Maximum number of words of a decoded sentence; a longer one is truncated."""

WIDEST = 1_000
"""Maximum number of hypotheses of a beam: each needs memory for every word of the vocabulary."""

ROWS = 1_024
"""Sentences decoded at a time: each needs as much."""

Choice = Callable[[Tensor], Tensor]
"""Picks words (N,) from log-probabilities (N, V)."""


def greedy(log_probs: Tensor) -> Tensor:
    """The most likely word."""
    return log_probs.argmax(-1)


def sampling(generator: Generator, temperature: float = 1.0, top_p: float = 1.0) -> Choice:
    """Sample from softmax(log p / temperature), truncated to the fewest words that hold `top_p` of the mass."""

    def choose(log_probs: Tensor) -> Tensor:
        probs = (log_probs / temperature).softmax(-1)
        if top_p < 1:
            ranked, order = probs.sort(-1, descending=True)
            behind = ranked.cumsum(-1) - ranked >= top_p
            probs = torch.zeros_like(probs).scatter(-1, order, ranked.masked_fill(behind, 0.0))
        return torch.multinomial(probs, 1, generator=generator)[:, 0]

    return choose


@dataclass(frozen=True)
class Decoding:
    """How z becomes words: greedily, by a beam, or by sampling at a temperature.

    Raises
    ------
    ConfigError
        If an option is out of range, or belongs to another way of decoding.
    """

    temperature: float | None = None
    top_p: float = 1.0
    beam: int = 1
    forbid_unknown: bool = False
    max_length: int = MAX_LENGTH

    def __post_init__(self) -> None:
        temperature = 1.0 if self.temperature is None else self.temperature
        for name, value in {"temperature": temperature, "top_p": self.top_p}.items():
            if isinstance(value, bool) or not isinstance(value, Real):
                raise ConfigError(f"{name} must be a number, not {value!r}")
        if not 1e-6 <= temperature <= 1e6:
            raise ConfigError(
                f"temperature must lie between 1e-6 and 1e6, not {temperature}; the limit 0 is greedy decoding"
            )
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top-p must lie in (0, 1], not {self.top_p}")
        require_whole("beam", self.beam, 1, WIDEST)
        require_whole("max_length", self.max_length, 1)
        if self.beam > 1 and self.temperature is not None:
            raise ConfigError("beam search does not sample: set temperature=None with it, or leave beam out")
        if self.top_p < 1 and self.temperature is None:
            raise ConfigError("top_p only applies to sampling: give a temperature with it, or leave it out")

    def __call__(
        self, decoder: Decoder, z: Tensor, generator: Generator, unknown: Sequence[int] = (UNK,)
    ) -> list[list[int]]:
        """Decode every z (N, D); ids without EOS. `unknown` are the ids of the unknown word."""
        forbidden = unknown if self.forbid_unknown else ()
        if self.beam > 1:
            return beam_search(decoder, z, self.beam, self.max_length, forbidden)
        choose = greedy if self.temperature is None else sampling(generator, self.temperature, self.top_p)
        parts = (generate(decoder, some, choose, self.max_length, forbidden) for some in z.split(ROWS))
        return [row for part in parts for row in part]


def z_from_prior(model: TextVAE, count: int, generator: Generator) -> Tensor:
    """z (count, D) from p(z)."""
    noise = torch.randn((count, model.latent_dim), generator=generator, device=model.device, dtype=model.dtype)
    with inert(model):
        z: Tensor = model.prior().transport(noise)
    return z


def generate(
    decoder: Decoder, z: Tensor, choose: Choice, max_length: int, forbidden: Sequence[int] = ()
) -> list[list[int]]:
    """Decode every z (N, D) word by word until EOS or `max_length` words; ids without EOS."""
    words = torch.full((len(z),), BOS, device=z.device)
    going = torch.ones(len(z), dtype=torch.bool, device=z.device)
    columns = []
    with inert(decoder):
        state = decoder.start(z)
        for _ in range(max_length):
            log_probs, state = decoder.step(words, state)
            words = choose(forbid(log_probs, forbidden)).where(going, EOS)
            going &= words != EOS
            if not going.any():
                break
            columns.append(words)
    if not columns:
        return [[] for _ in range(len(z))]
    return [[word for word in row if word != EOS] for row in torch.stack(columns, 1).tolist()]


def simulate(model: TextVAE, count: int, seed: int, max_length: int = 200) -> tuple[Sequences, Tensor]:
    """Sentences sampled from the model, and the z (count, D) of each: exact draws of (z, x) from p(z) p(x|z).

    Words are sampled at temperature 1 and none is forbidden. A sentence cut at `max_length` words has no EOS,
    so its p(x) is the probability of a prefix.
    """
    generator = torch.Generator(model.device).manual_seed(seed)
    z = z_from_prior(model, count, generator)
    words = generate(model.decoder, z, sampling(generator), max_length)
    rows = [row if len(row) == max_length else [*row, EOS] for row in words]
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    cut = sum(len(row) == max_length for row in words)
    return Sequences(np.concatenate(rows).astype(np.int32), offsets, cut), z


def forbid(log_probs: Tensor, words: Sequence[int]) -> Tensor:
    """Give `words` probability 0; the others are not renormalised."""
    return (
        log_probs.index_fill(-1, torch.tensor(words, device=log_probs.device), -torch.inf) if words else log_probs
    )


def beam_search(
    decoder: Decoder, z: Tensor, width: int, max_length: int, forbidden: Sequence[int] = ()
) -> list[list[int]]:
    """The most likely sentence found by a beam of `width` hypotheses for every z (N, D); ids without EOS."""
    with inert(decoder):
        return [_beam(decoder, row[None], width, max_length, forbidden) for row in z]


def _beam(decoder: Decoder, z: Tensor, width: int, max_length: int, forbidden: Sequence[int]) -> list[int]:
    state = decoder.start(z)
    words = torch.full((1,), BOS, device=z.device)
    scores = torch.zeros(1, device=z.device)
    hypotheses: list[list[int]] = [[]]
    done: list[tuple[float, list[int]]] = []
    for _ in range(max_length):
        log_probs, state = decoder.step(words, state)
        total = (scores[:, None] + forbid(log_probs, forbidden)).flatten()
        best, flat = total.topk(min(2 * width, int((total > -torch.inf).sum())))
        rows, chosen = flat // log_probs.shape[1], flat % log_probs.shape[1]
        ended = chosen == EOS
        done += [(s, hypotheses[r]) for s, r in zip(best[ended].tolist(), rows[ended].tolist(), strict=True)]
        rows, words, scores = rows[~ended][:width], chosen[~ended][:width], best[~ended][:width]
        hypotheses = [[*hypotheses[r], w] for r, w in zip(rows.tolist(), words.tolist(), strict=True)]
        # Scores only fall, so no open hypothesis can overtake a finished one that is already ahead.
        if not hypotheses or (done and max(done)[0] >= scores[0].item()):
            break
        state = tuple(part[rows] for part in state)
    done += [(s, h) for s, h in zip(scores.tolist(), hypotheses, strict=True)] if not done else []
    return max(done)[1]


def interpolate(a: Tensor, b: Tensor, steps: int, spherical: bool = False) -> Tensor:
    """`steps` points (steps, D) from a (D,) to b (D,), both included: straight, or along the great circle.

    Spherical: (sin((1−t)ω) a + sin(tω) b) / sin ω with ω the angle between a and b; straight if they are
    parallel.
    """
    t = torch.linspace(0, 1, steps, device=a.device)[:, None]
    cosine = torch.dot(a, b) / (a.norm() * b.norm()).clamp_min(1e-12)
    if not spherical or cosine.abs() > 1 - 1e-6:
        return (1 - t) * a + t * b
    angle = cosine.acos()
    arc: Tensor = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()
    return arc

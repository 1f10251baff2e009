"""Claim 9's decoders, from weak to strong: runs of each without z and held at several rates, and the best of a class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from notes import HERE, Wanted
from textvae.data.batches import Sequences
from textvae.data.tokenizers import BOS

__all__ = ["EPOCH", "RUNGS", "Rung", "best_of_class", "wanted"]

SMALL = HERE / "small.yaml"
EPOCH, BATCH = 20_000, 64
"""Sentences in an epoch of the stream, and in a batch."""


@dataclass(frozen=True)
class Rung:
    """A decoder of the ladder, by the options that make it; `order` is how many words it sees, None for all."""

    name: str
    kind: str
    options: tuple[tuple[str, Any], ...]
    order: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        silent = {"dropout_out": 0.0} if self.kind == "bag_of_words" else {"dropout_in": 0.0, "dropout_out": 0.0}
        member = {"kind": self.kind, **dict(self.options), **silent}
        return {f"model__decoder__{key}": value for key, value in member.items()}


def _window(order: int) -> Rung:
    return Rung(f"window_{order}", "window", (("order", order), ("embedding_dim", 64), ("hidden_dim", 64)), order)


def _lstm(size: int) -> Rung:
    return Rung(f"lstm_{size}", "lstm", (("embedding_dim", 64), ("hidden_dim", size)))


RUNGS = (
    Rung("bag_of_words", "bag_of_words", (("hidden_dim", 64),), 0),
    *map(_window, (1, 2, 3)),
    *map(_lstm, (16, 32, 64, 128)),
)


def wanted(rung: Rung, rate: float, epochs: int, seed: int) -> Wanted:
    """The run of a decoder with z whose rate is kept from falling under `rate` nats; at 0 of the decoder alone.

    The decoder alone (`latent_dim` 0) is what a collapsed VAE amounts to.
    """
    steps = epochs * EPOCH // BATCH
    floor = {"objective__weight__target_rate": rate, "objective__weight__settles": steps * 2 // 3}
    options = rung.settings | {"training__budget": f"{epochs} epochs", "training__validate_every": "1 epochs"}
    name = f"ladder/{rung.name}-{rate:g}-{epochs}-{seed}"
    return name, (SMALL, "minimum_rate" if rate else "lm"), {**(floor if rate else {}), **options, "seed": seed}


def best_of_class(order: int, seen: Sequences, test: Sequences, size: int) -> tuple[float, np.ndarray]:
    """Bounds on the least −log p(x) that any p(wₜ | the last `order` words) can have, from counts over many sentences.

    From below, in expectation: the best fit to the sentences `seen`, scored on themselves. From above: the
    cross-entropy (N,) of the sentences `test` under counts of orders 0 to `order`, interpolated by Witten & Bell's
    rule, since raw counts have no probability for what was not seen.

    References
    ----------
    Witten & Bell 1991, *The Zero-Frequency Problem*.
    """
    probability = np.full(len(test.ids), 1 / (size - 2))
    for each in range(order + 1):
        grams, counts = np.unique(_grams(seen, each, size), return_counts=True)
        heads, first = np.unique(grams // size, return_index=True)
        totals, kinds = np.add.reduceat(counts, first), np.diff(np.append(first, len(grams)))
        asked = _grams(test, each, size)
        count = _looked_up(grams, counts, asked)
        total, kind = (_looked_up(heads, values, asked // size) for values in (totals, kinds))
        known = total > 0
        probability[known] = ((count + kind * probability) / np.maximum(total + kind, 1))[known]
    least = (totals * np.log(totals)).sum() - (counts * np.log(counts)).sum()
    return float(least) / len(seen), -np.add.reduceat(np.log(probability), test.offsets[:-1])


def _grams(sequences: Sequences, order: int, size: int) -> np.ndarray:
    """Every word behind its last `order` words as one number, the word its last digit; BOS stands before the first."""
    ids = sequences.ids.astype(np.int64)
    place = np.arange(len(ids)) - np.repeat(sequences.offsets[:-1], sequences.lengths)
    grams = np.zeros_like(ids)
    for back in range(order, -1, -1):
        grams = grams * size + np.where(place >= back, np.roll(ids, back), BOS)
    return grams


def _looked_up(keys: np.ndarray, values: Sequence[int] | np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The values of sorted keys, 0 for one that is not there."""
    where = np.searchsorted(keys, asked).clip(max=len(keys) - 1)
    return np.where(keys[where] == asked, np.asarray(values)[where], 0)

"""Claim 9's runs: decoders from weak to strong, each without z and held at several rates."""

from dataclasses import dataclass
from typing import Any

from notes import HERE, Notes
from textvae.api import Vae

__all__ = ["RUNGS", "Rung", "held", "language_model"]

SMALL = HERE / "small.yaml"


@dataclass(frozen=True)
class Rung:
    """A decoder of the ladder, by the options that make it."""

    name: str
    kind: str
    options: tuple[tuple[str, Any], ...]

    @property
    def settings(self) -> dict[str, Any]:
        silent = {"dropout_out": 0.0} if self.kind == "bag_of_words" else {"dropout_in": 0.0, "dropout_out": 0.0}
        member = {"kind": self.kind, **dict(self.options), **silent}
        return {f"model__decoder__{key}": value for key, value in member.items()}


RUNGS = (
    Rung("bag_of_words", "bag_of_words", (("hidden_dim", 64),)),
    Rung("window_1", "window", (("order", 1), ("embedding_dim", 64), ("hidden_dim", 64))),
    Rung("window_2", "window", (("order", 2), ("embedding_dim", 64), ("hidden_dim", 64))),
    Rung("window_3", "window", (("order", 3), ("embedding_dim", 64), ("hidden_dim", 64))),
    Rung("lstm_16", "lstm", (("embedding_dim", 64), ("hidden_dim", 16))),
    Rung("lstm_32", "lstm", (("embedding_dim", 64), ("hidden_dim", 32))),
    Rung("lstm_64", "lstm", (("embedding_dim", 64), ("hidden_dim", 64))),
    Rung("lstm_128", "lstm", (("embedding_dim", 64), ("hidden_dim", 128))),
)


def language_model(notes: Notes, rung: Rung, epochs: int, seed: int = 0) -> Vae:
    """The decoder alone: `latent_dim` 0, what a collapsed VAE amounts to."""
    return notes.trained(
        f"ladder/{rung.name}-0-{epochs}-{seed}", SMALL, "lm", **rung.settings, **_length(epochs), seed=seed
    )


def held(notes: Notes, rung: Rung, rate: float, epochs: int, seed: int = 0) -> Vae:
    """The same decoder with z, its rate kept from falling under `rate` nats."""
    return notes.trained(
        f"ladder/{rung.name}-{rate:g}-{epochs}-{seed}",
        SMALL,
        "minimum_rate",
        objective__weight__target_rate=rate,
        objective__weight__settles=f"{epochs * 2 // 3} epochs",
        **rung.settings,
        **_length(epochs),
        seed=seed,
    )


def _length(epochs: int) -> dict[str, Any]:
    return {"training__budget": f"{epochs} epochs", "training__validate_every": "1 epochs"}

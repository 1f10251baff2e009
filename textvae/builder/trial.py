"""The loss and gradient of a tiny model, computed before training starts to reject what cannot work."""

import traceback

import numpy as np
import torch

from textvae.builder.parts import begin, model, objective, update
from textvae.builder.slots import SLOTS, chosen
from textvae.config import Config, Draft
from textvae.data.batches import collate
from textvae.data.tokenizers import EOS
from textvae.errors import ConfigError, first_line, named
from textvae.objectives.objective import Loss

__all__ = ["try_out"]

TINY = 16
"""Vocabulary size of the tiny model."""


def try_out(config: Config, draft: Draft) -> None:
    """Compute two losses and a gradient with a tiny vocabulary, to reject invalid combinations before training."""
    penalty = draft.blame(("objective", "penalty", "kind"))
    try:
        loss = _trial(config)
    except ConfigError as error:
        slot, _, _ = str(error).partition(":")
        raise ConfigError(f"{draft.whose(tuple(slot.split('.')))}: {error}") from None
    except Exception as error:
        own = _raised_by(error, config)
        if own is not None:
            whose = draft.blame((*own.split("."), "kind"))
            raise ConfigError(f"{whose}: {chosen(config, own).kind} failed: {named(error)}") from None
        if isinstance(error, ValueError):
            raise ConfigError(f"{penalty}: {error}") from None
        if isinstance(error, (RuntimeError, MemoryError, OverflowError)):
            whose = draft.whose(("model", "latent_dim"))
            raise ConfigError(f"{whose}: the model cannot be built: {first_line(error)}") from None
        raise
    for slot, term in (("objective.penalty", loss.penalty), ("objective.auxiliary", loss.auxiliary)):
        if not isinstance(term, torch.Tensor) or term.dim():
            whose, kind = draft.blame((*slot.split("."), "kind")), chosen(config, slot).kind
            what = f"shape {tuple(term.shape)}" if isinstance(term, torch.Tensor) else type(term).__name__
            raise ConfigError(f"{whose}: {kind} must return a scalar tensor, not {what}")
    if not torch.isfinite(loss.terms.distortion).all():
        raise ConfigError(f"{draft.whose(('model', 'init_range'))}: the loss of the untrained model is not finite")
    if not torch.isfinite(loss.value).all() and torch.isfinite(loss.terms.rate).all():
        raise ConfigError(f"{penalty}: the loss of the untrained model is not finite")
    if not torch.isfinite(loss.value).all():
        raise ConfigError(
            f"{penalty}: {config.objective.penalty.kind} needs a rate, and a posterior without a density "
            f"({config.model.posterior.kind}) has none; choose none"
        )


def _trial(config: Config) -> Loss:
    """The second loss of a tiny model, and its gradient: a NaN rate affects a controller only there."""
    batch = collate([np.array([4, 5, EOS]), np.array([6, EOS])])
    with torch.random.fork_rng(devices=[]):
        built = model(config, TINY)
        if config.first is not None:
            begin(built, model(config.first, TINY), config)
        tiny = objective(config, built, TINY, steps_per_epoch=1)
        update(config, tiny, steps_per_epoch=1)
        generator = torch.Generator().manual_seed(0)
        tiny.observe(tiny(batch, 0, generator).terms)
        loss: Loss = tiny(batch, 1, generator)
        if loss.value.requires_grad and not loss.value.dim():
            loss.value.backward()
    return loss


def _raised_by(error: Exception, config: Config) -> str | None:
    """The slot of the external class that an error comes from, or None.

    It is the one whose code the error passed through last; where the loss cannot be put together, the only one.
    """
    own = {slot: kind.partition(":")[0] for slot in SLOTS if ":" in (kind := chosen(config, slot).kind)}
    passed = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    through = [slot for module in reversed(passed) for slot, its in own.items() if its == module]
    if not through and passed[-1].startswith("textvae.objectives."):
        through = [slot for slot in own if slot.startswith("objective.")]
        return through[0] if len(through) == 1 else None
    return through[0] if through else None

"""Losses and a gradient of a tiny model, to reject what cannot work before training starts.

A class from outside is also used for a step, and held to what its base class promises, since a loss alone does
not show, for instance, that a decoder returns −log p, or that its `step` continues another distribution than its
`forward` scores.
"""

import copy
import itertools
import traceback
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from textvae.builder.idle import remark_idle
from textvae.builder.parts import inherit, model, objective, update
from textvae.builder.slots import SLOTS, chosen, constructor, external
from textvae.config import Config, Draft
from textvae.data.batches import Batch, collate
from textvae.data.tokenizers import EOS
from textvae.errors import ConfigError, first_line, named
from textvae.models.decoders import Decoder
from textvae.models.distributions import Reparameterised
from textvae.models.modes import inert
from textvae.models.posteriors import BatchStatistics
from textvae.models.text_vae import TextVAE
from textvae.objectives.objective import Loss, Objective
from textvae.objectives.weights import Weight
from textvae.training.updates import Step, Update

__all__ = ["try_out"]

TINY = 16
"""Vocabulary size of the tiny model."""


class _Breach(Exception):
    """A slot, and what its member does not keep to."""

    def __init__(self, slot: str, what: str) -> None:
        super().__init__(what)
        self.slot = slot


def try_out(config: Config, draft: Draft) -> None:
    """Compute losses and a gradient with a tiny vocabulary, to reject invalid combinations before training.

    Raises
    ------
    ConfigError
        Naming the member at fault, as far as that can be told.
    """
    batch = collate([np.array([4, 5, EOS]), np.array([6, EOS])])
    try:
        tiny, loss = _trial(config, batch)
    except ConfigError as error:
        slot, _, what = str(error).partition(": ")
        raise ConfigError(f"{draft.blame(tuple(slot.split('.')))}: {what}") from None
    except Exception as error:
        raise _explained(error, config, draft) from None
    _refuse_infinite(loss, config, draft)
    _refuse_single_sentences(tiny, config, draft)
    if not draft.above:  # a first stage also gets settings that are meant for the later one
        remark_idle(config, draft, tiny, loss, batch)


def _trial(config: Config, batch: Batch) -> tuple[Objective, Loss]:
    """A tiny objective and its second loss: a NaN rate affects a controller only there."""
    with torch.random.fork_rng(devices=[]):
        built = model(config, TINY)
        if config.first is not None:
            inherit(built, model(config.first, TINY), config)
        tiny = objective(config, built, TINY, steps_per_epoch=1)
        rule = update(config, tiny, steps_per_epoch=1)
        generator = torch.Generator().manual_seed(0)
        weights = [slot for slot in external(config) if slot in ("objective.weight", "objective.distortion_weight")]
        unobserved = {slot: copy.deepcopy(getattr(tiny, slot.split(".")[1])) for slot in weights}
        tiny.observe(tiny(batch, 0, generator).terms)
        before = _states(tiny, config)
        loss: Loss = tiny(batch, 1, generator)
        _hold_stateless(before, _states(tiny, config))
        _hold_loss(tiny, loss)
        if loss.value.requires_grad:
            loss.value.backward()
        if external(config) and torch.isfinite(loss.value):
            _hold_weights(tiny, unobserved)
            _hold_model(built, batch, loss)
            _hold_update(rule, batch, generator)
    return tiny, loss


def _hold_loss(tiny: Objective, loss: Loss) -> None:
    """Scalars where the objective needs them, and steps at which the schedules end."""
    scalars = {
        "penalty": (loss.penalty, (Tensor,)),
        "auxiliary": (loss.auxiliary, (Tensor,)),
        "weight": (loss.weight, (float, int, Tensor)),
        "distortion_weight": (loss.distortion_weight, (float, int, Tensor)),
        "bound": (loss.value, (Tensor,)),
    }
    for name, (value, types) in scalars.items():
        if not isinstance(value, types) or (isinstance(value, Tensor) and value.dim()):
            wanted = "a scalar tensor" if types == (Tensor,) else "a number or a scalar tensor"
            raise _Breach(f"objective.{name}", f"must return {wanted}, not {_shape(value)}")
    for name in ("weight", "distortion_weight", "penalty"):
        settles = getattr(tiny, name).settles_at
        if not isinstance(settles, int):
            raise _Breach(f"objective.{name}", f"must have a whole number as settles_at, not {settles!r}")


def _hold_weights(tiny: Objective, unobserved: Mapping[str, Weight]) -> None:
    """The state dict of a weight holds what it has observed, or a resumed run would go on with another value."""
    for slot, resumed in unobserved.items():
        weight: Weight = getattr(tiny, slot.split(".")[1])
        resumed.load_state_dict(weight.state_dict())
        if float(resumed(1)) != float(weight(1)):
            raise _Breach(slot, "must keep what it observes in buffers, which a resumed run continues from")


def _states(tiny: Objective, config: Config) -> dict[str, str]:
    """The attributes of members from outside that are no modules, whose state no checkpoint would hold."""
    members = {
        slot: getattr(tiny, slot.split(".")[1]) for slot in external(config) if slot.startswith("objective.")
    }
    return {slot: repr(vars(part)) for slot, part in members.items() if not isinstance(part, nn.Module)}


def _hold_stateless(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Such a member has built what it caches in the first pass; what changes in the second is state."""
    for slot, state in before.items():
        if after[slot] != state:
            raise _Breach(slot, "must keep no state, which a resumed run would lose: a weight or an auxiliary may")


def _hold_model(built: TextVAE, batch: Batch, loss: Loss) -> None:
    """Distributions of the right shape, and a decoder whose `forward` and `step` agree."""
    shape = (1, batch.sentences, built.latent_dim)
    if loss.terms.rate.shape != (batch.sentences,):
        raise _Breach(
            "model.posterior", f"must have a rate of shape {(batch.sentences,)} (B,), not {_shape(loss.terms.rate)}"
        )
    with inert(built):
        noise = torch.zeros(shape)
        q, p = built.posterior(batch), built.prior()
        for slot, found in (("model.posterior", q), ("model.prior", p)):
            if not isinstance(found, Reparameterised):
                wanted = f"{Reparameterised.__module__}.{Reparameterised.__qualname__}"
                raise _Breach(slot, f"must return a {wanted}, not {_shape(found)}")
            z = found.transport(noise)
            if z.shape != shape:
                raise _Breach(slot, f"must give z of shape {shape} (K, B, D) for such noise, not {_shape(z)}")
        _hold_decoder(built.decoder, batch, q.transport(noise))


def _hold_decoder(decoder: Decoder, batch: Batch, z: Tensor) -> None:
    scores, shape = decoder(batch, z), (1, *batch.targets.shape)
    if not isinstance(scores, Tensor) or scores.shape != shape:
        raise _Breach(
            "model.decoder", f"must return log-probabilities of shape {shape} (K, B, T), not {_shape(scores)}"
        )
    if (scores > 1e-4).any():
        raise _Breach("model.decoder", f"must return log-probabilities, and one is {scores.max():.4g}, above 0")
    if scores[:, ~batch.mask].any():
        raise _Breach("model.decoder", "must return 0 on padding")
    state = decoder.start(z[0])
    for position in range(batch.targets.shape[1]):
        following, state = decoder.step(batch.inputs[:, position], state)
        if not isinstance(following, Tensor) or following.shape != (batch.sentences, TINY):
            wanted = f"of shape {(batch.sentences, TINY)} (N, V)"
            raise _Breach(
                "model.decoder", f"must return from step log-probabilities {wanted}, not {_shape(following)}"
            )
        there = batch.mask[:, position]
        stepped = following.gather(1, batch.targets[:, position, None])[:, 0]
        if not torch.allclose(stepped[there], scores[0, there, position], rtol=1e-3, atol=1e-3):
            raise _Breach(
                "model.decoder", f"must give a word the same log-probability in forward and in step, not "
                f"{scores[0, there, position][0]:.4g} and {stepped[there][0]:.4g}"
            )  # fmt: skip


def _hold_update(rule: Update, batch: Batch, generator: torch.Generator) -> None:
    """One optimiser step, and what the trainer asks of a rule afterwards."""
    done = rule(itertools.repeat(batch), 0, generator)
    if not isinstance(done, Step):
        raise _Breach("training.update", f"must return a {Step.__module__}.{Step.__qualname__}, not {_shape(done)}")
    rule.load_state_dict(rule.state_dict())
    rule.scale_learning_rate(1.0)


def _explained(error: Exception, config: Config, draft: Draft) -> Exception:
    """The error as a sentence about the member that it comes from, or the error itself if it is a defect here."""
    own = error.slot if isinstance(error, _Breach) else _raised_by(error, config)
    if own is not None:
        member = f"{draft.blame((*own.split('.'), 'kind'))}: {chosen(config, own).kind}"
        if isinstance(error, _Breach):
            return ConfigError(f"{member} {error}")
        if own in external(config):
            return ConfigError(f"{member} failed: {named(error)}")
        if isinstance(error, ValueError):
            return ConfigError(f"{draft.blame((*own.split('.'), 'kind'))}: {error}")
    if isinstance(error, ValueError):
        return ConfigError(f"{draft.blame(('objective', 'penalty', 'kind'))}: {error}")
    if isinstance(error, (RuntimeError, MemoryError, OverflowError)):
        whose = draft.whose(("model", "latent_dim"))
        return ConfigError(f"{whose}: the model cannot be built: {first_line(error)}")
    return error


def _raised_by(error: Exception, config: Config) -> str | None:
    """The slot of the member that an error comes from, or None.

    It is the one whose code the error passed through last. What goes wrong in the library's own code once the
    model is built is the only external class's.
    """
    modules = {slot: constructor(slot, chosen(config, slot).kind, slot).__module__ for slot in SLOTS}
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    passed = [str(frame.f_globals.get("__name__")) for frame in frames]
    through = [slot for module in reversed(passed) for slot, its in modules.items() if its == module]
    outside = external(config)
    if through and (through[0] in outside or isinstance(error, ValueError)):
        return through[0]
    building = any(frame.f_code is model.__code__ for frame in frames)
    return outside[0] if len(outside) == 1 and not building else None


def _refuse_infinite(loss: Loss, config: Config, draft: Draft) -> None:
    parts = [slot for slot in external(config) if slot.startswith("model.")]
    if not torch.isfinite(loss.terms.distortion).all():
        whose = (
            draft.blame((*parts[0].split("."), "kind")) if len(parts) == 1 else draft.whose(("model", "init_range"))
        )
        raise ConfigError(f"{whose}: the loss of the untrained model is not finite")
    if torch.isfinite(loss.value).all():
        return
    penalty, weight = (draft.blame(("objective", slot, "kind")) for slot in ("penalty", "weight"))
    if torch.isfinite(loss.terms.rate).all():
        raise ConfigError(f"{penalty}: the loss of the untrained model is not finite")
    without = f"needs a rate, and a posterior without a density ({config.model.posterior.kind}) has none"
    if config.objective.penalty.kind != "none":
        raise ConfigError(f"{penalty}: {config.objective.penalty.kind} {without}; choose none")
    raise ConfigError(f"{weight}: {config.objective.weight.kind} {without}; choose constant")


def _refuse_single_sentences(tiny: Objective, config: Config, draft: Draft) -> None:
    """Statistics over a batch need more than one sentence in it."""
    if config.data.batch_size == 1 and any(isinstance(part, BatchStatistics) for part in tiny.modules()):
        whose = draft.blame(("data", "batch_size"))
        raise ConfigError(f"{whose}: {config.model.posterior.kind} needs batches of at least two sentences")


def _shape(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__

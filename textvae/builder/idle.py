"""Chosen members that cannot act, such as a penalty where there is no z: accepted, with a remark.

They are no error, since a study trains the same settings with and without a z; but their effect must not be
looked for in the numbers.
"""

import warnings

import torch

from textvae.builder.slots import chosen
from textvae.config import Config, Draft, Member
from textvae.data.batches import Batch
from textvae.models.modes import inert
from textvae.models.text_vae import TextVAE
from textvae.objectives.inputs import drop_words
from textvae.objectives.objective import Loss, Objective

__all__ = ["remark_idle"]

OF_Z = (
    "model.encoder",
    "model.posterior",
    "model.prior",
    "objective.weight",
    "objective.penalty",
    "objective.auxiliary",
    "objective.bound",
    "objective.corruption",
    "objective.inference",
)
"""Slots whose members act on z, or through it."""
OF_PENALTY = ("objective.weight", "objective.penalty")
OF_INPUTS = ("objective.word_dropout", "objective.teacher_forcing")
NONE = Member(kind="none")


def remark_idle(config: Config, draft: Draft, tiny: Objective, loss: Loss, batch: Batch) -> None:
    """Warn of each member that a remedy or an option chooses, and that cannot act on this model.

    A corpus chooses members for whatever remedy follows, so there is no remark on those.
    """
    if not tiny.model.has_z:
        _remark(config, draft, OF_Z, "without a z (latent_dim 0) there is nothing that it acts on")
    elif not (loss.penalty.requires_grad or tiny.bound.needs_rate):
        _remark(config, draft, OF_PENALTY, "nothing that is learned changes the penalty")
    if not _reads_words(tiny.model, batch):
        _remark(config, draft, OF_INPUTS, "this decoder reads no words")


def _remark(config: Config, draft: Draft, slots: tuple[str, ...], why: str) -> None:
    for slot in slots:
        member, origin = chosen(config, slot), draft.chosen_by(slot)
        if origin is not None and member != NONE and not _of_default(slot, member):
            warnings.warn(f"{slot}: {member.kind} of {origin} has no effect: {why}", stacklevel=5)


def _of_default(slot: str, member: Member) -> bool:
    """Whether a member is the default of its slot, of whatever size; a constant has an effect by its value."""
    default = chosen(Config(), slot)
    value = default.arguments.get("value", 1.0)
    return member.kind == default.kind and member.arguments.get("value", value) == value


def _reads_words(model: TextVAE, batch: Batch) -> bool:
    """Whether the log-probabilities of a decoder depend on the words before."""
    unread = drop_words(batch, 1.0, torch.Generator())
    with inert(model):
        z = model.posterior(batch).transport(torch.zeros((1, batch.sentences, model.latent_dim)))
        return not torch.equal(model.decoder(batch, z), model.decoder(unread, z))

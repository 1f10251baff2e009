"""Access to parts of a model by name, and copying trained parts from one model to another.

References
----------
Li et al. 2019, *A Surprisingly Effective Fix for Deep Latent Variable Modeling of Text*: the encoder of an
autoencoder.
Yang et al. 2017, *Improved Variational Autoencoders for Text Modeling using Dilated Convolutions*: the
weights of a language model.
Li et al. 2020, *Optimus: Organizing Sentences via Pre-trained Modeling of a Latent Space*: encoder and decoder
start as language models.
Bosc & Vincent 2020, *Do Sequence-to-Sequence VAEs Learn Global Features of Sentences?*: parts that stay frozen.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from textvae.models.text_vae import TextVAE

__all__ = ["inherit", "part_of"]


def part_of(model: nn.Module, name: str) -> nn.Module:
    """The part of a model by its name, such as `decoder` or `posterior.encoder`.

    Raises
    ------
    ValueError
        If there is no such part; the message lists those there are.
    """
    named: Iterable[tuple[str, nn.Module]] = model.named_modules(remove_duplicate=False)
    parts = {part: module for part, module in named if part}
    if name not in parts:
        names = [part for part in parts if part.count(".") < 2]
        raise ValueError(f"{name!r} is not a part of the model; choose from {', '.join(names)}")
    return parts[name]


@torch.no_grad()
def inherit(heir: TextVAE, source: TextVAE, parts: Mapping[str, str]) -> None:
    """Copy parts of a trained model: `parts` maps each part of the heir to one of the source.

    Every tensor of the source's part must exist in the heir's, with the same shape or, if the heir's z has D
    more dimensions, with D more columns: those that z multiplies, which come last. They are unchanged, as are
    the heir's other tensors.

    Raises
    ------
    ValueError
        If a part is missing or does not fit.
    """
    for new, old in parts.items():
        values = part_of(source, old).state_dict()
        places = part_of(heir, new).state_dict()
        for name, value in values.items():
            place = _place(places.get(name), value, heir.latent_dim - source.latent_dim)
            if place is None:
                here = "missing" if name not in places else f"of shape {tuple(places[name].shape)}"
                there = f"of shape {tuple(value.shape)}"
                raise ValueError(f"{new} cannot be copied from {old}: {name} is {there} there and {here} here")
            place.copy_(value)


def _place(whole: Tensor | None, value: Tensor, more: int) -> Tensor | None:
    """Where in a tensor a value goes: everywhere, or in front of `more` columns; None if it does not fit."""
    if whole is None or whole.shape == value.shape:
        return whole
    front = whole[..., : value.shape[-1]] if value.dim() > 1 and more > 0 else whole
    return front if front.shape == value.shape and whole.shape[-1] == value.shape[-1] + more else None

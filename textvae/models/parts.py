"""Access to parts of a model by name, and copying trained parts from one model to another.

References
----------
Li et al. 2019, *A Surprisingly Effective Fix for Deep Latent Variable Modeling of Text*: the encoder of an
autoencoder.
Yang et al. 2017, *Improved Variational Autoencoders for Text Modeling using Dilated Convolutions*: the
weights of a language model.
Bosc & Vincent 2020, *Do Sequence-to-Sequence VAEs Learn Global Features of Sentences?*: parts that stay frozen.
"""

from collections.abc import Mapping

import torch
from torch import nn

__all__ = ["inherit", "part_of"]


def part_of(model: nn.Module, name: str) -> nn.Module:
    """The part of a model by its name, such as `decoder` or `posterior.encoder`.

    Raises
    ------
    ValueError
        If there is no such part; the message lists those there are.
    """
    try:
        return model.get_submodule(name)
    except AttributeError:
        names = [part for part, _ in model.named_modules() if part and part.count(".") < 2]
        raise ValueError(f"{name!r} is not a part of the model; choose from {', '.join(names)}") from None


@torch.no_grad()
def inherit(heir: nn.Module, source: nn.Module, parts: Mapping[str, str]) -> None:
    """Copy parts of a trained model: `parts` maps each part of the heir to one of the source.

    Every tensor of the source's part must exist in the heir's with the same shape; other tensors of the heir
    are unchanged.

    Raises
    ------
    ValueError
        If a part is missing or does not fit.
    """
    for new, old in parts.items():
        values = part_of(source, old).state_dict()
        places = part_of(heir, new).state_dict()
        for name, value in values.items():
            if name not in places or places[name].shape != value.shape:
                here = "missing" if name not in places else f"of shape {tuple(places[name].shape)}"
                there = f"of shape {tuple(value.shape)}"
                raise ValueError(f"{new} cannot be copied from {old}: {name} is {there} there and {here} here")
            places[name].copy_(value)

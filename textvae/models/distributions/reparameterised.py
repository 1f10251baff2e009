"""Distributions over z as push-forwards of standard normal noise, z = transport(ε), ε ~ N(0, I).

That one method serves training (fresh noise), evaluation (noise keyed by the sentence, so that a
sentence's z does not depend on the rest of its batch) and several processes (noise drawn for the whole
batch, then sliced).

References
----------
Kingma & Welling 2014, *Auto-Encoding Variational Bayes*: the reparameterisation.
"""

from abc import abstractmethod

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

__all__ = ["Reparameterised"]


class Reparameterised(Distribution):
    """A distribution of vectors whose samples are a differentiable function of N(0, I) noise."""

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own declaration)

    def __init__(self, batch_shape: Size, dim: int) -> None:
        super().__init__(batch_shape, Size([dim]), validate_args=False)

    @abstractmethod
    def transport(self, noise: Tensor) -> Tensor:
        """Map noise (…, *batch_shape, D) from N(0, I) to samples of the same shape."""

    def detached(self) -> "Reparameterised":
        """The same distribution with detached parameters.

        Raises
        ------
        NotImplementedError
            For a family that does not implement it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement detached()")

    @property
    def centre(self) -> Tensor:
        """The point (*batch_shape, D) that is decoded in place of samples: the mean, unless overridden."""
        return self.mean

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples (*sample_shape, *batch_shape, D) that carry gradients."""
        shape = self._extended_shape(Size(sample_shape))
        like = self.centre
        return self.transport(torch.randn(shape, device=like.device, dtype=like.dtype))

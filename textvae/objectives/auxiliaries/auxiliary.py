"""Terms added to the loss besides distortion and penalty."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from textvae.models.terms import Pass
from textvae.models.text_vae import TextVAE

__all__ = ["Auxiliary", "NoAuxiliary"]


class Auxiliary(nn.Module, ABC):
    """A scalar for one pass, already multiplied by its own weight; its parameters are trained too.

    It enters only the loss: distortion, rate and elbo are unaffected. Constructors receive (model, vocabulary);
    a member that kept the model itself would train and save it twice.
    """

    @abstractmethod
    def forward(self, done: Pass, step: int) -> Tensor:
        """The term at this step, a scalar; noise comes from `done.generator`."""


class NoAuxiliary(Auxiliary):
    """0."""

    def __init__(self, model: TextVAE, vocabulary: int) -> None:
        super().__init__()

    def forward(self, done: Pass, step: int) -> Tensor:
        return done.terms.distortion.new_zeros(())

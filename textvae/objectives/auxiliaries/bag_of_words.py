"""Bag of words: z alone must predict which words the sentence has, whatever their order.

    weight · mean_B −Σₜ log p(wₜ|z),      p(w|z) = softmax(W tanh(U z + b))

over the decoder's own targets, EOS included, PAD and BOS excluded. The separate head, used only in training,
cannot rely on the preceding words as the decoder can.

References
----------
Zhao et al. 2017, *Learning Discourse-level Diversity for Neural Dialog Models using Conditional
Variational Autoencoders*: 400 hidden units, weight 1.
"""

from torch import Tensor

from textvae.fields import Count, NonNegative, Probability
from textvae.models.decoders.bag_of_words import BagOfWordsDecoder
from textvae.models.terms import Pass
from textvae.models.text_vae import TextVAE
from textvae.objectives.auxiliaries.auxiliary import Auxiliary

__all__ = ["BagOfWords"]


class BagOfWords(Auxiliary):
    """The distortion of an additional bag-of-words decoder, times `weight`, averaged over the samples of z."""

    def __init__(
        self,
        model: TextVAE,
        vocabulary: int,
        *,
        weight: NonNegative = 1.0,
        hidden_dim: Count = 400,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.head = BagOfWordsDecoder(vocabulary, model.latent_dim, hidden_dim=hidden_dim, dropout_out=dropout)

    def forward(self, done: Pass, step: int) -> Tensor:
        log_probs: Tensor = self.head(done.batch, done.z)
        return -self.weight * log_probs.sum(-1).mean()

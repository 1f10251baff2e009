"""The weakest decoder: every token, EOS included, is drawn independently given z.

    p(x|z) = Πₜ p(wₜ|z),  p(w|z) = softmax(W tanh(U z + b))

With `latent_dim` 0 it is the unigram language model. It cannot model word order. The published one has a ReLU for
the tanh, after the dropout and not before it; this is the form of Zhao et al. 2017's bag-of-words loss.

References
----------
Bosc & Vincent 2020, *Do Sequence-to-Sequence VAEs Learn Global Features of Sentences?*: the unigram decoder.
"""

from torch import Tensor, nn

from textvae.data.batches import Batch
from textvae.fields import Count, Probability
from textvae.models.decoders.decoder import Decoder, State, following, words_out

__all__ = ["BagOfWordsDecoder"]


class BagOfWordsDecoder(Decoder):
    """One distribution over tokens for the whole sentence; preceding words are not read."""

    def __init__(
        self, vocabulary: int, latent_dim: int, *, hidden_dim: Count = 256, dropout_out: Probability = 0.5
    ) -> None:
        super().__init__()
        self.hear = nn.Linear(latent_dim, hidden_dim)
        self.dropout_out = nn.Dropout(dropout_out)
        self.output = words_out(hidden_dim, vocabulary)

    def forward(self, batch: Batch, z: Tensor) -> Tensor:
        # The log-probabilities (K, B, V) are the same at every position.
        scores = self._log_probs(z).gather(-1, batch.targets.expand(len(z), -1, -1))
        return scores.where(batch.mask, 0.0)

    def start(self, z: Tensor) -> State:
        return (self._log_probs(z),)

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        return state[0], state

    def _log_probs(self, z: Tensor) -> Tensor:
        """Log-probabilities (…, V) of every token under z (…, D)."""
        return following(self.output(self.dropout_out(self.hear(z).tanh())))

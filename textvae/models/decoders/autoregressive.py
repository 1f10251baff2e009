"""Autoregressive decoders: p(wₜ | w₍<ₜ₎, z) = softmax(W hₜ), hₜ a function of w₍<ₜ₎ and z.

A member defines hₜ, at all positions of a sentence at once (`hidden`) and one position further
(`advance`); how words are embedded and predicted is defined here.

References
----------
Bowman et al. 2016, *Generating Sentences from a Continuous Space*: inputless decoding.
"""

from abc import abstractmethod

from torch import Tensor, nn
from torch.nn import functional as F

from textvae.data.batches import Batch
from textvae.data.tokenizers import BOS, UNK, UNPREDICTED
from textvae.models.decoders.decoder import Decoder, State, following, words_out
from textvae.models.output import word_log_probs

__all__ = ["Autoregressive"]


class Autoregressive(Decoder):
    """A decoder with word embeddings below its hidden states and a softmax above them.

    `inputless` is a property of the model, and applies in training, evaluation and generation alike:
    every input but BOS is read as the unknown word, so that only z tells sentences apart.
    """

    output: nn.Linear | None
    """The softmax's own weights; None if they are tied to the embeddings."""

    def __init__(
        self, vocabulary: int, embedding_dim: int, dropout_in: float, dropout_out: float, inputless: bool
    ) -> None:
        super().__init__()
        self.inputless = inputless
        self.embedding = nn.Embedding(vocabulary, embedding_dim)
        self.dropout_in = nn.Dropout(dropout_in)
        self.dropout_out = nn.Dropout(dropout_out)

    @abstractmethod
    def hidden(self, words: Tensor, z: Tensor) -> Tensor:
        """Hidden states (K, B, T, H) after each of the words (B, T), under z (K, B, D)."""

    @abstractmethod
    def advance(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """The hidden states (N, H) after the words (N,) just read, and the new state."""

    def readout(self, hidden: Tensor) -> Tensor:
        """The input of the softmax, from hidden states (N, H)."""
        dropped: Tensor = self.dropout_out(hidden)
        return dropped

    @property
    def output_weight(self) -> Tensor:
        """The rows of the softmax, one for every token but PAD and BOS."""
        return self.embedding.weight[UNPREDICTED:] if self.output is None else self.output.weight

    def forward(self, batch: Batch, z: Tensor) -> Tensor:
        hidden = self.hidden(batch.inputs, z)
        targets = batch.targets.expand(len(z), -1, -1)
        if not batch.padded:
            return self._score(hidden, targets)
        # Only non-padding positions are projected onto the vocabulary.
        rows, columns = batch.places
        scores = self._score(hidden[:, rows, columns], targets[:, rows, columns])
        result = scores.new_zeros(targets.shape)
        result[:, rows, columns] = scores
        return result

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, state = self.advance(words, state)
        return following(F.linear(self.readout(hidden), self.output_weight)), state

    def embed(self, words: Tensor) -> Tensor:
        """Word ids (…) as this decoder reads them, (…, E)."""
        if self.inputless:
            words = words.where(words == BOS, UNK)
        embedded: Tensor = self.dropout_in(self.embedding(words))
        return embedded

    def own_or_tied(self, hidden_dim: int, vocabulary: int, tied: bool) -> nn.Linear | None:
        """Weights for the softmax, or None if they are tied to the embeddings.

        Raises
        ------
        ValueError
            If `tied` and the embeddings are not as wide as the hidden states.
        """
        width = self.embedding.embedding_dim
        if tied and width != hidden_dim:
            raise ValueError(
                f"tied embeddings need embedding_dim equal to hidden_dim, not {width} and {hidden_dim}"
            )
        return None if tied else words_out(hidden_dim, vocabulary)

    def _score(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """log-probabilities of the targets (…) given hidden states (…, H)."""
        given = self.readout(hidden.flatten(0, -2))
        return word_log_probs(given, self.output_weight, targets.flatten() - UNPREDICTED).view(targets.shape)

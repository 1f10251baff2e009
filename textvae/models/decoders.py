"""Decoders p(x|z): log-probabilities of given sentences, and one-step continuation for generation.

PAD and BOS have probability 0 by construction: the output layer has no rows for them.

References
----------
Bowman et al. 2016, *Generating Sentences from a Continuous Space*: the LSTM decoder, inputless decoding.
Li et al. 2019, *A Surprisingly Effective Fix for Deep Latent Variable Modeling of Text*: z in the first
state and at every input, h₀ = tanh(Wz), c₀ = Wz.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textvae.data.batches import Batch
from textvae.data.tokenizers import BOS, UNK
from textvae.fields import Count, Probability
from textvae.models.output import word_log_probs

__all__ = ["DECODERS", "Decoder", "LSTMDecoder", "State"]

State = tuple[Tensor, ...]
"""What a decoder remembers between two steps; every tensor has the hypotheses on its first axis."""

UNPREDICTED = 2
"""PAD and BOS, ids 0 and 1, are never predicted; row i of an output layer is token i + 2."""


class Decoder(nn.Module, ABC):
    """p(x|z) of sentences, factorised over positions."""

    @abstractmethod
    def forward(self, batch: Batch, z: Tensor) -> Tensor:
        """log p(wₜ | w₍<ₜ₎, z) of `batch.targets` under z (K, B, D): (K, B, T), 0 on padding."""

    @abstractmethod
    def start(self, z: Tensor) -> State:
        """The state before the first word, for z (N, D)."""

    @abstractmethod
    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """From the words (N,) just read, log-probabilities (N, V) of the next one and the new state."""


class LSTMDecoder(Decoder):
    """An LSTM language model that hears z in its first state, at every input, or both.

    `inputless` is a property of the model, in force in training, evaluation and generation alike:
    every input but BOS is read as the unknown word, so that only z tells what comes next.

    Raises
    ------
    ValueError
        If `tied` is asked for with an embedding as wide as the hidden state is not.
    """

    def __init__(
        self,
        vocabulary: int,
        latent_dim: int,
        *,
        embedding_dim: Count = 256,
        hidden_dim: Count = 256,
        layers: Count = 1,
        z_to: Literal["state", "input", "both"] = "both",
        dropout_in: Probability = 0.5,
        dropout_out: Probability = 0.5,
        tied: bool = False,
        inputless: bool = False,
    ) -> None:
        super().__init__()
        if tied and embedding_dim != hidden_dim:
            raise ValueError(
                f"tied embeddings need embedding_dim equal to hidden_dim, not {embedding_dim} and {hidden_dim}"
            )
        self.layers = layers
        self.inputless = inputless
        self.z_at_input = z_to != "state"
        self.embedding = nn.Embedding(vocabulary, embedding_dim)
        width = embedding_dim + (latent_dim if self.z_at_input else 0)
        between = float(dropout_out) if layers > 1 else 0.0
        self.lstm = nn.LSTM(width, hidden_dim, layers, batch_first=True, dropout=between)
        self.first_state = nn.Linear(latent_dim if z_to != "input" else 0, layers * hidden_dim, bias=False)
        self.dropout_in = nn.Dropout(dropout_in)
        self.dropout_out = nn.Dropout(dropout_out)
        self.output = None if tied else nn.Linear(hidden_dim, vocabulary - UNPREDICTED, bias=False)

    @property
    def output_weight(self) -> Tensor:
        """(V − 2, H)."""
        return self.embedding.weight[UNPREDICTED:] if self.output is None else self.output.weight

    def forward(self, batch: Batch, z: Tensor) -> Tensor:
        samples, sentences, _ = z.shape
        words = self._embed(batch.inputs).expand(samples, -1, -1, -1).flatten(0, 1)
        z = z.flatten(0, 1)
        hidden, _ = self.lstm(self._read(words, z), self._first(z))
        hidden = hidden.unflatten(0, (samples, sentences))
        if not batch.padded:
            return self._score(hidden, batch.targets.expand(samples, -1, -1))
        # Only what is not padding is projected onto the vocabulary.
        mask = batch.mask.expand(samples, -1, -1)
        scores = self._score(hidden[mask], batch.targets.expand(samples, -1, -1)[mask])
        return scores.new_zeros(mask.shape).masked_scatter(mask, scores)

    def start(self, z: Tensor) -> State:
        h, c = self._first(z)
        return h.transpose(0, 1), c.transpose(0, 1), z

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        h, c, z = state
        inputs = self._read(self._embed(words[:, None]), z)
        hidden, (h, c) = self.lstm(inputs, (h.transpose(0, 1).contiguous(), c.transpose(0, 1).contiguous()))
        logits = F.linear(self.dropout_out(hidden[:, 0]), self.output_weight)
        log_probs = F.pad(logits.log_softmax(-1), (UNPREDICTED, 0), value=-torch.inf)
        return log_probs, (h.transpose(0, 1), c.transpose(0, 1), z)

    def _embed(self, words: Tensor) -> Tensor:
        if self.inputless:
            words = words.where(words == BOS, UNK)
        embedded: Tensor = self.dropout_in(self.embedding(words))
        return embedded

    def _read(self, words: Tensor, z: Tensor) -> Tensor:
        """Words (N, T, E) with z (N, D) beside each, where this decoder hears z at its input."""
        if not self.z_at_input:
            return words
        return torch.cat([words, z[:, None].expand(-1, words.shape[1], -1)], dim=-1)

    def _first(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """h₀ = tanh(Wz) and c₀ = Wz, each (layers, N, H); zeros where z does not enter the state."""
        cell = self.first_state(z[:, : self.first_state.in_features])
        cell = cell.unflatten(-1, (self.layers, -1)).transpose(0, 1).contiguous()
        return cell.tanh(), cell

    def _score(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """log-probabilities of the targets (…) given hidden states (…, H)."""
        hidden = self.dropout_out(hidden.flatten(0, -2))
        return word_log_probs(hidden, self.output_weight, targets.flatten() - UNPREDICTED).view(targets.shape)


DECODERS = {"lstm": LSTMDecoder}

"""The same model and step as written in released code, for comparison.

Sentences are shuffled and padded without sorting; the LSTMs read them packed or padded; the cross-entropy is
computed from all logits at once. Only the benchmark uses this module.

References
----------
Bowman et al. 2016, *Generating Sentences from a Continuous Space*.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from textvae.data.batches import Batch, Sequences, collate
from textvae.data.tokenizers import PAD, UNPREDICTED

__all__ = ["PlainStep", "PlainVAE"]


class PlainVAE(nn.Module):
    """An LSTM text VAE with z in the decoder's first state and at every input, and its negative ELBO."""

    def __init__(
        self,
        vocabulary: int,
        embedding_dim: int,
        hidden_dim: int,
        latent_dim: int,
        dropout: float = 0.5,
        packed: bool = True,
    ) -> None:
        super().__init__()
        self.packed = packed
        self.read = nn.Embedding(vocabulary, embedding_dim)
        self.encoder = nn.LSTM(embedding_dim, hidden_dim, batch_first=True)
        self.posterior = nn.Linear(hidden_dim, 2 * latent_dim, bias=False)
        self.first = nn.Linear(latent_dim, hidden_dim, bias=False)
        self.say = nn.Embedding(vocabulary, embedding_dim)
        self.decoder = nn.LSTM(embedding_dim + latent_dim, hidden_dim, batch_first=True)
        self.output = nn.Linear(hidden_dim, vocabulary - UNPREDICTED, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: Batch, noise: Tensor) -> Tensor:
        """Distortion plus rate, averaged over the sentences, under z = μ + σ · noise for noise (B, D)."""
        mean, log_variance = self.posterior(self._last(batch)).chunk(2, dim=-1)
        z = mean + (0.5 * log_variance).exp() * noise
        rate = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
        heard = z[:, None].expand(-1, batch.inputs.shape[1], -1)
        inputs = torch.cat([self.dropout(self.say(batch.inputs)), heard], dim=-1)
        cell = self.first(z)[None]
        logits = self.output(self.dropout(self._states(inputs, batch.lengths, (cell.tanh(), cell))))
        targets = batch.targets - UNPREDICTED
        distortion = F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=PAD - UNPREDICTED, reduction="sum"
        )
        loss: Tensor = (distortion + rate) / batch.sentences
        return loss

    def _last(self, batch: Batch) -> Tensor:
        embedded = self.read(batch.targets)
        last: Tensor
        if self.packed:
            _, (last, _) = self.encoder(_pack(embedded, batch.lengths))
            last = last[0]
        else:
            states, _ = self.encoder(embedded)
            last = states[torch.arange(batch.sentences, device=states.device), batch.lengths - 1]
        return last

    def _states(self, inputs: Tensor, lengths: Tensor, first: tuple[Tensor, Tensor]) -> Tensor:
        states: Tensor
        if self.packed:
            states, _ = pad_packed_sequence(self.decoder(_pack(inputs, lengths), first)[0], batch_first=True)
        else:
            states, _ = self.decoder(inputs, first)
        return states


class PlainStep:
    """Optimiser steps on randomly drawn, padded batches: SGD with lr 1, gradient norm clipped to 5."""

    def __init__(self, model: PlainVAE, sentences: Sequences, batch_size: int, device: torch.device) -> None:
        self.model = model.to(device)
        self.sentences = sentences
        self.batch_size = batch_size
        self.device = device
        self.random = np.random.Generator(np.random.PCG64(0))
        self.optimiser = torch.optim.SGD(model.parameters(), lr=1.0)

    def __call__(self) -> int:
        """Make one step; return its number of tokens, padding not counted."""
        rows = self.random.choice(len(self.sentences), self.batch_size, replace=False)
        batch = collate([self.sentences[i] for i in rows.tolist()]).to(self.device)
        noise = torch.randn(batch.sentences, self.model.first.in_features, device=self.device)
        self.optimiser.zero_grad()
        self.model(batch, noise).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        return batch.tokens


def _pack(states: Tensor, lengths: Tensor) -> PackedSequence:
    return pack_padded_sequence(states, lengths.cpu(), batch_first=True, enforce_sorted=False)

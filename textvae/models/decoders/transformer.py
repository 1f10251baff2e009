"""The strongest decoder: a causal Transformer that reads z at every position.

    x⁰ₜ = R e(wₜ₋₁) + Vz + sinusoids(t),  x ← x + Attend(LN x),  x ← x + Down gelu(Up LN x),  hₜ = LN xᴸₜ

Sinusoids are defined at any position, so no sentence is too long; beyond the lengths seen in training, only
valid probabilities are guaranteed.

References
----------
Vaswani et al. 2017, *Attention Is All You Need*.
"""

import torch
from torch import Tensor, nn

from textvae.fields import Count, Probability
from textvae.models.decoders.autoregressive import Autoregressive
from textvae.models.decoders.decoder import State
from textvae.models.transformer import Block, require_heads, sinusoids

__all__ = ["TransformerDecoder"]


class TransformerDecoder(Autoregressive):
    """Pre-norm residual blocks of causal self-attention and a perceptron.

    `dropout` applies to the attention weights and to the output of each half of a block.

    Raises
    ------
    ValueError
        If `heads` does not divide `hidden_dim`, or `tied` and `embedding_dim` differs from `hidden_dim`.
    """

    def __init__(
        self,
        vocabulary: int,
        latent_dim: int,
        *,
        embedding_dim: Count = 256,
        hidden_dim: Count = 256,
        layers: Count = 4,
        heads: Count = 4,
        dropout: Probability = 0.1,
        dropout_in: Probability = 0.1,
        dropout_out: Probability = 0.1,
        tied: bool = False,
        inputless: bool = False,
    ) -> None:
        require_heads(heads, hidden_dim)
        super().__init__(vocabulary, embedding_dim, dropout_in, dropout_out, inputless)
        self.read = nn.Linear(embedding_dim, hidden_dim)
        self.hear = nn.Linear(latent_dim, hidden_dim, bias=False)
        self.blocks = nn.ModuleList(CausalBlock(hidden_dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden_dim)
        self.output = self.own_or_tied(hidden_dim, vocabulary, tied)

    def hidden(self, words: Tensor, z: Tensor) -> Tensor:
        inputs = self.read(self.embed(words)) + self.hear(z)[:, :, None]
        hidden, _, _ = self._run(inputs.flatten(0, 1), *self._nothing(z.flatten(0, 1)))
        return hidden.view(inputs.shape)

    def start(self, z: Tensor) -> State:
        return self.hear(z), *self._nothing(z)

    def advance(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        heard, keys, values = state
        inputs = self.read(self.embed(words)) + heard
        hidden, keys, values = self._run(inputs[:, None], keys, values)
        return hidden[:, 0], (heard, keys, values)

    def _run(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states (N, T, H) of inputs (N, T, H) that follow those of keys and values (N, layers, t, H)."""
        x = x + sinusoids(keys.shape[2], x)
        kept = []
        for layer, block in enumerate(self.blocks):
            x, *seen = block(x, keys[:, layer], values[:, layer])
            kept.append(seen)
        keys, values = (torch.stack(parts, 1) for parts in zip(*kept, strict=True))
        return self.norm(x), keys, values

    def _nothing(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The empty keys and values before the first word."""
        empty = z.new_zeros(len(z), len(self.blocks), 0, self.norm.normalized_shape[0])
        return empty, empty


class CausalBlock(Block):
    """A block in which a position attends to itself and those before it."""

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """T states (N, T, H) after t others with keys and values (N, t, H), with the keys and values of all.

        Either t or T − 1 is 0: a whole sentence, or one word further.
        """
        queries, new_keys, new_values = self.project(x)
        keys, values = torch.cat([keys, new_keys], 1), torch.cat([values, new_values], 1)
        return self.attend(x, queries, keys, values, is_causal=x.shape[1] > 1), keys, values

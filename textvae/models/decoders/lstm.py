"""The LSTM decoder: h₁ … hₜ of an LSTM over BOS w₁ … wₜ₋₁, conditioned on z.

References
----------
Bowman et al. 2016, *Generating Sentences from a Continuous Space*: the LSTM decoder.
Li et al. 2019, *A Surprisingly Effective Fix for Deep Latent Variable Modeling of Text*: z in the first
state and at every input, h₀ = tanh(Wz), c₀ = Wz.
Dieng et al. 2019, *Avoiding Latent Variable Collapse with Generative Skip Models*: z at the input of every
layer and of the softmax.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from textvae.fields import Count, Probability
from textvae.models.decoders.autoregressive import Autoregressive
from textvae.models.decoders.decoder import State
from textvae.models.recurrence import Stack

__all__ = ["LSTMDecoder"]


class LSTMDecoder(Autoregressive):
    """An LSTM language model that reads z in its first state, at every input, in both, or everywhere.

    Everywhere: in the first state, and concatenated to the input of every layer and to the last layer's
    states, logits = W [hₜ; z]. No dropout on that z.

    Raises
    ------
    ValueError
        If `tied` and `embedding_dim` differs from `hidden_dim`, or `z_to` is everywhere.
    """

    def __init__(
        self,
        vocabulary: int,
        latent_dim: int,
        *,
        embedding_dim: Count = 256,
        hidden_dim: Count = 256,
        layers: Count = 1,
        z_to: Literal["state", "input", "both", "everywhere"] = "both",
        dropout_in: Probability = 0.5,
        dropout_out: Probability = 0.5,
        tied: bool = False,
        inputless: bool = False,
    ) -> None:
        if tied and z_to == "everywhere":
            raise ValueError("tied embeddings leave no room for z in the softmax's input; choose another z_to")
        super().__init__(vocabulary, embedding_dim, dropout_in, dropout_out, inputless)
        self.layers = layers
        self.hidden_dim = hidden_dim
        self.z_at_input = z_to != "state"
        self.z_everywhere = z_to == "everywhere"
        width = embedding_dim + (latent_dim if self.z_at_input else 0)
        given = hidden_dim + (latent_dim if self.z_everywhere else 0)
        self.lstm = Stack([width, *[given] * (layers - 1)], hidden_dim)
        self.first_state = nn.Linear(latent_dim if z_to != "input" else 0, layers * hidden_dim, bias=False)
        self.output = self.own_or_tied(given, vocabulary, tied)

    def hidden(self, words: Tensor, z: Tensor) -> Tensor:
        samples, sentences, _ = z.shape
        if self._once_per_sentence(z):
            heard = z if self.z_at_input else z[..., :0]
            first = self._first(z.flatten(0, 1))
            return self.lstm.under(self.embed(words), heard, first, self.dropout_out)
        embedded = self.embed(words).expand(samples, -1, -1, -1).flatten(0, 1)
        z = z.flatten(0, 1)
        hidden, _, _ = self._run(embedded, z, *self._first(z))
        return hidden.view(samples, sentences, *hidden.shape[1:])

    def start(self, z: Tensor) -> State:
        h, c = self._first(z)
        return h.transpose(0, 1), c.transpose(0, 1), z

    def advance(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        h, c, z = state
        first = h.transpose(0, 1).contiguous(), c.transpose(0, 1).contiguous()
        hidden, h, c = self._run(self.embed(words[:, None]), z, *first)
        return hidden[:, 0], (h.transpose(0, 1), c.transpose(0, 1), z)

    def readout(self, hidden: Tensor) -> Tensor:
        states, heard = hidden[:, : self.hidden_dim], hidden[:, self.hidden_dim :]
        return (
            torch.cat([self.dropout_out(states), heard], dim=-1) if self.z_everywhere else super().readout(states)
        )

    def _once_per_sentence(self, z: Tensor) -> bool:
        """Whether to share the word term of the gates among samples, which is faster on a CPU."""
        return len(z) > 1 and z.device.type == "cpu" and not self.z_everywhere

    def _run(self, embedded: Tensor, z: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states (N, T, ·) over embedded words (N, T, E), from and to states (layers, N, H)."""
        heard = z[:, None].expand(-1, embedded.shape[1], -1)
        inputs = torch.cat([embedded, heard], dim=-1) if self.z_at_input else embedded

        def between(states: Tensor) -> Tensor:
            dropped: Tensor = self.dropout_out(states)
            return torch.cat([dropped, heard], dim=-1) if self.z_everywhere else dropped

        hidden, h, c = self.lstm(inputs, (h, c), between)
        return torch.cat([hidden, heard], dim=-1) if self.z_everywhere else hidden, h, c

    def _first(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """h₀ = tanh(Wz) and c₀ = Wz, each (layers, N, H); zeros where z does not enter the state."""
        cell = self.first_state(z[:, : self.first_state.in_features])
        cell = cell.unflatten(-1, (self.layers, -1)).transpose(0, 1).contiguous()
        return cell.tanh(), cell

"""A decoder that cannot ignore z: the input of the softmax is an injective function of z, after any words.

    hₜ = LSTM(w₍<ₜ₎),  uₜ = ∇Φ([hₜ; z]),  p(wₜ | w₍<ₜ₎, z) = softmax(W uₜ),  Φ strongly convex

Guaranteed, for any weights and words: ‖uₜ(z) − uₜ(z′)‖ ≥ c ‖z − z′‖. Then z ↦ p(wₜ | w₍<ₜ₎, z) is
injective wherever [W 1], a row for each word that can be predicted, has full column rank: the vocabulary, with
PAD and BOS, must have at least H + D + 3 entries, and the weights W must lie outside a set of measure zero, which
training is not prevented from entering. Not guaranteed: that the effect of z is large enough to be worth its rate;
a posterior equal to the prior is impossible, one close to it is not.

The published decoder has a second Brenier map over the logits; here it is the identity, which is a Brenier map. In
the released code the LSTM begins in a learned state, here at 0; its map between the two keeps full rank by clamping
singular values, and its Φ is convex without the quadratic term that makes it strongly so.

References
----------
Wang, Blei & Cunningham 2021, *Posterior Collapse and Latent Variable Non-identifiability*: LIDVAE.
"""

import torch
from torch import Tensor

from textvae.fields import Count, Positive, Probability
from textvae.models.brenier import BrenierMap
from textvae.models.decoders.autoregressive import Autoregressive
from textvae.models.decoders.decoder import State, words_out
from textvae.models.recurrence import Stack

__all__ = ["InjectiveDecoder"]


class InjectiveDecoder(Autoregressive):
    """An LSTM language model with a Brenier map of its states and z before the softmax.

    `strength` is c; Φ has `convex_layers` layers as wide as `convex_dim`. No dropout on z or in the map.
    """

    def __init__(
        self,
        vocabulary: int,
        latent_dim: int,
        *,
        embedding_dim: Count = 256,
        hidden_dim: Count = 256,
        layers: Count = 1,
        convex_dim: Count = 256,
        convex_layers: Count = 2,
        strength: Positive = 1.0,
        dropout_in: Probability = 0.5,
        dropout_out: Probability = 0.5,
        inputless: bool = False,
    ) -> None:
        super().__init__(vocabulary, embedding_dim, dropout_in, dropout_out, inputless)
        self.layers, self.hidden_dim = layers, hidden_dim
        self.lstm = Stack([embedding_dim, *[hidden_dim] * (layers - 1)], hidden_dim)
        self.map = BrenierMap(hidden_dim + latent_dim, convex_dim, convex_layers, strength)
        self.output = words_out(hidden_dim + latent_dim, vocabulary)

    def hidden(self, words: Tensor, z: Tensor) -> Tensor:
        # The LSTM does not read z, so it runs once per sentence, however many z there are.
        zeros = z.new_zeros(self.layers, len(words), self.hidden_dim)
        states, _, _ = self.lstm(self.embed(words), (zeros, zeros), self.dropout_out)
        heard = z[:, :, None].expand(-1, -1, words.shape[1], -1)
        return torch.cat([states.expand(len(z), -1, -1, -1), heard], dim=-1)

    def start(self, z: Tensor) -> State:
        zeros = z.new_zeros(len(z), self.layers, self.hidden_dim)
        return zeros, zeros, z

    def advance(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        h, c, z = state
        before = h.transpose(0, 1).contiguous(), c.transpose(0, 1).contiguous()
        states, h, c = self.lstm(self.embed(words[:, None]), before, self.dropout_out)
        return torch.cat([states[:, 0], z], dim=-1), (h.transpose(0, 1), c.transpose(0, 1), z)

    def readout(self, hidden: Tensor) -> Tensor:
        states, z = hidden.split([self.hidden_dim, hidden.shape[1] - self.hidden_dim], dim=-1)
        mapped: Tensor = self.map(torch.cat([self.dropout_out(states), z], dim=-1))
        return mapped

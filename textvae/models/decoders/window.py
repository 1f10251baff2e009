"""A decoder that reads only the last n words and z.

    p(wₜ | w₍<ₜ₎, z) = softmax(W tanh(U [e(wₜ₋ₙ); …; e(wₜ₋₁)] + Vz + b)),  BOS before the first word

Earlier words can influence a word only through z; order 0 is the bag of words.

References
----------
Bengio et al. 2003, *A Neural Probabilistic Language Model*.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textvae.data.tokenizers import BOS
from textvae.fields import Count, Natural, Probability
from textvae.models.decoders.autoregressive import Autoregressive
from textvae.models.decoders.decoder import State, words_out

__all__ = ["WindowDecoder"]


class WindowDecoder(Autoregressive):
    """A multilayer perceptron over the embeddings of the last `order` words and z."""

    def __init__(
        self,
        vocabulary: int,
        latent_dim: int,
        *,
        order: Natural = 2,
        embedding_dim: Count = 256,
        hidden_dim: Count = 256,
        dropout_in: Probability = 0.5,
        dropout_out: Probability = 0.5,
        inputless: bool = False,
    ) -> None:
        # At order 0 no word is read, and embeddings would be unused parameters.
        super().__init__(vocabulary, embedding_dim if order else 0, dropout_in, dropout_out, inputless)
        self.order = order
        self.read = nn.Linear(order * self.embedding.embedding_dim, hidden_dim)
        self.hear = nn.Linear(latent_dim, hidden_dim, bias=False)
        self.output = words_out(hidden_dim, vocabulary)

    def hidden(self, words: Tensor, z: Tensor) -> Tensor:
        # At order 0 the pad of −1 removes BOS, so that there is one window per word at every order.
        embedded = self.embed(F.pad(words, (self.order - 1, 0), value=BOS))
        windows = embedded.unfold(1, self.order, 1).transpose(-1, -2)
        return torch.tanh(self.read(windows.flatten(-2)) + self.hear(z)[:, :, None])

    def start(self, z: Tensor) -> State:
        return torch.full((len(z), self.order), BOS, device=z.device), self.hear(z)

    def advance(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        window, heard = state
        window = torch.cat([window, words[:, None]], dim=1)[:, 1:]
        return torch.tanh(self.read(self.embed(window).flatten(1)) + heard), (window, heard)

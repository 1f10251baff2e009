"""A decoder of dilated causal convolutions: the dilations set the width of the context.

    x⁰ₜ = R e(wₜ₋₁) + Vz,  xˡ = xˡ⁻¹ + Up relu(Convᵏ_dˡ relu(Down xˡ⁻¹)),  hₜ = xᴸₜ

A word sees 1 + (k − 1) Σ dˡ words before it, and z with every one of them: R e + Vz is a linear map of
their concatenation.

References
----------
Yang et al. 2017, *Improved Variational Autoencoders for Text Modeling using Dilated Convolutions*.
"""

import torch
from torch import Tensor, nn

from textvae.fields import Count, Probability
from textvae.models.decoders.autoregressive import Autoregressive
from textvae.models.decoders.decoder import State, words_out

__all__ = ["DilatedConvolutionDecoder"]


class DilatedConvolutionDecoder(Autoregressive):
    """One residual block for each of the `dilations`: a convolution of `kernel` taps at width `inner_dim`.

    The published small, medium and large decoders dilate by [1, 2, 4], [1, 2, 4, 8, 16], and the latter twice.
    """

    def __init__(
        self,
        vocabulary: int,
        latent_dim: int,
        *,
        embedding_dim: Count = 256,
        hidden_dim: Count = 256,
        inner_dim: Count = 128,
        kernel: Count = 3,
        dilations: tuple[Count, ...] = (1, 2, 4),
        dropout_in: Probability = 0.5,
        dropout_out: Probability = 0.5,
        inputless: bool = False,
    ) -> None:
        super().__init__(vocabulary, embedding_dim, dropout_in, dropout_out, inputless)
        self.inner_dim = inner_dim
        self.reaches = [(kernel - 1) * dilation for dilation in dilations]
        self.read = nn.Linear(embedding_dim, hidden_dim)
        self.hear = nn.Linear(latent_dim, hidden_dim, bias=False)
        self.blocks = nn.ModuleList(Block(hidden_dim, inner_dim, kernel, d) for d in dilations)
        self.output = words_out(hidden_dim, vocabulary)

    def hidden(self, words: Tensor, z: Tensor) -> Tensor:
        inputs = self.read(self.embed(words)) + self.hear(z)[:, :, None]
        hidden, _ = self._run(inputs.flatten(0, 1), self._before(z.flatten(0, 1)))
        return hidden.view(inputs.shape)

    def start(self, z: Tensor) -> State:
        return self.hear(z), *self._before(z)

    def advance(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        heard, *past = state
        inputs = self.read(self.embed(words)) + heard
        hidden, past = self._run(inputs[:, None], past)
        return hidden[:, 0], (heard, *past)

    def _run(self, hidden: Tensor, past: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Run all blocks, (N, T, H), given what each keeps of the past; also return what each keeps next."""
        kept = []
        for block, before in zip(self.blocks, past, strict=True):
            hidden, after = block(hidden, before)
            kept.append(after)
        return hidden, kept

    def _before(self, z: Tensor) -> list[Tensor]:
        """The past of each block before the first word: zeros."""
        return [z.new_zeros(len(z), self.inner_dim, reach) for reach in self.reaches]


class Block(nn.Module):
    """x + Up relu(Conv relu(Down x)), where the convolution is causal."""

    def __init__(self, hidden_dim: int, inner_dim: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden_dim, inner_dim)
        self.conv = nn.Conv1d(inner_dim, inner_dim, kernel, dilation=dilation)
        self.up = nn.Linear(inner_dim, hidden_dim)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """The next T states (N, T, H), and the last `reach` inputs of the convolution, (N, I, reach)."""
        inner = self.down(x).relu().transpose(1, 2)
        seen = torch.cat([past, inner], dim=-1)
        return x + self.up(self.conv(seen).relu().transpose(1, 2)), seen[..., x.shape[1] :]

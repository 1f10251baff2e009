"""A deterministic autoencoder coupled to the VAE: it shares the encoder, and its decoder leads the VAE's.

    weight · ( −log p'(x | c(x))  +  match · ‖s(z) − s'(c(x))‖² / H )

c(x) is a linear code of the encoder's features, p' a decoder of its own with the same shape as the VAE's,
and s, s' what either decoder starts from; s' is a target, through which no gradient flows. The first part
sends a strong gradient through the encoder, the second shows the VAE's decoder what a z can tell it.

References
----------
Wu et al. 2020, *On the Encoder-Decoder Incompatibility in Variational Text Modeling and Beyond*.
"""

import copy

from torch import Tensor, nn

from textvae.fields import NonNegative
from textvae.models.decoders import LSTMDecoder, State
from textvae.models.terms import Pass
from textvae.models.text_vae import TextVAE
from textvae.objectives.auxiliaries.auxiliary import Auxiliary

__all__ = ["Coupled"]


class Coupled(Auxiliary):
    """The distortion of the deterministic path and the distance between what the two decoders start from.

    The published weights are 0.1 for the distance and 1 for the path. What an LSTM starts from are its
    first hidden and cell state. Released code offers this Euclidean distance, and on Penn Treebank takes a
    kernel's, −C / (C + ‖·‖²) summed over scales C, between the inputs of GRUs: its 0.1 is of another unit.

    The twin's embeddings, maps and LSTMs are drawn anew, as those of the model are (`init_range`). It reads the
    features that the encoder makes of the sentence itself, in a pass of its own.

    Raises
    ------
    ValueError
        If the decoder is no LSTM, or one that z does not start.
    """

    def __init__(
        self, model: TextVAE, vocabulary: int, *, weight: NonNegative = 1.0, match: NonNegative = 0.1
    ) -> None:
        super().__init__()
        if not isinstance(model.decoder, LSTMDecoder):
            raise ValueError("coupled matches what two LSTMs start from; choose the decoder lstm")
        if model.latent_dim and not model.decoder.first_state.in_features:
            raise ValueError("coupled matches what two LSTMs start from, and z_to input starts all alike")
        self.weight, self.match = weight, match
        self.code = nn.Linear(model.posterior.encoder.features, model.latent_dim, bias=False)
        self.decoder = copy.deepcopy(model.decoder)
        for part in self.decoder.modules():
            # The copy's shape is wanted, not its weights: with the same ones the two would start matched.
            if isinstance(part, (nn.Linear, nn.Embedding, nn.RNNBase)):
                part.reset_parameters()

    def forward(self, done: Pass, step: int) -> Tensor:
        """Distortion and distance, averaged over the batch."""
        code = self.code(done.model.posterior.encoder(done.batch))
        distortion: Tensor = -self.decoder(done.batch, code[None]).sum(-1).mean()
        led = done.model.decoder.start(done.z.flatten(0, 1))
        leading = self.decoder.start(code.detach().repeat(len(done.z), 1))
        return self.weight * (distortion + self.match * distance(led, leading))


def distance(led: State, leading: State) -> Tensor:
    """Mean squared distance of hidden and cell states; the second decoder's are a target."""
    (h, c, _), (target_h, target_c, _) = led, leading
    return (h - target_h.detach()).square().mean() + (c - target_c.detach()).square().mean()

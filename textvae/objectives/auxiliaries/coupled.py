"""A deterministic autoencoder coupled to the VAE: it shares the encoder, and its decoder guides the VAE's.

    weight · ( −log p'(x | c(x))  +  match · ‖s(z) − s'(c(x))‖² )

c(x) is a linear code of the encoder's features, p' a second decoder of the same shape as the VAE's, and s, s'
the initial states of the two decoders; s' is a target, through which no gradient flows. The first term gives
the encoder a strong gradient, the second teaches the VAE's decoder to use z. Only first states are matched: what a
decoder reads of z at every input is not.

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
    """The distortion of the deterministic path and the distance between the two decoders' initial states.

    The published weights are 0.1 for the distance and 1 for the path. The initial state of an LSTM is its
    first hidden and cell state, and the distance is the squared one, summed over all coordinates, as in the
    released configuration for Yahoo. On Penn Treebank that code uses a kernel's instead,
    −C / (C + ‖·‖²) summed over scales C. It compares the inputs of two GRUs, and encoder and both decoders share
    one embedding.

    Here the second decoder's embeddings, maps and LSTMs are its own, initialised anew like the model's
    (`init_range`). Its code comes from the uncorrupted sentence, in a separate pass of the encoder.

    Raises
    ------
    ValueError
        If the decoder is not an LSTM, or z does not enter its initial state.
    """

    def __init__(
        self, model: TextVAE, vocabulary: int, *, weight: NonNegative = 1.0, match: NonNegative = 0.1
    ) -> None:
        super().__init__()
        if not isinstance(model.decoder, LSTMDecoder):
            raise ValueError("coupled matches the initial states of two LSTMs; choose the decoder lstm")
        if model.latent_dim and not model.decoder.first_state.in_features:
            raise ValueError("coupled needs z in the decoder's initial state; choose another z_to than input")
        self.weight, self.match = weight, match
        self.code = nn.Linear(model.posterior.encoder.features, model.latent_dim, bias=False)
        self.decoder = copy.deepcopy(model.decoder)
        for part in self.decoder.modules():
            # Copy only the shape: with equal weights the two decoders would start out matched.
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
    """‖s − s'‖² of the two initial states, averaged over sentences; no gradient flows to the second decoder's."""
    (h, c, _), (target_h, target_c, _) = led, leading
    squares = (h - target_h.detach()).square() + (c - target_c.detach()).square()
    return squares.flatten(1).sum(1).mean()

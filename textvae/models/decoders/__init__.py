"""The decoders a configuration can name; a new one is a file here and a line below."""

from textvae.models.decoders.autoregressive import Autoregressive
from textvae.models.decoders.bag_of_words import BagOfWordsDecoder
from textvae.models.decoders.convolution import DilatedConvolutionDecoder
from textvae.models.decoders.decoder import Decoder, State
from textvae.models.decoders.injective import InjectiveDecoder
from textvae.models.decoders.lstm import LSTMDecoder
from textvae.models.decoders.transformer import TransformerDecoder
from textvae.models.decoders.window import WindowDecoder

__all__ = ["DECODERS", "Autoregressive", "Decoder", "LSTMDecoder", "State"]

DECODERS = {
    "bag_of_words": BagOfWordsDecoder,
    "window": WindowDecoder,
    "dilated_convolution": DilatedConvolutionDecoder,
    "lstm": LSTMDecoder,
    "injective_lstm": InjectiveDecoder,
    "transformer": TransformerDecoder,
}

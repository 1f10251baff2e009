"""The encoders a configuration can name; a new one is a file here and a line below."""

from textvae.models.encoders.bag_of_words import BagOfWordsEncoder
from textvae.models.encoders.blank import Blank
from textvae.models.encoders.encoder import Encoder
from textvae.models.encoders.lstm import LSTMEncoder
from textvae.models.encoders.transformer import TransformerEncoder

__all__ = ["ENCODERS", "Encoder", "LSTMEncoder"]

ENCODERS = {
    "lstm": LSTMEncoder,
    "bag_of_words": BagOfWordsEncoder,
    "transformer": TransformerEncoder,
    "none": Blank,
}

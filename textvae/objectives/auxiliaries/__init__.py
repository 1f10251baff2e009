"""The auxiliary terms a configuration can name; a new one is a file here and a line below."""

from textvae.objectives.auxiliaries.auxiliary import Auxiliary, NoAuxiliary
from textvae.objectives.auxiliaries.bag_of_words import BagOfWords
from textvae.objectives.auxiliaries.coupled import Coupled
from textvae.objectives.auxiliaries.discrepancy import Discrepancy
from textvae.objectives.auxiliaries.mutual_divergence import MutualDivergence

__all__ = ["AUXILIARIES", "Auxiliary"]

AUXILIARIES = {
    "none": NoAuxiliary,
    "bag_of_words": BagOfWords,
    "coupled": Coupled,
    "mmd": Discrepancy,
    "mutual_divergence": MutualDivergence,
}

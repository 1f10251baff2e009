"""How training finds q(z|x) from what the posterior module says, as a configuration can name it."""

from textvae.objectives.inference.inference import Amortised, Inference
from textvae.objectives.inference.semi_amortised import SemiAmortised

__all__ = ["INFERENCES", "Inference"]

INFERENCES = {"amortised": Amortised, "semi_amortised": SemiAmortised}

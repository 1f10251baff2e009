"""The inference methods a configuration can name: how training finds q(z|x) from the posterior module's."""

from textvae.objectives.inference.inference import Amortised, Inference
from textvae.objectives.inference.semi_amortised import SemiAmortised

__all__ = ["INFERENCES", "Inference"]

INFERENCES = {"amortised": Amortised, "semi_amortised": SemiAmortised}

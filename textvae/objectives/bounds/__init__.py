"""The bounds a configuration can name."""

from textvae.objectives.bounds.bound import Bound, Elbo
from textvae.objectives.bounds.importance_weighted import ImportanceWeighted

__all__ = ["BOUNDS", "Bound"]

BOUNDS = {"elbo": Elbo, "iwae": ImportanceWeighted}

"""The penalties a configuration can name; a new one is a file here and a line below."""

from textvae.objectives.penalties.capacity import Capacity
from textvae.objectives.penalties.free_bits import FreeBitsPerDimension, FreeBitsPerGroup, FreeBitsTotal
from textvae.objectives.penalties.penalty import NoPenalty, Penalty, Rate
from textvae.objectives.penalties.unit_variance import UnitVariance
from textvae.objectives.penalties.unscaled_rate import UnscaledRate

__all__ = ["PENALTIES", "Penalty"]

PENALTIES = {
    "rate": Rate,
    "none": NoPenalty,
    "capacity": Capacity,
    "free_bits_per_dimension": FreeBitsPerDimension,
    "free_bits_per_group": FreeBitsPerGroup,
    "free_bits_total": FreeBitsTotal,
    "unit_variance": UnitVariance,
    "unscaled_rate": UnscaledRate,
}

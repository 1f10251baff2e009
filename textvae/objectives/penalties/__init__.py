"""The penalties a configuration can name; a new one is a file here and a line below."""

from textvae.objectives.penalties.free_bits import FreeBitsPerDimension, FreeBitsTotal
from textvae.objectives.penalties.penalty import NoPenalty, Penalty, Rate

__all__ = ["PENALTIES", "Penalty"]

PENALTIES = {
    "rate": Rate,
    "none": NoPenalty,
    "free_bits_per_dimension": FreeBitsPerDimension,
    "free_bits_total": FreeBitsTotal,
}

"""One vector from the vectors at all positions of a sentence.

References
----------
Long et al. 2019, *Preventing Posterior Collapse in Sequence VAEs with Pooling*.
"""

from typing import Literal

import torch
from torch import Tensor

from textvae.data.batches import Batch

__all__ = ["pool"]


def pool(states: Tensor, batch: Batch, how: Literal["mean", "max"]) -> Tensor:
    """Mean or maximum (B, H) over the positions that are not padding."""
    absent = ~batch.mask[..., None]
    if how == "max":
        return states.masked_fill(absent, -torch.inf).amax(1)
    return states.masked_fill(absent, 0.0).sum(1) / batch.lengths[:, None]

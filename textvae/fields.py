"""Types of the constructor arguments that a configuration can set.

The ranges are plain metadata (annotated-types): constructors stay ordinary Python, and the
configuration layer reads the ranges from the annotations to reject a value before work starts.
"""

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

__all__ = ["Count", "Natural", "NonNegative", "Positive", "Probability", "Steps"]

Count = Annotated[int, Ge(1), Lt(2**31)]
Natural = Annotated[int, Ge(0), Lt(2**31)]
Steps = Annotated[int, Ge(0), Lt(2**31), "optimiser steps"]
"""A number of optimiser steps; because of the unit, a configuration may also write `"10 epochs"`."""
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Probability = Annotated[float, Ge(0), Le(1)]

"""The update rules a configuration can name; a new one is a file here and a line below."""

from textvae.training.updates.aggressive import Aggressive
from textvae.training.updates.joint import Joint
from textvae.training.updates.update import Step, Update

__all__ = ["UPDATES", "Joint", "Step", "Update"]

UPDATES = {"joint": Joint, "aggressive": Aggressive}

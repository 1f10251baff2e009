"""Objects from settings; the only room that knows both."""

from textvae.build.arguments import in_steps
from textvae.build.devices import device, refuse_device
from textvae.build.parts import begin, model, objective, update
from textvae.build.settings import checked, complete
from textvae.build.slots import SLOTS

__all__ = [
    "SLOTS",
    "begin",
    "checked",
    "complete",
    "device",
    "in_steps",
    "model",
    "objective",
    "refuse_device",
    "update",
]

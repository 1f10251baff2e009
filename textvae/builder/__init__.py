"""Objects from settings; the only room that knows both."""

from textvae.builder.arguments import in_steps
from textvae.builder.devices import Blame, device, refuse_device
from textvae.builder.parts import inherit, model, objective, update
from textvae.builder.settings import checked, complete
from textvae.builder.slots import SLOTS, external, sources

__all__ = [
    "SLOTS",
    "Blame",
    "checked",
    "complete",
    "device",
    "external",
    "in_steps",
    "inherit",
    "model",
    "objective",
    "refuse_device",
    "sources",
    "update",
]

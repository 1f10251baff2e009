"""Watches for what makes a host wait for its device: values, counts, shapes that only the device knows, copies."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ASKING = {
    "_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "unique", "_unique2",
    "unique_dim", "unique_consecutive", "bincount",
}  # fmt: skip


class Questions(TorchDispatchMode):
    """The names of the operations, in `asked`, that on an accelerator would wait for it to finish."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put_", "_index_put_impl_", "index_put") else ()
        by_mask = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)
        # How often each is repeated is known beforehand only where the caller says what it comes to.
        unsized = name == "repeat_interleave" and (kwargs or {}).get("output_size") is None
        if name in ASKING or by_mask or unsized:
            self.asked.append(name)
        return func(*args, **(kwargs or {}))


class Crossings(TorchDispatchMode):
    """The operations, in `seen`, whose tensors lie on several devices: copies from one to another, and mixtures."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        given = (args, kwargs, found) if name in ("_to_copy", "copy_") else (args, kwargs)
        if len({value.device for value in tree_leaves(given) if isinstance(value, torch.Tensor)}) > 1:
            self.seen.append(name)
        return found

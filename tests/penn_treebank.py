"""The real Penn Treebank, where there is one."""

import os
from pathlib import Path

import pytest

__all__ = ["needs_ptb"]


def _here() -> bool:
    root = os.environ.get("TEXTVAE_DATA")
    return root is not None and (Path(root) / "ptb").is_dir()


needs_ptb = pytest.mark.skipif(not _here(), reason="needs the Penn Treebank in $TEXTVAE_DATA/ptb")

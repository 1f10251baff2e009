"""The lines of CONTRIBUTING.md, followed to the letter."""

import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from command_line import TINY, worked

from textvae.runs import Run

GUIDE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")
BLOCKS = dict(re.findall(r"^```(\w*)\n(.*?)^```", GUIDE, flags=re.S | re.M))
"""The class, the YAML and the command, by the language of their fences."""


def test_a_remedy_of_your_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("my_remedies.py").write_text(BLOCKS["python"])
    Path("hinge.yaml").write_text(BLOCKS["yaml"])
    words = BLOCKS[""].split()[1:]
    assert words[:3] == ["train", "grammar", "hinge.yaml"]
    worked(*words[:3], *TINY, "--steps", 3, "--run", "run")
    penalty = yaml.safe_load(Path("run/config.yaml").read_text())["objective"]["penalty"]
    assert penalty == {"kind": "my_remedies:Hinge", "target": 5.0, "strength": 2.0}
    assert Run("run").status == "done"
    assert "sentences" in worked("evaluate", "run", "--samples", 1).out


def test_the_hinge_is_what_its_docstring_says() -> None:
    """At a rate far under the target the slope is 1 − strength, above it 1."""
    scope: dict[str, object] = {}
    exec(BLOCKS["python"], scope)

    class Done:
        def __init__(self, rate: torch.Tensor) -> None:
            self.terms = type("Terms", (), {"rate": rate})

    hinge = scope["Hinge"](target=5.0)  # type: ignore[operator]
    for value, slope in ((1.0, -1.0), (9.0, 1.0)):
        rate = torch.tensor([value], requires_grad=True)
        hinge(Done(rate), 0).backward()
        assert rate.grad is not None
        assert rate.grad.item() == slope

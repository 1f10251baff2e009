"""Training totals, divided once, and the two places a run's metrics are written to.

`metrics.jsonl` is the record; TensorBoard shows the same numbers. Timing fields end in `_seconds` or
`_per_second`; all others are reproducible bit for bit.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from textvae.errors import RunError
from textvae.evaluation.estimators import perplexity
from textvae.files import finite
from textvae.runs import Run
from textvae.training.updates.update import SUMMED, Step

__all__ = ["MetricLog", "Totals", "record_settings"]


def _nothing() -> Tensor:
    return torch.zeros(len(SUMMED), dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Totals:
    """Sums since the last row, added over batches and divided once.

    Counts are kept on the host. `sums` (of `SUMMED`, in float64) and `broken` (the number of steps with a
    non-finite loss or gradient) stay on the device and are read when a row is written, so that no step waits
    for the device to finish the previous one.
    """

    steps: int = 0
    sentences: int = 0
    tokens: int = 0
    encoder_updates: int = 0
    decoder_updates: int = 0
    encoder_tokens: int = 0
    sums: Tensor = field(default_factory=_nothing)
    broken: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))

    @classmethod
    def of(cls, done: Step) -> "Totals":
        """Totals of one optimiser step."""
        return cls(
            steps=1,
            sentences=done.batch.sentences,
            tokens=done.batch.tokens,
            encoder_updates=done.encoder_updates,
            decoder_updates=done.decoder_updates,
            encoder_tokens=done.encoder_tokens,
            sums=done.sums,
            broken=(~done.finite).long(),
        )

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.steps + other.steps,
            self.sentences + other.sentences,
            self.tokens + other.tokens,
            self.encoder_updates + other.encoder_updates,
            self.decoder_updates + other.decoder_updates,
            self.encoder_tokens + other.encoder_tokens,
            self.sums.to(other.sums.device, non_blocking=True) + other.sums,
            self.broken.to(other.broken.device, non_blocking=True) + other.broken,
        )

    def means(self) -> dict[str, float]:
        """Means per sentence of sums over sentences, and per step of sums over steps."""
        total = dict(zip(SUMMED, self.sums.tolist(), strict=True))
        distortion, rate = total["distortion"] / self.sentences, total["rate"] / self.sentences
        return {
            "distortion": distortion,
            "rate": rate,
            "elbo": -(distortion + rate),
            "perplexity_elbo": perplexity(total["distortion"] + total["rate"], self.tokens),
            "loss": total["loss"] / self.steps,
            "penalty": total["penalty"] / self.steps,
            "auxiliary": total["auxiliary"] / self.steps,
            "encoder_gradient_norm": total["encoder_gradient"] / self.steps,
            "decoder_gradient_norm": total["decoder_gradient"] / self.steps,
            "encoder_updates": self.encoder_updates / self.steps,
            "decoder_updates": self.decoder_updates / self.steps,
        }


class MetricLog:
    """Appends rows to `metrics.jsonl` and TensorBoard; opening it drops rows beyond a step."""

    def __init__(self, run: Run, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        _truncate(run.metrics, step)
        self.file = run.metrics.open("a", encoding="utf-8")
        self.board = SummaryWriter(run.tensorboard, purge_step=step + 1)
        if step == 0:
            self.board.add_custom_scalars(LAYOUT)

    def row(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        """Write one row of scalars for a split at a step; nested lists go only to the file."""
        line = json.dumps(finite({"step": step, "split": split, **values}), allow_nan=False)
        self.file.write(line + "\n")
        self.file.flush()
        for name, value in values.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                self.board.add_scalar(f"{split}/{name}", value, step)

    def close(self) -> None:
        self.file.close()
        self.board.close()


def record_settings(run: Run, settings: Mapping[str, Any]) -> None:
    """Write a run's flattened settings to TensorBoard's HPARAMS page, with the latest values of RESULTS."""
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    plain = {
        key: value if isinstance(value, (bool, int, float, str)) else str(value) for key, value in settings.items()
    }
    with SummaryWriter(run.tensorboard) as board:
        for summary in hparams(plain, dict.fromkeys(RESULTS, 0)):
            board.file_writer.add_summary(summary)


def _truncate(path: Path, step: int) -> None:
    """Drop rows beyond `step`, and a last line that was cut short by a kill."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        keep = 0
        for line in file:
            if not line.endswith(b"\n") or _step(line, path) > step:
                break
            keep += len(line)
        file.truncate(keep)


def _step(line: bytes, path: Path) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        raise RunError(f"{path}: damaged; move it away to continue without the earlier rows") from None


def _chart(*tags: str) -> list[Any]:
    # A layout's tags are regular expressions: without the anchors, elbo would match elbo_se too.
    return ["Multiline", [f"^{tag}$" for tag in tags]]


RESULTS = ("valid/elbo", "valid/rate", "valid/distortion", "valid/active_units", "valid/mutual_information")

LAYOUT = {
    "1 rate and distortion": {
        "valid: rate (KL)": _chart("valid/rate"),
        "valid: distortion (reconstruction)": _chart("valid/distortion"),
        "train: rate (KL)": _chart("train/rate"),
        "train: distortion (reconstruction)": _chart("train/distortion"),
    },
    "2 is z used": {
        "weight β and word dropout": _chart("train/weight", "train/word_dropout"),
        "mutual information": _chart("valid/mutual_information"),
        "active units": _chart("valid/active_units"),
        "gradient norms": _chart("train/encoder_gradient_norm", "train/decoder_gradient_norm"),
    },
    "3 likelihood": {
        "valid: ELBO": _chart("valid/elbo"),
        "valid: perplexity (ELBO)": _chart("valid/perplexity_elbo"),
        "learning rate": _chart("train/learning_rate"),
        "tokens per second": _chart("train/tokens_per_second"),
    },
}
"""The custom-scalars page. It starts with rate and distortion, which show a collapse. Train and valid never
share a chart, because training terms include dropout and word dropout."""

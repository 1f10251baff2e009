"""Published figures, shown where our runs have the same set-up: Penn Treebank, LSTMs of 256, z of 32."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from textvae.studies.report.entries import Row

__all__ = ["GRADES", "Published", "comparable", "published"]

FILE = Path(__file__).with_name("published.yaml")
GRADES = {
    "V": "read in the document or its released code",
    "M": "as quoted elsewhere, not yet checked against the paper; sums and perplexities agree",
}


class Published(BaseModel):
    """A published row: the work, what was trained, the recipe of the same set-up, its numbers on the test split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    work: str
    what: str
    remedy: str
    grade: Literal["V", "M"]
    elbo: float | None = None
    distortion: float | None = None
    rate: float | None = None
    mutual_information: float | None = None
    active_units: int | None = None
    iwae_nll: float | None = None
    perplexity_elbo: float | None = None
    perplexity_iwae: float | None = None
    iwae_samples: int | None = None
    note: str = ""


def published() -> list[Published]:
    """All of them."""
    return [Published.model_validate(row) for row in yaml.safe_load(FILE.read_text("utf-8"))]


def comparable(rows: Sequence[Row]) -> bool:
    """Whether any run has the set-up of the published figures."""
    return any(_same_setup(entry.config) for row in rows for entry in row.entries)


def _same_setup(config: Mapping[str, Any]) -> bool:
    data, model = config.get("data", {}), config.get("model", {})
    whole = data.get("tokenizer") == "word" and data.get("min_count") == 1 and not data.get("vocabulary_size")
    parts = [model.get("decoder", {})] + ([model.get("encoder", {})] if model.get("latent_dim") else [])
    sizes = all(part.get("embedding_dim") == part.get("hidden_dim") == 256 for part in parts)
    return data.get("corpus") == "ptb" and whole and sizes and model.get("latent_dim") in (0, 32)

"""What is kept under experiments/results can be read, made again, and is what the documents say."""

import json
from pathlib import Path

import pytest

from textvae import builder
from textvae.config import Draft
from textvae.evaluation.evaluate import KEYS

ROOT = Path(__file__).parents[1]
PRINTED = {
    "sentences", "tokens", "distortion", "rate", "elbo", "iwae_nll", "iwae_samples", "perplexity_elbo",
    "perplexity_iwae", "active_units", "mutual_information", "mutual_information_reference",
    "listening", "listening_se", "verdict", "exact_nll", "excess_nll", "excess_nll_se",
}  # fmt: skip
"""What docs/results.md and LOG print of a run; a run that was kept may be older than other numbers of today."""
RECORDED = {"seed", "weights_sha256", "iwae_samples_asked", "estimators"}
KEPT = sorted((ROOT / "experiments" / "results").glob("**/config.yaml"))


@pytest.mark.parametrize("config", KEPT, ids=lambda path: path.parent.name)
def test_a_kept_configuration_is_valid_and_complete(config: Path) -> None:
    draft = Draft()
    draft.merge_file(str(config))
    made = builder.complete(draft)
    again = Draft()
    again.merge(made.plain(), "again")
    assert builder.complete(again) == made


@pytest.mark.parametrize("config", KEPT, ids=lambda path: path.parent.name)
def test_a_kept_evaluation_has_what_is_printed_and_is_printed_as_it_is(config: Path) -> None:
    splits = json.loads((config.parent / "evaluation.json").read_text("utf-8"))
    assert {"test"} <= splits.keys() <= {"valid", "test"}
    assert all(split.keys() >= PRINTED for split in splits.values())
    # A split that was measured with --all, or by experiments/beyond.py, has the numbers of these parts as well.
    more = {"posterior_gap", "refined_less_lm"}
    assert all(split.keys() <= RECORDED.union(KEYS) or more & split.keys() for split in splits.values())
    page = (ROOT / "docs" / "results.md").read_text("utf-8")
    for key in ("distortion", "iwae_nll"):
        assert f"{splits['test'][key]:.2f}" in page

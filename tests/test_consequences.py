"""What each remedy is known to bring about, seen in the numbers of a small text model that is trained with it."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import write_corpus
from scipy import stats

from textvae.runs import Run
from textvae.tasks.train import train

LATENT_DIM = 4


def trained(folder: Path, *names: str, corpus: str | Path, **options: Any) -> list[dict[str, Any]]:
    """The rows of metrics of a run on one thread, its valid ones too."""
    sizes = {"kind": "lstm", "embedding_dim": 16, "hidden_dim": 16}
    decoder = {**sizes, "dropout_in": 0, "dropout_out": 0}
    small = {
        "threads": 1,
        "data": {"corpus": str(corpus), "batch_size": 32},
        "model": {"latent_dim": LATENT_DIM, "encoder": sizes, "decoder": decoder},
        "training": {"optimiser": {"kind": "adam", "lr": 0.01}},
    }
    (folder / "small.yaml").write_text(json.dumps(small))
    options = {name.replace("__", "."): value for name, value in options.items()}
    run: Run = train([str(folder / "small.yaml"), *names], options, folder / "run")
    return [json.loads(line) for line in run.metrics.read_text("utf-8").splitlines()]


def late(rows: list[dict[str, Any]], name: str) -> float:
    """The mean over the last quarter of training."""
    values = [row[name] for row in rows if row["split"] == "train"]
    return float(np.mean(values[-len(values) // 4 :]))


# Targets


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"weight": {"kind": "pi", "target_rate": 4.0, "kp": 0.01, "ki": 0.002}},
        {"weight": {"kind": "minimum_rate", "target_rate": 4.0, "lr": 0.003, "start": 0.95}},
        {"weight": {"kind": "soft_free_bits", "target_rate": 4.0, "change": 0.03, "slack": 0.1}},
        {"penalty": {"kind": "capacity", "target_rate": 4.0, "steps": 50}},
    ],
    ids=["pi", "minimum_rate", "soft_free_bits", "capacity"],
)
def test_the_rate_of_a_text_vae_reaches_its_target(settings: dict[str, Any], tmp_path: Path) -> None:
    """Left alone, the same model has a rate of less than a thousandth of a nat after as many steps."""
    given = {f"objective__{slot}": member for slot, member in settings.items()}
    rows = trained(
        tmp_path, corpus="grammar", **given, model__latent_dim=8, data__min_count=20,
        training__budget=400, training__validate_every=400, training__log_every=10,
    )  # fmt: skip
    low, high = (4.0, 4.4) if "slack" in str(settings) else (4.0, 4.0)
    assert low * 0.95 < late(rows, "rate") < high * 1.05


@pytest.mark.slow
def test_a_constraint_on_the_distortion_is_met_and_not_outdone(tmp_path: Path) -> None:
    """The sentences have an entropy of 6 nats: at a distortion of 4, at least 2 must go through z."""
    rows = trained(
        tmp_path, corpus=write_corpus(tmp_path / "corpus"),
        objective__distortion_weight={
            "kind": "constraint", "target_distortion": 4.0, "lr": 0.03, "smoothing": 0.9, "high": 10.0,
        },
        model__latent_dim=8, training__budget=600, training__validate_every=600, training__log_every=10,
    )  # fmt: skip
    assert late(rows, "distortion") == pytest.approx(4.0, rel=0.1)
    assert 1.5 < late(rows, "rate") < 5


# Floors and constants, in every step


def vmf_rate(concentration: float) -> float:
    """KL(vMF ‖ uniform) = log area of the sphere − entropy, by scipy."""
    area = math.log(2) + LATENT_DIM / 2 * math.log(math.pi) - math.lgamma(LATENT_DIM / 2)
    return area - float(stats.vonmises_fisher(np.eye(LATENT_DIM)[0], concentration).entropy())


FLOORS = {
    "bn_vae": LATENT_DIM * 0.6**2 / 2,
    "du_vae": LATENT_DIM * 0.5**2 / 2,
    "scale_vae": LATENT_DIM * 1.0**2 / 2,
    "delta_vae": LATENT_DIM * 0.1,
    "fixed_variance": LATENT_DIM * (0.25 - 1 - math.log(0.25)) / 2,
    "vmf": vmf_rate(13.0),
}
"""d(γ² + β²)/2 with β from 0, twice; d s²/2; d δ; the divergence of the variance alone; what vMF's κ makes it."""


@pytest.mark.parametrize("remedy", FLOORS)
def test_the_rate_stays_above_its_floor_while_training(remedy: str, tmp_path: Path) -> None:
    """From the published initialisation on; the weight rises to 1 within 20 steps, and would empty a plain VAE."""
    rows = trained(
        tmp_path, remedy, corpus=write_corpus(tmp_path / "corpus", train=64),
        model__init_range=0.01, model__embedding_init_range=0.1,
        training__budget=40, training__validate_every=40, training__log_every=1,
    )  # fmt: skip
    rates = [row["rate"] for row in rows if row["split"] == "train"]
    assert len(rates) == 40
    assert min(rates) >= FLOORS[remedy] * (1 - 1e-4)
    if remedy == "vmf":
        assert [row["rate"] for row in rows] == pytest.approx([FLOORS[remedy]] * 41, rel=1e-5)


def test_a_cyclical_weight_takes_its_list_of_values(tmp_path: Path) -> None:
    rows = trained(
        tmp_path, "cyclical", corpus=write_corpus(tmp_path / "corpus", train=64),
        objective__weight__length=6, objective__weight__cycles=2,
        training__budget=15, training__validate_every=15, training__log_every=1,
    )  # fmt: skip
    ramp = [0, 1 / 3, 2 / 3, 1, 1, 1]
    assert [row["weight"] for row in rows if row["split"] == "train"] == pytest.approx([*ramp, *ramp, 1, 1, 1])

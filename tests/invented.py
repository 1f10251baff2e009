"""A study's directory with invented numbers, as `textvae study` leaves it: nothing is trained."""

import json
import math
import random
from pathlib import Path
from typing import Any

import yaml

from textvae.config import Config
from textvae.runs import Run
from textvae.studies.manifest import Manifest, Record

TRUTH = 28.26
METRICS = [
    "distortion",
    "rate",
    "elbo",
    "iwae_nll",
    "excess_nll",
    "active_units",
    "mutual_information",
    "listening",
]


def evaluation(
    rate: float, latent_dim: int, seed: int, samples: int = 100, verdict: str = "alive"
) -> dict[str, Any]:
    """An evaluation whose −ELBO is 30 + rate / 10, up to noise."""
    noise = random.Random(f"{rate} {seed}").gauss(0, 0.05)
    elbo = -(30 + rate / 10 + noise)
    nll = 29.5 + rate / 40 + noise
    alive = latent_dim > 0
    return {
        "sentences": 2000,
        "tokens": 23799,
        "unknown_rate": 0.0,
        "distortion": -elbo - rate,
        "rate": rate,
        "rate_per_dimension": [2 * rate * 0.5 ** (k + 1) for k in range(latent_dim)] if alive else None,
        "mean_variances": [1 - math.exp(-4 * rate * 0.5 ** (k + 1)) for k in range(latent_dim)] if alive else None,
        "elbo": elbo,
        "iwae_nll": nll,
        "iwae_samples": samples if alive else 1,
        "iwae_samples_asked": samples,
        "perplexity_elbo": 12.0,
        "perplexity_iwae": 11.5,
        "active_units": min(latent_dim, int(4 * rate)) if alive else None,
        "mutual_information": 0.9 * rate if alive else None,
        "mutual_information_reference": 2000 if alive else None,
        "listening": 3 * rate if alive else None,
        "exact_nll": TRUTH,
        "excess_nll": nll - TRUTH,
        "verdict": f"{verdict}: another sentence's z costs {3 * rate:.2f} nats"
        if alive
        else "language model: no z",
        "seed": 0,
    }


def probes(rate: float) -> dict[str, Any]:
    """What a linear probe read off z: the more, the higher the rate."""
    told = 1 - math.exp(-rate)
    factors = [
        {
            "factor": name,
            "values": values,
            "entropy": math.log(values),
            "ceiling": 0.98 * math.log(values),
            "information": 0.9 * told * math.log(values),
            "accuracy": told + (1 - told) / values,
            "best_accuracy": 0.99,
            "majority_accuracy": 1 / values,
            "shuffled_labels": -0.01,
            "untrained_encoder": 0.03,
        }
        for name, values in (("topic", 8), ("tense", 3), ("polarity", 2))
    ]
    return {"factors": factors}


def write_run(path: Path, config: Config, splits: dict[str, dict[str, Any]], rate: float) -> None:
    run = Run(path)
    path.mkdir(parents=True)
    run.config = config
    run.environment = {"textvae": "0.1.0", "commit": "0123456789abcdef", "diff_sha256": None, "device": "x86_64"}
    run.status = "done"
    run.evaluation = splits
    rows = []
    for step in range(100, 1001, 100):
        rows.append(
            {
                "step": step,
                "split": "train",
                "epoch": step / 250,
                "encoder_updates": 3.0 if step <= 500 else 1.0,
                "decoder_updates": 1.0,
                "elapsed_seconds": step / 20,
                "tokens_per_second": 9000.0,
            }
        )
        rows.append({"step": step, "split": "valid", "rate": rate * (1 + 200 / step)})
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    run.write_text("samples.txt", ["the <unk> & co said profits rose", "a court rejected the appeal"])
    if config.model.latent_dim:
        run.write_text("reconstructions.txt", ["profits rose\tprofits fell", "the court ruled\tthe court ruled"])
        run.write_text("interpolations.txt", ["profits rose", "profits ruled", "the court ruled"])


def write_study(directory: Path, remedies: dict[str, dict[str, float]], seeds: int = 3, **given: Any) -> Manifest:
    """Remedies as {name: {strength: rate}}; a remedy named lm has no z, one with a rate of 0 is collapsed."""
    corpus = given.get("corpus", "grammar")
    splits = given.get("splits", ["valid"])
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "study.yaml").write_text(
        yaml.safe_dump({"corpora": [corpus], "remedies": list(remedies)}), "utf-8"
    )
    records = []
    for remedy, strengths in remedies.items():
        for strength, rate in strengths.items():
            for seed in range(seeds):
                name = f"{remedy}-{strength}" if strength else remedy
                path = f"{corpus}/{name}/seed-{seed}"
                dim = 0 if remedy == "lm" else given.get("latent_dim", 8)
                draft: dict[str, Any] = {"seed": seed, "data": {"corpus": corpus}, "model": {"latent_dim": dim}}
                sizes = {"kind": "lstm", "embedding_dim": 256, "hidden_dim": 256}
                draft["model"] |= {"decoder": sizes, "encoder": sizes if dim else {"kind": "none"}}
                verdict = "alive" if rate >= 1 else "partly" if rate > 0.1 else "collapsed"
                found = {split: evaluation(rate, dim, seed, given.get("samples", 100), verdict) for split in splits}
                write_run(directory / path, Config.model_validate(draft), found, rate)
                if dim and given.get("probed"):
                    settings = {"weights_sha256": None, "seed": 0}
                    Run(directory / path).write_part(splits[0], "knowledge", settings, probes(rate))
                records.append(Record(path, corpus, remedy, strength, seed, state="done", seconds=60.0))
    manifest = Manifest(
        title="an invented study",
        metrics=given.get("metrics", METRICS),
        splits=splits,
        baseline="lm" if "lm" in remedies else None,
        remedies={remedy: f"Kingma et al. 2016 — {remedy}" for remedy in remedies},
        records={record.path: record for record in records},
    )
    manifest.write(directory)
    return manifest

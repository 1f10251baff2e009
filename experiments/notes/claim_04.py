"""Claim 4: without the variance, and without the divergence."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from notes import Notes, Page, Row, Wanted, main
from textvae.api import Vae
from textvae.data.batches import Sequences
from textvae.evaluation.estimators import Survey, standard_error
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.text import exact_match, grammaticality
from textvae.plots.figure import BLUE, GREEN, ORANGE, Figure, canvas, legend
from worlds import TINY, some, texts, wanted

DIM, EPOCHS = 8, 4
NONE = float("nan")
FITTED = "a Gaussian fitted to its codes"


def claim(notes: Notes) -> Page:
    count = 40 if notes.quick else 400
    lengths = (1, 2, EPOCHS)
    runs = [
        wanted(notes, "autoencoder", "autoencoder", **size(EPOCHS)),
        weighted(notes, f"beta-0.5-{DIM}", 0.5, EPOCHS),
        *(weighted(notes, f"free-{epochs}", 0.0, epochs) for epochs in lengths),
    ]
    autoencoder, vae, *grown = texts(notes, runs)
    free = dict(zip(lengths, grown, strict=True))
    made = {
        "autoencoder (Dirac, no penalty)": autoencoder,
        "VAE at β = 0.5": vae,
        "variance learned, β = 0": free[EPOCHS],
    }
    found, steps = [], []
    for name, vae in made.items():
        for source, z in (("P(z)", prior(count)), (FITTED, fitted(vae, some(vae, notes, 500), prior(count)))):
            found.append(judged(name, source, vae, some(vae, notes, count), z))
    for epochs, vae in free.items():
        q = Survey.of(vae.model, some(vae, notes, count), SentenceNoise(0, DIM))
        ratio = q.mean.std(0).mean() / deviation(q)
        steps.append((epochs, float(deviation(q)), float(ratio)))
        found.append({**dict.fromkeys(found[0], NONE), "model": f"variance learned, β = 0, {epochs} epochs", "z from": "—", "mean σ of q": float(deviation(q)),
                      "spread of means ÷ σ": float(ratio), "rate": float(q.rate.mean())})  # fmt: skip
    by = keyed(found)
    auto, auto_fitted, vae_row, vae_fitted, loose, loose_fitted = (by[name, source] for name in made for source in ("P(z)", FITTED))
    (_, first, ratio_first), *_, (_, last, ratio_last) = steps
    return Page(
        number=4,
        title="without the variance, and without the divergence",
        claim="Without the variance the network is a plain deterministic autoencoder; without the divergence the latent space is unknown territory away from the data.",
        verdict="true",
        answer=f"The autoencoder gives back {auto['exact match']:.0%} of the sentences word for word, the VAE at β = 0.5 only {vae_row['exact match']:.0%}. With z from P(z) {auto['grammatical']:.0%} of what the autoencoder says is grammatical, of what the VAE says {vae_row['grammatical']:.0%}. "
        f"But {(auto_fitted['grammatical'] - auto['grammatical']) / (vae_row['grammatical'] - auto['grammatical']):.0%} of that gap is location and scale: with z from a Gaussian fitted to its codes the autoencoder reaches {percent(auto_fitted)}, and the model at β = 0 {percent(loose_fitted)} instead of {percent(loose)}. "
        f"With a learned variance and β = 0 the noise is outgrown: from epoch 1 to epoch {EPOCHS} q's spread, against that of its means, becomes {ratio_last / ratio_first:.0f} times smaller, so that the model turns into an autoencoder by itself.",
        figure=f"Grammatical among {count} sentences, ± over them: decoded from P(z) autoencoder {percent(auto)}, VAE at β = 0.5 {percent(vae_row)}; from a Gaussian fitted to the codes {percent(auto_fitted)} and {percent(vae_fitted)}. "
        f"Reconstructed word for word: {auto['exact match']:.1%} and {vae_row['exact match']:.1%}. β = 0: mean σ {first:.3f} after 1 epoch, {last:.3f} after {EPOCHS}.",
        text=f"""
On a tiny grammar, whose sentences can be judged exactly, three models with D = {DIM} and the same LSTMs: a deterministic autoencoder (Dirac posterior, penalty `none`), a VAE at β = 0.5 (so that its z is in use, which at β = 1 it is not: claim 8), and a
Gaussian posterior with learned variance whose divergence is not charged for at all (β = 0). Each reconstructs {count} test sentences greedily from the centre of Q, and says {count}
new ones: z drawn from N(0, I), words drawn at temperature 1. `log p*` is the grammar's own log-probability of those that are grammatical.

Each says as many again with z drawn from the Gaussian that has the mean and covariance of its own codes (of q(z) = E q(z|x), so that q's variance counts), which tells a failure of location and scale from one of shape. For β = 0 three
lengths of training show what becomes of σ, alone and beside how far apart the means lie, which is what the decoder can tell from noise. One run each; ± is over the sentences.
""",
        open="How much of the VAE's share is its decoder's own, which could write grammatical sentences without any z, was not measured: the drop from a fitted z to one of P(z) is what tells of the latent space. One run of each model: the errors are over sentences, and how much the shares vary from run to run is not known. How soon σ falls, and whether to 0: means can move apart instead, which costs nothing either, and by then the gradient has nothing left to gain. Only the ratio is "
        "meaningful, and at these lengths it still rises.",
        table=found,
        picture=picture(found[: 2 * len(made)], steps),
        holds={} if notes.quick else shown(found),
    )


def keyed(found: Sequence[Row]) -> dict[tuple[str, str], Row]:
    return {(row["model"], row["z from"]): row for row in found}


def shown(found: Sequence[Row]) -> dict[str, bool]:
    """What the page says of its table."""
    models, by = list(dict.fromkeys(row["model"] for row in found)), keyed(found)
    auto, vae, loose = (by[name, "P(z)"] for name in models[:3])
    auto_fitted, loose_fitted = (by[row["model"], FITTED] for row in (auto, loose))
    first, last = (by[name, "—"] for name in (models[3], models[-1]))
    return {
        "the autoencoder reconstructs at least as well": auto["exact match"] >= vae["exact match"],
        "its samples are worse": surely_less(auto, vae),
        "most of that is location and scale": auto_fitted["grammatical"] > (auto["grammatical"] + vae["grammatical"]) / 2,
        "and not all": surely_less(auto_fitted, vae),
        "β = 0 samples are worse too": surely_less(loose, vae),
        "location and scale help it as well": surely_less(loose, loose_fitted),
        "noise is outgrown": last["spread of means ÷ σ"] > 1.5 * first["spread of means ÷ σ"],
        "the rate is not held": last["rate"] > 10,
    }


def surely_less(one: Row, other: Row) -> bool:
    """By more than three standard errors of the difference."""
    return bool(one["grammatical"] + 3 * math.hypot(one["grammatical se"], other["grammatical se"]) < other["grammatical"])


def percent(row: Row) -> str:
    return f"{row['grammatical']:.1%} ± {row['grammatical se']:.1%}"


def weighted(notes: Notes, name: str, beta: float, epochs: int) -> Wanted:
    return wanted(notes, name, "beta", objective__weight__value=beta, objective__penalty__kind="rate", **size(epochs))


def size(epochs: int) -> Row:
    length = f"{epochs} epochs"
    return {"model__latent_dim": DIM, "training__budget": length, "training__validate_every": length}


def prior(count: int) -> Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(3)).double()


def fitted(vae: Vae, sequences: Sequences, noise: Tensor) -> Tensor:
    """Draws from the Gaussian with the mean and covariance of q(z) over sentences, from those of N(0, I)."""
    found = Survey.of(vae.model, sequences, SentenceNoise(0, DIM))
    variance = torch.cat([q.variance for _, q in found.posteriors]).mean(0)
    return found.mean.mean(0) + noise @ torch.linalg.cholesky(found.mean.T.cov() + variance.diag()).T


def deviation(found: Survey) -> Tensor:
    """Mean σ of q over sentences and dimensions."""
    return torch.cat([q.variance.sqrt().mean(-1) for _, q in found.posteriors]).mean()


def judged(name: str, source: str, vae: Vae, sequences: Sequences, z: Tensor) -> Row:
    """Reconstruction of sentences, and the sentences said for some z."""
    found = Survey.of(vae.model, sequences, SentenceNoise(0, DIM))
    originals = [vae.tokenizer.decode(sequences[index][:-1].tolist()) for index in range(len(sequences))]
    torch.set_default_dtype(torch.float64)
    match = exact_match(originals, vae.decode(found.mean))
    said = grammaticality(vae.decode(z, temperature=1.0, seed=4), vae.tokenizer, TINY)
    torch.set_default_dtype(torch.float32)
    return {
        "model": name, "z from": source, "distortion": float(found.distortion.mean()), "distortion se": standard_error(found.distortion),
        "exact match": match, "grammatical": said["grammatical"], "grammatical se": said["grammatical_se"],
        "log p*": said["grammar_log_prob"] if said["grammar_log_prob"] is not None else NONE, "rate": float(found.rate.mean()),
        "mean σ of q": float(deviation(found)), "spread of means ÷ σ": float(found.mean.std(0).mean() / deviation(found)) if deviation(found) else NONE,
    }  # fmt: skip


def picture(models: list[Row], steps: list[tuple[int, float, float]]) -> Figure:
    figure, (left, right) = canvas(2)
    for place, row in enumerate(models):
        own = row["z from"] == FITTED
        label = row["model"] + (", fitted Gaussian" if own else ", P(z)")
        colour = (BLUE, GREEN, ORANGE)[place // 2]
        left.errorbar(row["exact match"], row["grammatical"], yerr=row["grammatical se"], fmt="x" if own else "o", color=colour, label=label)
    left.set(
        xlabel="reconstructed word for word", ylabel="share grammatical when z is drawn", xlim=(0, 1), ylim=(0, 1)
    )
    epochs = [step[0] for step in steps]
    right.plot(epochs, [step[1] for step in steps], "o-", color=ORANGE, label="mean σ of q")
    right.plot(epochs, [1 / step[2] for step in steps], "x--", color=BLUE, label="σ ÷ spread of the means")
    right.set(xlabel="epochs", yscale="log", title="β = 0, variance learned")
    legend(right)
    figure.legend(handles=left.get_legend_handles_labels()[0], loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


if __name__ == "__main__":
    main(claim)

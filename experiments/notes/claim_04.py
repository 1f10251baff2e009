"""Claim 4: without the variance, and without the divergence."""

import torch
from torch import Tensor

from notes import Notes, Page, Row, Wanted, main
from textvae.api import Vae
from textvae.data.batches import Sequences
from textvae.evaluation.estimators import Survey, standard_error, survey
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.text import exact_match, grammaticality
from textvae.plots.figure import BLUE, GREEN, ORANGE, RED, Figure, canvas, legend
from worlds import TINY, some, texts, wanted

DIM, EPOCHS = 8, 4
NONE = float("nan")


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
        "VAE, β = 0.5": vae,
        "variance learned, β = 0": free[EPOCHS],
    }
    found, steps = [], []
    for name, vae in made.items():
        found.append(judged(name, "P(z)", vae, some(vae, notes, count), prior(count)))
        if "auto" in name:
            codes = survey(vae.model, some(vae, notes, 500), SentenceNoise(0, DIM)).mean
            fitted = codes.mean(0) + prior(count) @ torch.linalg.cholesky(codes.T.cov()).T
            found.append(judged(name, "a Gaussian fitted to its codes", vae, some(vae, notes, count), fitted))
    for epochs, vae in free.items():
        q = survey(vae.model, some(vae, notes, count), SentenceNoise(0, DIM))
        ratio = q.mean.std(0).mean() / deviation(q)
        steps.append((epochs, float(deviation(q)), float(ratio), float(q.rate.mean())))
        found.append({**dict.fromkeys(found[0], NONE), "model": f"variance learned, β = 0, {epochs} epochs", "z from": "—", "mean σ of q": float(deviation(q)),
                      "spread of means ÷ σ": float(ratio), "rate": float(q.rate.mean())})  # fmt: skip
    auto, vae_row, loose = found[0], found[2], found[3]
    (_, first, ratio_first, _), (_, last, ratio_last, rate_last) = steps[0], steps[-1]
    return Page(
        number=4,
        title="without the variance, and without the divergence",
        claim="Without the variance the network is a plain deterministic autoencoder; without the divergence the latent space is unknown territory away from the data.",
        verdict="true",
        answer=f"The autoencoder gives back {auto['exact match']:.0%} of the sentences word for word, the VAE {vae_row['exact match']:.0%}, but what it says is far less often grammatical when z comes from the prior. With a learned variance and β = 0 the noise is "
        f"outgrown: from epoch 1 to epoch {EPOCHS} q's spread, against that of its means, becomes {ratio_last / ratio_first:.0f} times smaller, so that the model turns into an autoencoder by itself.",
        figure=f"Grammatical among {count} sentences decoded from P(z): autoencoder {auto['grammatical']:.1%} ± {auto['grammatical se']:.1%}, VAE "
        f"{vae_row['grammatical']:.1%} ± {vae_row['grammatical se']:.1%}; reconstructed word for word: {auto['exact match']:.1%} and {vae_row['exact match']:.1%}. "
        f"β = 0: mean σ {first:.3f} after 1 epoch, {last:.3f} after {EPOCHS}.",
        text=f"""
On a tiny grammar, whose sentences can be judged exactly, three models with D = {DIM} and the same LSTMs: a deterministic autoencoder (Dirac posterior, penalty `none`), a VAE at β = 0.5, and a
Gaussian posterior with learned variance whose divergence is not charged for at all (β = 0). Each reconstructs {count} test sentences greedily from the centre of Q, and says {count}
new ones: z drawn from N(0, I), words drawn at temperature 1. `log p*` is the grammar's own log-probability of those that are grammatical.

For the autoencoder z is also drawn from the Gaussian with the mean and covariance of its codes, so that its failure is not one of mere scale. For β = 0 three
lengths of training show what becomes of σ, alone and beside how far apart the means lie, which is what the decoder can tell from noise. One run each; ± is over the sentences.
""",
        open="How soon σ falls, and whether to 0: means can move apart instead, which costs nothing either, and by then the gradient has nothing left to gain. Only the ratio is "
        "meaningful, and at these lengths it still rises.",
        table=found,
        picture=picture(found[:4], steps),
        holds={
            "the autoencoder reconstructs at least as well": notes.quick
            or auto["exact match"] >= vae_row["exact match"],
            "its samples are worse": notes.quick
            or auto["grammatical"] + 3 * auto["grammatical se"] < vae_row["grammatical"],
            "noise is outgrown": notes.quick or ratio_last > 1.5 * ratio_first,
            "β = 0 samples are worse too": notes.quick or loose["grammatical"] < vae_row["grammatical"],
            "the rate is not held": notes.quick or rate_last > 10,
        },
    )


def weighted(notes: Notes, name: str, beta: float, epochs: int) -> Wanted:
    return wanted(notes, name, "beta", objective__weight__value=beta, objective__penalty__kind="rate", **size(epochs))


def size(epochs: int) -> Row:
    length = f"{epochs} epochs"
    return {"model__latent_dim": DIM, "training__budget": length, "training__validate_every": length}


def prior(count: int) -> Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(3)).double()


def deviation(found: Survey) -> Tensor:
    """Mean σ of q over sentences and dimensions."""
    return torch.cat([q.variance.sqrt().mean(-1) for _, q in found.posteriors]).mean()


def judged(name: str, source: str, vae: Vae, sequences: Sequences, z: Tensor) -> Row:
    """Reconstruction of sentences, and the sentences said for some z."""
    found = survey(vae.model, sequences, SentenceNoise(0, DIM))
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


def picture(models: list[Row], steps: list[tuple[int, float, float, float]]) -> Figure:
    figure, (left, right) = canvas(2)
    for row, colour in zip(models, (BLUE, RED, GREEN, ORANGE), strict=True):
        label = f"{row['model']}" + (", fitted Gaussian" if "fitted" in row["z from"] else "")
        left.errorbar(
            row["exact match"], row["grammatical"], yerr=row["grammatical se"], fmt="o", color=colour, label=label
        )
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

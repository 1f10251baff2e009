"""Claim 12: is a standard normal prior enough?"""

import torch
from torch import Tensor

from notes import Notes, Page, Row, Wanted, listed, main, student
from textvae.evaluation.estimators import importance_weighted_nll, standard_error
from textvae.evaluation.exact import exact_nll
from textvae.evaluation.noise import SentenceNoise
from textvae.plots.figure import BLUE, GREY, Figure, canvas, legend
from worlds import TINY, lines, loaded, some, wanted

EPOCHS, SAMPLES = 4, 50
SURE = student(4, 0.05 / 4)
"""The 1 − 0.05/4 point of Student's t with four degrees of freedom: five seeds, four cases looked at."""
NONE = float("nan")
PRIORS = {"standard normal": (), "mixture": ("mixture_prior",), "flow": ("flow_prior",)}
DECODERS = {"bag of words": {"kind": "bag_of_words", "hidden_dim": 32, "dropout_out": 0.0},
            "window of 1": {"kind": "window", "order": 1, "embedding_dim": 32, "hidden_dim": 32, "dropout_in": 0.0, "dropout_out": 0.0}}  # fmt: skip


def claim(notes: Notes) -> Page:
    seeds, sentences = 2 if notes.quick else 5, 40 if notes.quick else 500
    notes.ahead([run(notes, decoder, prior, seed) for decoder in DECODERS for prior in PRIORS for seed in range(seeds)])
    nll = {
        (decoder, prior): torch.stack([measured(notes, decoder, prior, seed, sentences) for seed in range(seeds)])
        for decoder in DECODERS
        for prior in PRIORS
    }
    tokenizer = loaded(notes, run(notes, *next(iter(nll)), 0)).tokenizer
    truth = exact_nll(lines(notes, sentences), tokenizer, TINY)
    found = [line(nll, truth, decoder, prior) for decoder in DECODERS for prior in PRIORS]
    learned = [row for row in found if row["prior"] != "standard normal"]
    said = [f"{row['decoder']}, {row['prior']} {row['saved']:+.2f} ± {row['saved, se']:.2f}" for row in learned]
    useful = [f"{row['decoder']} with a {row['prior']}" for row in learned if row["least saved"] > 0 and row["saved"] > SURE * row["saved, se"]]
    verdict = "false for a given decoder" if useful else "open"
    answer = (
        f"The theorem lets the network be as large as it likes. With a given decoder a learned prior surely does better in {len(useful)} of {len(learned)} cases ({listed(useful)}): it is a part of the network that the decoder lacked. "
        "That a large enough decoder could be its own prior is an argument, by the theorem, and no finding of these runs."
        if useful
        else "With the decoders tried here no learned prior is surely better than N(0, I), nor surely not: the runs do not tell."
    )
    return Page(
        number=12,
        title="is a standard normal prior enough?",
        claim="A standard normal pushed through a network gives any distribution, so P(z) may be N(0, I).",
        verdict=verdict,
        answer=answer,
        figure=f"−log p(x) saved by a learned prior, mean over {seeds} seeds ± the standard error over seeds: {'; '.join(said)} nats.",
        text=f"""
VAEs on a tiny grammar with a z of two dimensions and weak decoders, one that reads no word and one that reads the last word only: they need z, and use it without any remedy. The prior is N(0, I), a
learned mixture of 100 Gaussians, or a learned flow; everything else is equal. {EPOCHS} epochs, {seeds} seeds. −log p(x) of {sentences} test sentences is estimated with {SAMPLES} importance samples each; `above H(p*)` is what it exceeds the exact one by, paired, ± over sentences.

`saved` is −log p(x) under N(0, I) less that under the learned prior, sentence by sentence and seed by seed; its error is over seeds, since a training run varies more than a mean over sentences. `least saved` and `most saved` are
the extreme seeds. "Surely" asks that every seed agrees and that the mean is more than {SURE:.3f} errors above 0, what Student's t with four degrees of freedom allows for one chance in 20 shared among the four cases.
""",
        open="The learned priors have more parameters, and were not held against a decoder that is larger by as many. Nor was a strong decoder tried, which has no need of z to begin with.",
        table=found,
        picture=picture(found, float(truth.mean())),
        holds={"nothing beats the truth": all(row["above H(p*)"] > -3 * row["above H(p*), se"] for row in found)},
    )


def run(notes: Notes, decoder: str, prior: str, seed: int) -> Wanted:
    settings = {f"model__decoder__{key}": value for key, value in DECODERS[decoder].items()}
    return wanted(notes, f"prior-{decoder}-{prior}-{seed}".replace(" ", "_"), *PRIORS[prior], objective__penalty__kind="rate",
                  training__budget=f"{EPOCHS} epochs", training__validate_every=f"{EPOCHS} epochs", seed=seed, **settings)  # fmt: skip


def measured(notes: Notes, decoder: str, prior: str, seed: int, sentences: int) -> Tensor:
    """−log p(x) (N,) of test sentences under one run."""
    vae = loaded(notes, run(notes, decoder, prior, seed))
    return importance_weighted_nll(vae.model, some(vae, notes, sentences), SAMPLES, SentenceNoise(0, 2))


def line(nll: dict[tuple[str, str], Tensor], truth: Tensor, decoder: str, prior: str) -> Row:
    """A decoder under a prior: means over seeds, and what is saved against N(0, I), seed by seed."""
    own, above = nll[decoder, prior].mean(1), nll[decoder, prior].mean(0) - truth
    saved = nll[decoder, "standard normal"].mean(1) - own
    base = prior == "standard normal"
    return {
        "decoder": decoder, "prior": prior, "seeds": len(own), "−log p(x)": float(own.mean()), "−log p(x), se over seeds": standard_error(own),
        "above H(p*)": float(above.mean()), "above H(p*), se": standard_error(above), "saved": NONE if base else float(saved.mean()),
        "saved, se": NONE if base else standard_error(saved), "least saved": NONE if base else float(saved.min()),
        "most saved": NONE if base else float(saved.max()),
    }  # fmt: skip


def picture(found: list[Row], entropy: float) -> Figure:
    figure, panels = canvas(2)
    for axes, decoder in zip(panels, DECODERS, strict=True):
        rows = [row for row in found if row["decoder"] == decoder]
        heights, errors = ([row[key] for row in rows] for key in ("−log p(x)", "−log p(x), se over seeds"))
        axes.errorbar(range(len(rows)), heights, yerr=errors, fmt="o", color=BLUE, capsize=4, label="−log p(x), ± over seeds")
        axes.axhline(entropy, color=GREY, label="H(p*)")
        axes.set_xticks(range(len(rows)), [row["prior"] for row in rows])
        axes.set(title=decoder, ylabel="nats", xlim=(-0.5, 2.5))
    legend(panels[0], loc="center right")
    return figure


if __name__ == "__main__":
    main(claim)

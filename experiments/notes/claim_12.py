"""Claim 12: is a standard normal prior enough?"""

from torch import Tensor

from notes import Notes, Page, Row, main
from textvae.evaluation.estimators import importance_weighted_nll, standard_error, survey
from textvae.evaluation.noise import SentenceNoise
from textvae.plots.figure import BLUE, GREY, ORANGE, Figure, canvas, legend
from worlds import TINY, some, text

EPOCHS = 4
PRIORS = {"standard normal": (), "mixture": ("mixture_prior",), "flow": ("flow_prior",)}
DECODERS = {"bag of words": {"kind": "bag_of_words", "hidden_dim": 32, "dropout_out": 0.0},
            "window of 1": {"kind": "window", "order": 1, "embedding_dim": 32, "hidden_dim": 32, "dropout_in": 0.0, "dropout_out": 0.0}}  # fmt: skip


def claim(notes: Notes) -> Page:
    found: list[Row] = []
    best: dict[tuple[str, str], Tensor] = {}
    for decoder, options in DECODERS.items():
        for prior, recipe in PRIORS.items():
            nll = measured(notes, found, decoder, options, prior, recipe)
            best[decoder, prior] = nll
    gains = {key: best[key[0], "standard normal"] - nll for key, nll in best.items() if key[1] != "standard normal"}
    said = [
        f"{decoder}, {prior} {float(gain.mean()):+.2f} ± {standard_error(gain):.2f}"
        for (decoder, prior), gain in gains.items()
    ]
    useful = [key for key, gain in gains.items() if float(gain.mean()) > 3 * standard_error(gain)]
    verdict = "false for a given decoder" if useful else "true here"
    answer = (
        "The theorem lets the network be as large as it likes. With a given decoder, a prior that is learned does better in "
        f"{len(useful)} of {len(gains)} cases: it is a part of the network that the decoder lacked. A large enough decoder can be its own prior."
        if useful
        else "With the decoders tried here, a learned prior is no better than N(0, I) on sentences not seen before: the network carries the normal to where it is needed."
    )
    return Page(
        number=12,
        title="is a standard normal prior enough?",
        claim="A standard normal pushed through a network gives any distribution, so P(z) may be N(0, I).",
        verdict=verdict,
        answer=answer,
        figure=f"−log p(x) saved by a learned prior, paired over 500 test sentences: {'; '.join(said)} nats.",
        text=f"""
VAEs on a tiny grammar with a z of two dimensions and weak decoders, one that reads no word and one that reads the last word only: they need z, and use it without any remedy. The prior is N(0, I), a
learned mixture of 100 Gaussians, or a learned flow; everything else is equal. {EPOCHS} epochs, one seed. −log p(x) is estimated with 200 importance samples, and compared sentence by
sentence; ± is over sentences.
""",
        open="The learned priors have more parameters, and were not held against a decoder that is larger by as many. One seed does not tell a small difference from the chance of a training run.",
        table=found,
        picture=picture(found),
        holds={"nothing beats the truth": all(row["−log p(x)"] > TINY.entropy(2000, 7)[0] - 0.3 for row in found)},
    )


def measured(
    notes: Notes, found: list[Row], decoder: str, options: Row, prior: str, recipe: tuple[str, ...]
) -> Tensor:
    """−log p(x) (N,) of the test sentences under one run, whose row is added."""
    name = f"prior-{decoder}-{prior}".replace(" ", "_")
    settings = {f"model__decoder__{key}": value for key, value in options.items()}
    vae = text(notes, name, *recipe, objective__penalty__kind="rate", training__budget=f"{EPOCHS} epochs",
               training__validate_every=f"{EPOCHS} epochs", **settings)  # fmt: skip
    sequences, noise = some(vae, notes, 500), SentenceNoise(0, 2)
    nll = importance_weighted_nll(vae.model, sequences, 20 if notes.quick else 200, noise)
    seen = survey(vae.model, sequences, noise)
    found.append({
        "decoder": decoder, "prior": prior, "−log p(x)": float(nll.mean()), "−log p(x) se": standard_error(nll),
        "−ELBO": -float(seen.elbo.mean()), "rate": float(seen.rate.mean()), "distortion": float(seen.distortion.mean()),
    })  # fmt: skip
    return nll


def picture(found: list[Row]) -> Figure:
    figure, panels = canvas(2)
    for axes, decoder in zip(panels, DECODERS, strict=True):
        rows = [row for row in found if row["decoder"] == decoder]
        for number, prior in enumerate(PRIORS):
            own = [row for row in rows if row["prior"] == prior]
            for key, shape, colour in (("−ELBO", "x", ORANGE), ("−log p(x)", "o", BLUE)):
                axes.plot(
                    [number] * len(own),
                    [row[key] for row in own],
                    shape,
                    color=colour,
                    label=None if number else key,
                )
        axes.axhline(TINY.entropy(2000, 7)[0], color=GREY, label="H(p*)")
        axes.set_xticks(range(len(PRIORS)), PRIORS)
        axes.set(title=decoder, ylabel="nats", xlim=(-0.5, 2.5))
    legend(panels[0])
    return figure


if __name__ == "__main__":
    main(claim)

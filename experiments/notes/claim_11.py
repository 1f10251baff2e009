"""Claim 11: what is lost with the logarithm, and with the weights."""

import math

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from notes import Notes, Page, Row, main
from textvae.models.distributions import FullGaussian
from textvae.models.linear_gaussian import LinearGaussian
from textvae.plots.figure import BLUE, GREEN, GREY, ORANGE, Figure, canvas, legend
from worlds import linear, rows, some, text, truth


def claim(notes: Notes) -> Page:
    observations, draws = 16, 400 if notes.quick else 2000
    found = []
    with torch.no_grad():
        for dim in (2, 8, 16):
            found.append(row(f"linear-Gaussian, D = {dim}", gaussian(linear(dim, dim + 8), observations, draws)))
        vae = text(notes, "two")
        grid = truth(vae.model, some(vae, notes, observations))
        log_p = grid.log_likelihood
        found.append(row("text, D = 2", {
            "E_Q log P(X|z)": grid.under_q(log_p),
            "mean of P(X|z)": grid.under_q(log_p.exp()),
            "log E_Q P(X|z)": grid.under_q(log_p.exp()).log(),
            "log E_Q w P(X|z)": (log_p + grid.log_prior + grid.log_volume).logsumexp(0),
            "log P(X)": grid.log_evidence,
        }))  # fmt: skip
    large = found[2]
    words = found[3]
    return Page(
        number=11,
        title="what is lost with the logarithm, and with the weights",
        claim="E_Q log P(X|z) is about (1/n) Σ P(X|zᵢ), and E_Q P(X|z) is how the model generates X.",
        verdict="false, both",
        answer="The first is a slip: without the logarithm the mean is a number near 0 that no gradient would care for. The second forgets the weights P(z)/Q(z|X): "
        "what generates X is E_P, and the mean over Q overstates P(X), the more the larger the rate.",
        figure=f"Text, D = 2: log E_Q P(X|z) above log P(X) by {words['no_weights']:.2f} ± {words['no_weights_se']:.2f} nats; linear-Gaussian, "
        f"D = 16: by {large['no_weights']:.2f} ± {large['no_weights_se']:.2f}. Without the log, {words['mean of P(X|z)']:.2g} stands for {words['E_Q log P(X|z)']:.2f}.",
        text="""
Linear-Gaussian models with Q the exact posterior, so that nothing else can be to blame, and a VAE on a tiny grammar with its own encoder. 16
observations each. All expectations are exact: closed forms, or integrals on a grid.

    E_Q log P(X|z)        −distortion, what the notes mean
    mean of P(X|z)        what they write, E_Q P(X|z): the logarithm is missing
    log E_Q P(X|z)        the same read as an estimate of log P(X): the weights are missing
    log E_Q w P(X|z)      w = P(z)/Q(z|X): exactly log P(X), whatever Q is

`no_weights` is the second less log P(X); `with_weights` is the weighted one less log P(X). By Jensen's inequality E_Q log P(X|z) ≤ log E_Q P(X|z); with Q
the exact posterior E_Q log P(X|z) already exceeds log P(X), by D[Q ‖ P(z)], the rate that has not been paid.
""",
        open="Nothing. Both stay among the deliberately broken estimators, which the tests of the library must reject.",
        table=found,
        picture=picture(found),
        holds={
            "without weights P(X) is overstated": all(
                r["no_weights"] > 0 for r in (found[:3] if notes.quick else found)
            )
            and large["no_weights"] > 1,
            "more so at a larger rate": found[0]["no_weights"] < large["no_weights"],
            "with weights it is exact": all(
                abs(r["with_weights"]) < 5 * r["with_weights_se"] + 1e-6 for r in found
            ),
            "without a logarithm nothing is left": all(
                r["mean of P(X|z)"] > 0 > r["E_Q log P(X|z)"] for r in found
            ),
        },
    )


def gaussian(model: LinearGaussian, observations: int, draws: int) -> dict[str, Tensor]:
    """Closed forms; the weighted estimate alone is sampled, from a Q whose covariance is 1.3 times as wide."""
    x = model.sample(observations, seed=5)[1]
    q, linear_map, variance = model.exact_posterior(), model.decoder.linear, model.decoder.log_variance.exp()
    means = linear_map(q(x).mean)
    spread = linear_map.weight @ q.covariance @ linear_map.weight.T
    wide = MultivariateNormal(means, spread + variance * torch.eye(x.shape[1]).double())
    log_p = model.decoder(rows(x), q(x).mean[None]).sum(-1)[0] - 0.5 * spread.trace() / variance
    wider = FullGaussian(q(x).mean, torch.linalg.cholesky(1.3 * q.covariance).expand(observations, -1, -1))
    torch.manual_seed(0)
    z = wider.transport(torch.randn(draws, observations, model.latent_dim).double())
    weighted = model.decoder(rows(x), z).sum(-1) + model.prior().log_prob(z) - wider.log_prob(z)
    return {
        "E_Q log P(X|z)": log_p,
        "mean of P(X|z)": wide.log_prob(x).exp(),
        "log E_Q P(X|z)": wide.log_prob(x),
        "log E_Q w P(X|z)": weighted.logsumexp(0) - math.log(draws),
        "log P(X)": model.log_evidence(rows(x)),
    }


def row(world: str, values: dict[str, Tensor]) -> Row:
    """Means over observations, and paired differences from log P(X) with their standard errors."""
    made: Row = {"world": world, **{name: float(value.mean()) for name, value in values.items()}}
    for name, key in (("no_weights", "log E_Q P(X|z)"), ("with_weights", "log E_Q w P(X|z)")):
        difference = values[key] - values["log P(X)"]
        made |= {name: float(difference.mean()), f"{name}_se": float(difference.std() / len(difference) ** 0.5)}
    return made


def picture(found: list[Row]) -> Figure:
    figure, (axes,) = canvas(1, 7.5)
    shown = (("E_Q log P(X|z)", BLUE), ("log E_Q P(X|z)", ORANGE), ("log E_Q w P(X|z)", GREEN), ("log P(X)", GREY))
    for number, (name, colour) in enumerate(shown):
        places = [place + 0.2 * (number - 1.5) for place in range(len(found))]
        axes.bar(places, [row[name] for row in found], 0.18, color=colour, label=name)
    axes.set_xticks(range(len(found)), [row["world"] for row in found], fontsize=8)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set(ylabel="nats, mean over observations")
    legend(axes, loc="lower left")
    return figure


if __name__ == "__main__":
    main(claim)

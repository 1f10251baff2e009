"""Worlds where the truth is known: linear-Gaussian models, and a tiny grammar with a z of two dimensions."""

import warnings
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from notes import HERE, Notes, Wanted
from textvae.api import Vae
from textvae.builder import SLOTS
from textvae.data.batches import Batch, BatchStream, Sequences, collate, encode
from textvae.data.grammar import Grammar
from textvae.evaluation.quadrature import Quadrature, on_grid
from textvae.files import write_atomically
from textvae.models.distributions import FullGaussian
from textvae.models.linear_gaussian import Coordinates, LinearGaussian, LinearPosterior, observations
from textvae.models.terms import rate_of
from textvae.models.text_vae import TextVAE
from textvae.objectives.objective import Objective
from textvae.training.updates import Joint

__all__ = [
    "TINY",
    "doubt",
    "exact_terms",
    "fit",
    "lines",
    "linear",
    "loaded",
    "objective",
    "pair",
    "place",
    "rows",
    "text",
    "texts",
    "tiny_corpus",
    "truth",
    "wanted",
    "widened",
]

TINY = Grammar(
    factors={
        "topic": {"markets": 3, "courts": 2, "sport": 2},
        "number": {"one": 1, "many": 1},
        "tense": {"past": 3, "future": 2},
    },
    rules={
        "sentence": "3 the {who} {does} the {what}\n2 the {who} {does} the {what} {when}\n1 {when} the {who} {does} the {what}",
        "who": "{who.one} | number=one\n{who.many} | number=many",
        "who.one": "~ bank trader fund | topic=markets\n~ judge lawyer court | topic=courts\n~ team coach player | topic=sport",
        "who.many": "~ banks traders funds | topic=markets\n~ judges lawyers courts | topic=courts\n"
        "~ teams coaches players | topic=sport",
        "does": "{did} | tense=past\nwill {do} | tense=future",
        "did": "~ sold bought | topic=markets\n~ heard closed | topic=courts\n~ won lost | topic=sport",
        "do": "~ sell buy | topic=markets\n~ hear close | topic=courts\n~ win lose | topic=sport",
        "what": "~ shares bonds gold | topic=markets\n~ case appeal suit | topic=courts\n~ match cup final | topic=sport",
        "when": "~ yesterday today | tense=past\n~ tomorrow soon | tense=future",
    },
)
"""Sentences such as `the judges will hear the case tomorrow`: 44 words, a few thousand sentences."""


def linear(
    latent_dim: int, coordinates: int, *, posterior: str = "full", variance: float = 0.5, scale: float = 0.6,
    learned: bool = False, seed: int = 0, **options: Any,
) -> LinearGaussian:  # fmt: skip
    """A random linear-Gaussian model in float64, whose W has entries from N(0, scale²)."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        # At D = 1 a covariance has nothing below its diagonal: torch remarks on the empty weights.
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        q = SLOTS["model.posterior"].members[posterior](Coordinates(coordinates), latent_dim, **options)
    model = LinearGaussian(q, coordinates, variance=variance, learned=learned).double()
    for parameter in model.decoder.linear.parameters():
        parameter.data = scale * torch.randn_like(parameter)
    return model.eval()


def widened(model: LinearGaussian, factor: float) -> LinearPosterior:
    """The exact posterior with its covariance widened: an encoder that is a little off."""
    exact = model.exact_posterior()
    return LinearPosterior(exact.slope.detach(), exact.offset.detach(), (factor * exact.covariance).detach())


def place(model: LinearGaussian, q: LinearPosterior) -> None:
    """Write q into the heads of a full posterior, which see x and 1."""
    heads: Any = model.posterior
    factor = torch.linalg.cholesky(q.covariance.detach())
    for head in (heads.log_diagonal, heads.below):
        head.weight.data.zero_()
    below = torch.tril_indices(len(factor), len(factor), -1)
    heads.mean.weight.data = torch.cat([q.slope, q.offset[:, None]], 1).detach()
    heads.log_diagonal.weight.data[:, -1] = factor.diagonal().log()
    heads.below.weight.data[:, -1] = factor[below[0], below[1]]


def exact_terms(model: LinearGaussian, x: Tensor) -> tuple[Tensor, Tensor]:
    """Distortion and rate (B,) under a full or diagonal Gaussian q, in closed form: no z is sampled."""
    batch = rows(x)
    q, weight, variance = model.posterior(batch), model.decoder.linear.weight, model.decoder.log_variance.exp()
    factor = q.factor if isinstance(q, FullGaussian) else torch.diag_embed(q.stddev)
    spread = (weight @ factor).square().sum((-2, -1)) / variance
    distortion = -model.decoder(batch, q.mean[None]).sum(-1)[0] + 0.5 * spread
    return distortion, rate_of(q, model.prior(), q.mean)[0]


def rows(x: Tensor) -> Batch:
    """Observations x (B, n) as one batch."""
    return collate([row.numpy() for row in x])


def objective(model: TextVAE, *, weight: float = 1.0, samples: int = 1) -> Objective:
    """distortion + weight · rate, with every other slot at its default."""
    made = {
        slot: SLOTS[f"objective.{slot}"].members[kind]
        for slot, kind in {
            "penalty": "rate",
            "bound": "elbo",
            "corruption": "none",
            "inference": "amortised",
        }.items()
    }
    constant = SLOTS["objective.weight"].members["constant"]
    return Objective(
        model,
        weight=constant(value=weight),
        distortion_weight=constant(),
        auxiliary=SLOTS["objective.auxiliary"].members["none"](model, 0),
        word_dropout=constant(value=0.0),
        teacher_forcing=constant(),
        samples=samples,
        **{slot: member() for slot, member in made.items()},
    )


def fit(
    target: Objective, x: Tensor, steps: int, *, lr: float = 0.02, batch: int = 128, optimiser: str = "adam",
    clip_norm: float | None = None, seed: int = 0,
) -> None:  # fmt: skip
    """Train on observations with the library's update rule, the learning rate falling to 0 over the last half."""
    target.train()
    update = Joint(
        target, lambda: SLOTS["training.optimiser"].members[optimiser](target.parameters(), lr=lr), clip_norm=clip_norm
    )
    stream, generator = BatchStream(observations(x), batch, seed), torch.Generator().manual_seed(seed)
    for step in range(steps):
        update.optimiser.param_groups[0]["lr"] = lr * min(1.0, 2 * (1 - step / steps))
        update(stream, step, generator)
    target.eval()


def tiny_corpus(folder: Path) -> Path:
    """The tiny grammar's corpus as files: 12,000 sentences to train on, 500 each to look at."""
    for seed, (split, count) in enumerate({"train": 12_000, "valid": 500, "test": 500}.items()):
        file = folder / f"{split}.txt"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(file, "".join(f"{each.text}\n" for each in islice(TINY.stream(seed), count)))
    return folder


def text(notes: Notes, name: str, *recipes: str, **options: Any) -> Vae:
    """A VAE on the tiny grammar, in float64; by default z has two dimensions."""
    return loaded(notes, wanted(notes, name, *recipes, **options))


def texts(notes: Notes, runs: Iterable[Wanted]) -> list[Vae]:
    """Several of them, trained as many at once as the notes' jobs."""
    runs = list(runs)
    notes.ahead(runs)
    return [loaded(notes, run) for run in runs]


def pair(notes: Notes) -> dict[str, Vae]:
    """A VAE that uses its z of two dimensions, and one that has collapsed."""
    runs = {"alive": wanted(notes, "two"), "collapsed": wanted(notes, "collapsed", "vanilla")}
    return dict(zip(runs, texts(notes, runs.values()), strict=True))


def wanted(notes: Notes, name: str, *recipes: str, **options: Any) -> Wanted:
    """A run on the tiny grammar, whose corpus is written if it is not there."""
    corpus = tiny_corpus(notes.runs / "tiny")
    return name, (HERE / "tiny.yaml", *recipes), {"data__corpus": str(corpus), **options}


def loaded(notes: Notes, run: Wanted) -> Vae:
    """Its model in float64, trained if it is not done."""
    name, recipes, options = run
    vae = notes.trained(name, *recipes, **options)
    vae.model.double()
    return vae


def some(vae: Vae, notes: Notes, count: int) -> Sequences:
    """The first `count` sentences of the test split, in tokens."""
    return encode(lines(notes, count), vae.tokenizer)


def lines(notes: Notes, count: int) -> list[str]:
    """The first `count` sentences of the test split."""
    return (notes.runs / "tiny" / "test.txt").read_text("utf-8").split("\n")[:count]


def truth(model: TextVAE, sequences: Sequences, spacing: float = 0.04) -> Quadrature:
    """Integrals over a grid of z for a few sentences, as one batch."""
    return on_grid(model, collate([sequences[index] for index in range(len(sequences))]), spacing, reach=6.5)


def doubt(error: Tensor | float) -> str:
    """The largest error of integrals, in words for a page."""
    return f"{float(torch.as_tensor(error).max()):.0e}"

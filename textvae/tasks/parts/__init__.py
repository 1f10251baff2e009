"""Every part of a full evaluation, in the order in which they are measured."""

from textvae.tasks.parts.language import generated
from textvae.tasks.parts.likelihood import annealing, bound, posterior, prior, simulated
from textvae.tasks.parts.part import BOTH_WAYS, BRIEF, FULL, Part, Sizes
from textvae.tasks.parts.trained import knowledge, lag
from textvae.tasks.parts.use import dimensions, listening, positions
from textvae.tasks.subject import Subject

__all__ = ["BRIEF", "FULL", "PARTS", "Part", "Sizes"]


def gradients(subject: Subject, sizes: Sizes) -> int:
    """Forward-backward passes per sentence that annealing takes."""
    return annealing(subject, sizes).gradients if sizes.temperatures else 0


PARTS = (
    Part(
        "dimensions",
        "spectrum of z, its collapse, q(z) against p(z)",
        ("z",),
        (),
        lambda subject, sizes: 0,
        dimensions,
    ),
    Part(
        "listening",
        "does the decoder listen: other z, word accuracy, gradients",
        ("z",),
        (),
        lambda subject, sizes: (2 + 2 + BOTH_WAYS) * len(subject.sequences),
        listening,
    ),
    Part(
        "positions",
        "gain over a language model, by position",
        ("z", "lm"),
        (),
        lambda subject, sizes: 2 * len(subject.sequences),
        positions,
    ),
    Part(
        "prior",
        "likelihood estimated with z from the prior",
        ("likelihood",),
        ("prior_sentences", "prior_samples"),
        lambda subject, sizes: sizes.prior_sentences * sizes.prior_samples,
        prior,
    ),
    Part(
        "bound",
        "the importance-weighted bound as K grows",
        ("likelihood",),
        ("gap_sentences", "curve_samples"),
        lambda subject, sizes: sizes.gap_sentences * sizes.curve_samples,
        bound,
    ),
    Part(
        "posterior",
        "posterior gap, its parts, means of p(z|x)",
        ("likelihood",),
        ("gap_sentences", "refining_steps", "mean_samples", "temperatures"),
        lambda subject, sizes: (
            sizes.gap_sentences
            * (BOTH_WAYS * (4 * sizes.refining_steps + gradients(subject, sizes)) + sizes.mean_samples)
        ),
        posterior,
    ),
    Part(
        "simulated",
        "log p(x) between two bounds, on simulated sentences",
        ("likelihood", "space"),
        ("simulated_sentences", "temperatures"),
        lambda subject, sizes: 1.7 * BOTH_WAYS * sizes.simulated_sentences * gradients(subject, sizes),
        simulated,
    ),
    Part(
        "lag",
        "other encoders for the frozen decoder",
        ("likelihood",),
        ("lag_steps", "lag_sentences"),
        lambda subject, sizes: 2 * BOTH_WAYS * 64 * sizes.lag_steps,
        lag,
    ),
    Part(
        "knowledge",
        "linear probes of z",
        ("z",),
        (),
        lambda subject, sizes: 4 * len(subject.train),
        knowledge,
    ),
    Part(
        "text",
        "quality of samples, reconstructions and interpolations",
        (),
        ("text_samples", "reconstructions", "interpolations", "lm_steps"),
        lambda subject, sizes: 2 * BOTH_WAYS * 64 * sizes.lm_steps + 10 * sizes.text_samples,
        generated,
    ),
)

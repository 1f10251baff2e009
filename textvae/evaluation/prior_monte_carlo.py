"""Naive Monte Carlo: the likelihood averaged over the prior.

    p̂_K(x) = (1/K) Σₖ p(x|zₖ),  zₖ ~ p(z)

It is the importance sampler whose proposal has never seen x: unbiased for p(x), and useless where the
posterior is narrow, since almost no zₖ explains x. Its logarithm is biased low, by far more than its
own error says as long as the effective sample size is small; under 10 that error is void (NaN, "—").
On a collapsed model it is exact at once: that too is a sign of collapse.

References
----------
Doersch 2016, *Tutorial on Variational Autoencoders*.
Wu et al. 2017, *On the Quantitative Analysis of Decoder-Based Generative Models*.
"""

from collections.abc import Sequence

from textvae.data.batches import Batch, Sequences
from textvae.evaluation.curves import Curve, Draw, sampled_curve
from textvae.evaluation.estimators import Tick
from textvae.evaluation.noise import SentenceNoise
from textvae.models.text_vae import TextVAE

__all__ = ["prior_curve"]


def prior_curve(
    model: TextVAE,
    sequences: Sequences,
    samples: Sequence[int],
    noise: SentenceNoise,
    batch_size: int = 32,
    chunk: int = 16,
    tick: Tick = lambda n: None,
) -> Curve:
    """−log p̂_K(x) (`prior_nll`) for every K in `samples`, which rises, with its effective sample size.

    It takes the decoder as often as `importance_curve` does for the same K: the two can be compared.

    Raises
    ------
    ConfigError
        If `samples` is empty, not positive or not rising, or the model has no likelihood to estimate.
    """
    prior = model.prior()

    def draws(batch: Batch) -> Draw:
        return lambda start, stop: model.decoder(batch, prior.transport(noise(batch, start, stop))).sum(-1)

    return sampled_curve(model, sequences, samples, draws, batch_size, chunk, tick)

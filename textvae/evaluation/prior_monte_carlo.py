"""Naive Monte Carlo: the likelihood averaged over the prior.

    p̂_K(x) = (1/K) Σₖ p(x|zₖ),  zₖ ~ p(z)

This is importance sampling with the prior as proposal: unbiased for p(x), but useless if the posterior is
narrow, since almost no zₖ explains x. Its logarithm is biased low, by far more than its standard error
suggests while the effective sample size is small; below 10 that error is undefined (NaN, "—"). On a decoder
that ignores z it is exact already at K = 1, and nearly so on one that hears in z only noise: a sign of collapse.

References
----------
Doersch 2016, *Tutorial on Variational Autoencoders*.
Wu et al. 2017, *On the Quantitative Analysis of Decoder-Based Generative Models*.
"""

from collections.abc import Sequence

from torch import Tensor

from textvae.data.batches import Batch, Sequences, to_device
from textvae.evaluation.curves import Curve, sampled_curve
from textvae.evaluation.estimators import Draw, Tick
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
    """−log p̂_K(x) (`prior_nll`) for every K in `samples` (increasing), with its effective sample size.

    It costs as many decoder passes as `importance_curve` at the same K, so the two are comparable.

    Raises
    ------
    ConfigError
        If `samples` is empty, not positive or not increasing, or the model has no likelihood to estimate.
    """
    prior = model.prior()

    def draws(batch: Batch) -> Draw:
        on_device = batch.to(model.device)

        def draw(start: int, stop: int) -> Tensor:
            drawn = to_device(noise(batch, start, stop), model.device)
            log_prob: Tensor = model.decoder(on_device, prior.transport(drawn)).sum(-1)
            return log_prob

        return draw

    return sampled_curve(model, sequences, samples, draws, batch_size, chunk, tick)

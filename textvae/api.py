"""The Python API of a trained run: `textvae.load(run)` returns a `Vae` that encodes, decodes, samples and scores.

vae = textvae.load("runs/demo")
z = vae.encode(["the company said profits rose"])
vae.decode(z)
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textvae import builder
from textvae.config import Config
from textvae.data.batches import Batch, Sequences, encode
from textvae.data.tokenizers import Tokenizer, load_tokenizer
from textvae.errors import ConfigError, RunError, counted, require_whole
from textvae.evaluation.estimators import Survey, by_sentence, importance_weighted_nll
from textvae.evaluation.listening import distortion_under
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.verdict import State, Verdict
from textvae.generation import MAX_LENGTH, Decoding, interpolate, z_from_prior
from textvae.models.text_vae import TextVAE
from textvae.runs import Run
from textvae.training.checkpoints import load_best

__all__ = ["CollapsedWarning", "CutWarning", "UnknownWarning", "Vae", "load"]


TELLING = 5
"""Number of different z from which one sentence for all of them is worth a warning; fewer may be neighbours."""


class CollapsedWarning(UserWarning):
    """Greedy or beam decoding of a model whose decoder does not listen to z."""


class CutWarning(UserWarning):
    """Sentences longer than a run reads, of which the rest is left out."""


class UnknownWarning(UserWarning):
    """Sentences most of whose words a run does not know, and reads as <unk>."""


class Vae:
    """A trained model with its tokenizer; no method changes it."""

    def __init__(
        self,
        model: TextVAE,
        tokenizer: Tokenizer,
        config: Config,
        verdict: State = "undefined",
        weights_sha256: str | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.config = config
        self.verdict = verdict  # of `evaluate` on valid
        self.weights_sha256 = weights_sha256  # of what was loaded: the run may train on meanwhile
        self.device = model.device

    def __repr__(self) -> str:
        model = self.model
        parts = ", ".join(type(part).__name__ for part in (model.posterior, model.prior, model.decoder))
        return f"<Vae: {parts}; latent_dim {self.latent_dim}, {self.tokenizer.size:,} token types>"

    @property
    def latent_dim(self) -> int:
        return self.model.latent_dim

    def encode(self, sentences: Sequence[str]) -> Tensor:
        """The centre of each q(z|x), (B, D), on the host.

        It is the mean; on a sphere, the direction of the mean; of a flow, the image of zero noise.

        Raises
        ------
        RunError
            For a language model, which has no z.
        """
        self._require_latent("encode")

        def centre(batch: Batch, rows: Tensor) -> Sequence[Tensor]:
            return (self.model.posterior(batch.to(self.device)).centre,)

        (centres,) = by_sentence(self.model, self._read(sentences), centre)
        return centres

    def draw(self, sentences: Sequence[str], samples: int = 1, *, seed: int = 0) -> Tensor:
        """`samples` draws z ~ q(z|x) of each sentence, (K, B, D), on the host; the first one is that of `survey`.

        Raises
        ------
        RunError
            For a language model, which has no z.
        """
        self._require_latent("draw")
        require_whole("samples", samples, 1)
        require_whole("seed", seed, 0)
        noise = SentenceNoise(seed, self.latent_dim)

        def drawn(batch: Batch, rows: Tensor) -> Sequence[Tensor]:
            q = self.model.posterior(batch.to(self.device))
            return (q.transport(noise(batch, 0, samples).to(self.device)).transpose(0, 1),)

        (z,) = by_sentence(self.model, self._read(sentences), drawn)
        return z.transpose(0, 1)

    def decode(
        self,
        z: Tensor | np.ndarray | Sequence[Any],
        *,
        temperature: float | None = None,
        top_p: float = 1.0,
        beam: int = 1,
        forbid_unknown: bool = False,
        max_length: int = MAX_LENGTH,
        seed: int = 0,
    ) -> list[str]:
        """Decode z (B, D) into sentences: greedily, by beam search, or by sampling at a temperature.

        Raises
        ------
        ConfigError
            If z is not of shape (B, latent_dim), or an option is out of range.
        """
        how = Decoding(temperature, top_p, beam, forbid_unknown, max_length)
        return self._decode(self._points("decode", z), how, self._generator(seed))

    def sample(
        self,
        n: int = 5,
        *,
        seed: int = 0,
        temperature: float | None = 1.0,
        top_p: float = 1.0,
        beam: int = 1,
        forbid_unknown: bool = False,
        max_length: int = MAX_LENGTH,
    ) -> list[str]:
        """Decode z ~ p(z); words are sampled at `temperature`, or chosen greedily or by beam if it is None."""
        require_whole("n", n, 1)
        how = Decoding(temperature, top_p, beam, forbid_unknown, max_length)
        # z and words share one generator: two generators of the same seed would not be independent.
        generator = self._generator(seed)
        return self._decode(z_from_prior(self.model, n, generator), how, generator)

    def reconstruct(self, sentences: Sequence[str], *, beam: int = 1) -> list[str]:
        """Encode each sentence to the centre of its posterior, and decode that."""
        self._require_latent("reconstruct")
        return self._decode(self.encode(sentences).to(self.device), Decoding(beam=beam), self._generator(0))

    def interpolate(self, a: str, b: str, steps: int = 7, *, slerp: bool = False) -> list[str]:
        """Decode points on the path between the encodings of a and b, both ends included.

        The path is straight; with `slerp`, or if z lies on a sphere, it follows a great circle.
        """
        require_whole("steps", steps, 2)
        self._require_latent("interpolate")
        first, second = self.encode([a, b])
        way = interpolate(first, second, steps, slerp or self.model.posterior.spherical)
        return self._decode(way.to(self.device), Decoding(), self._generator(0))

    def score(self, sentences: Sequence[str], samples: int = 100, *, seed: int = 0) -> Tensor:
        """Importance-weighted estimates of log p(x) in nats, (B,), from `samples` draws each of z.

        Exact for a language model.

        Raises
        ------
        RunError
            For a deterministic autoencoder, which has no likelihood.
        """
        require_whole("samples", samples, 1)
        sequences = self._read(sentences)
        if not self.model.has_likelihood:
            raise RunError("score: this run is a deterministic autoencoder, which has no likelihood")
        require_whole("seed", seed, 0)
        noise = SentenceNoise(seed, self.latent_dim)
        return -importance_weighted_nll(self.model, sequences, samples, noise)

    def survey(self, sentences: Sequence[str], *, seed: int = 0) -> Survey:
        """Length, distortion, rate (also per dimension), ELBO, posterior mean and one z ~ q(z|x) of each sentence.

        Tensors of B rows, in nats where they are nats; over a split, their means are the numbers of `evaluate`.
        """
        require_whole("seed", seed, 0)
        return Survey.of(self.model, self._read(sentences), SentenceNoise(seed, self.latent_dim))

    def distortion(self, sentences: Sequence[str], z: Tensor | np.ndarray | Sequence[Any]) -> Tensor:
        """−log p(x|z) in nats, (B,), of each sentence under the z (B, D) given for it.

        Raises
        ------
        ConfigError
            If z is not of shape (B, latent_dim).
        """
        sequences, points = self._read(sentences), self._points("distortion", z)
        if len(points) != len(sequences):
            raise ConfigError(f"distortion: give one z a sentence, not {len(points)} for {len(sequences)}")
        return distortion_under(self.model, sequences, points)

    def lengths(self, sentences: Sequence[str]) -> list[int]:
        """Number of scored tokens of each sentence: EOS included, truncated tokens excluded."""
        lengths: list[int] = self._read(sentences).lengths.tolist()
        return lengths

    def _generator(self, seed: int) -> torch.Generator:
        require_whole("seed", seed, 0)
        return torch.Generator(self.device).manual_seed(seed)

    def _points(self, what: str, z: Tensor | np.ndarray | Sequence[Any]) -> Tensor:
        """z as a tensor on the model's device; rows of arrays and tensors may come as a list."""
        try:
            rows = z if isinstance(z, (Tensor, np.ndarray)) else [np.asarray(row) for row in z]
            values = rows if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows))
        except (TypeError, ValueError, RuntimeError):
            values = None
        if values is None or values.is_complex():
            raise ConfigError(f"{what}: z must be real numbers of shape (B, {self.latent_dim})")
        if values.ndim == 3 and values.shape[2] == self.latent_dim:
            raise ConfigError(
                f"{what}: z must have the shape (B, {self.latent_dim}); give draws as z.flatten(0, 1)"
            )
        if values.ndim != 2 or values.shape[1] != self.latent_dim:
            raise ConfigError(f"{what}: z must have the shape (B, {self.latent_dim}), not {tuple(values.shape)}")
        if not values.isfinite().all():
            raise ConfigError(f"{what}: z must be finite, but holds NaN or infinity")
        return values.to(self.device, self.model.dtype)

    def _decode(self, z: Tensor, how: Decoding, generator: torch.Generator) -> list[str]:
        rows = how(self.model.decoder, z, generator, self.tokenizer.unknown)
        if how.temperature is None:
            self._warn_if_collapsed(z, rows)
        return [self.tokenizer.decode(row) for row in rows]

    def _require_latent(self, what: str) -> None:
        if not self.model.has_z:
            raise RunError(f"{what}: this run is a language model (latent_dim 0), which has no z")

    def _read(self, sentences: Sequence[str]) -> Sequences:
        if isinstance(sentences, str) or not isinstance(sentences, Iterable) or isinstance(sentences, Mapping):
            what = "one string" if isinstance(sentences, str) else type(sentences).__name__
            raise ConfigError(f"give a list of sentences, not {what}")
        sentences = list(sentences)
        for place, sentence in enumerate(sentences):
            if not isinstance(sentence, str):
                raise ConfigError(f"sentence {place} must be text, not {type(sentence).__name__}")
            try:
                sentence.encode("utf-8")
            except UnicodeEncodeError:
                raise ConfigError(f"sentence {place} holds half a surrogate pair; decode it as UTF-8") from None
        limit = self.config.data.max_length
        sequences = encode(sentences, self.tokenizer, limit)
        if not len(sequences):
            raise ConfigError("there are no sentences; give at least one")
        if sequences.cut:
            cut = counted(sequences.cut, "sentence")
            warnings.warn(f"{cut} cut to {limit} tokens (data.max_length of this run)", CutWarning, stacklevel=3)
        strange = self._mostly_unknown(sequences)
        if strange:
            most = f"most words of {counted(strange, 'sentence')} are not in this run's vocabulary, and are read as"
            warnings.warn(f"{most} <unk>", UnknownWarning, stacklevel=3)
        return sequences

    def _mostly_unknown(self, sequences: Sequences) -> int:
        """The number of sentences more than half of whose tokens, EOS not counted, are read as <unk>."""
        unknown = np.isin(sequences.ids, self.tokenizer.unknown).astype(np.int64)
        each = np.add.reduceat(unknown, sequences.offsets[:-1])
        return int((2 * each > sequences.lengths - 1).sum())

    def _warn_if_collapsed(self, z: Tensor, rows: list[list[int]]) -> None:
        told = len(z) >= TELLING and bool((z != z[:1]).any())
        same = told and len({tuple(row) for row in rows}) == 1
        unknown = self.verdict in ("undefined", "undecided")
        if self.verdict == "collapsed" or (unknown and same and self.model.has_z):
            one = f"the {len(z)} z given here all decode to one sentence"
            found = one if unknown else "as `evaluate` found on valid"
            warnings.warn(
                f"the model looks collapsed: its decoder does not listen to z ({found}); sample at a temperature, "
                "or train with a remedy (textvae remedies)",
                CollapsedWarning,
                stacklevel=4,
            )


def load(run: str | PathLike[str], device: str | torch.device = "cpu") -> Vae:
    """Load the trained model of a run directory; no other argument is needed.

    Raises
    ------
    ConfigError
        If there is no such device.
    RunError
        If the run does not exist, has not been trained, or has a damaged file.
    """
    directory = Run.open(run)
    place = builder.device(str(device), "device")
    try:
        config = builder.checked(directory.config, str(directory.path / "config.yaml"))
        tokenizer = load_tokenizer(directory.tokenizer)
        with torch.random.fork_rng(devices=[]):
            model = builder.model(config, tokenizer.size).to(place)
    except ConfigError as error:
        raise RunError(f"{error}; if another version of textvae made this run, use that version") from None
    weights = load_best(directory, model)
    verdict = Verdict.read(directory.evaluation.get("valid", {}).get("verdict"))
    return Vae(model.eval(), tokenizer, config, verdict.state, weights)

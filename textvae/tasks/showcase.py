"""What a trained run says for itself: samples, reconstructions and an interpolation, as text files in it."""

import warnings
from collections.abc import Iterable, Sequence

from textvae.api import CollapsedWarning, Vae, load
from textvae.runs import Run

__all__ = ["as_list", "pick", "showcase"]

SAMPLES, RECONSTRUCTIONS = 20, 20


def pick(sentences: Sequence[str], n: int) -> list[str]:
    """`n` sentences at even distances."""
    n = min(n, len(sentences))
    return [sentences[i * len(sentences) // n] for i in range(n)]


def as_list(lines: Iterable[str]) -> str:
    """Markdown for TensorBoard, which would otherwise read `<unk>` as a tag."""
    return "\n".join("- " + line.replace("<", "&lt;") for line in lines)


def showcase(run: Run, sentences: Sequence[str]) -> None:
    """Write `samples.txt`, and where there is a z `reconstructions.txt` (sentence, tab, reconstruction) and
    `interpolations.txt`, from sentences of valid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapsedWarning)  # the verdict is `evaluate`'s to give
        _write(run, load(run.path), sentences)


def _write(run: Run, vae: Vae, sentences: Sequence[str]) -> None:
    run.write_text("samples.txt", vae.sample(SAMPLES, seed=0))
    if vae.latent_dim == 0 or len(sentences) < 2:
        return
    originals = pick(sentences, RECONSTRUCTIONS)
    pairs = zip(originals, vae.decode(vae.encode(originals), temperature=None), strict=True)
    run.write_text("reconstructions.txt", [f"{a}\t{b}" for a, b in pairs])
    a, b = pick(sentences, 2)
    run.write_text("interpolations.txt", vae.interpolate(a, b, 7))

"""The command line: parse, then call one function each.

Results go to stdout, progress and remarks to stderr; the exit code is 0, 1 for a failure, 2 for usage.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError

from textvae import __version__
from textvae.errors import ConfigError, TextvaeError

__all__ = ["main"]

app = App(
    name="textvae",
    help="Train LSTM text VAEs, see whether they collapse, and measure every remedy under equal conditions.",
    version=__version__,
)
corpus_app = App(name="corpus", help="What a corpus holds, and how to get one.")
app.command(corpus_app)

RunPath = Annotated[Path, Parameter(help="A run directory.")]
Split = Literal["valid", "test", "train"]


@app.command
def train(
    *names: str,
    corpus: str | None = None,
    run: Path | None = None,
    steps: int | None = None,
    seed: int | None = None,
    tokenizer: Literal["word", "unigram", "bpe", "char"] | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> None:
    """Train a model, or continue a run that was interrupted.

    Any setting can be given as --section.key VALUE, for example --training.optimiser.lr 0.5; options
    come after the files, which merge left to right.

    Parameters
    ----------
    names
        Corpora and remedies by name (see `textvae remedies`), or files ending in .yaml.
    corpus
        grammar, ptb, a directory with train/valid/test, a file, torchtext:PennTreebank or hf:NAME.
    run
        Where the run lives; default runs/<corpus>-<hash of the settings>.
    steps
        Optimiser steps in all, in place of any other budget.
    seed
        Seed of the weights, the order of the batches and the noise.
    tokenizer
        How sentences become tokens.
    device
        cpu, cuda, …
    threads
        CPU threads.
    """
    from textvae.tasks.train import train

    given = {
        "data.corpus": corpus,
        "training.budget": steps,
        "seed": seed,
        "data.tokenizer": tokenizer,
        "device": device,
        "threads": threads,
    }
    options = [*_settings, *((key, value) for key, value in given.items() if value is not None)]
    made = train(names, options, run)
    print(f"tensorboard --logdir {made.path}", file=sys.stderr)


@app.command
def evaluate(
    run: RunPath,
    *,
    split: Split = "valid",
    samples: int = 100,
    corpus: str | None = None,
    device: str = "cpu",
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Measure a run: ELBO, importance-weighted NLL, use of z, verdict; kept in evaluation.json.

    Parameters
    ----------
    split
        Look at test only when everything has been chosen.
    samples
        K of the importance-weighted estimate.
    corpus
        Measure on other sentences than the run's own; the result is shown, not kept.
    device
        Where to compute.
    json_
        Print JSON.
    """
    from textvae.console import evaluation_table
    from textvae.runs import Run
    from textvae.tasks.evaluate import evaluate_run

    values = evaluate_run(Run.open(run), split, samples, corpus, device=device)
    if json_:
        print(json.dumps({split: values}, ensure_ascii=False, allow_nan=False))
    else:
        evaluation_table(str(run), {split: values})


@app.command
def show(run: RunPath) -> None:
    """What a run has: its numbers, samples, reconstructions and an interpolation."""
    from textvae.tasks.show import show

    show(run)


@app.command
def score(run: RunPath, file: str, *, samples: int = 100, seed: int = 0) -> None:
    """Estimate log p of every line: log p, tokens, sentence, separated by tabs.

    Parameters
    ----------
    file
        One sentence a line; - is standard input.
    samples
        K of the importance-weighted estimate.
    seed
        Seed of its noise.
    """
    from textvae.api import load
    from textvae.tasks.lines import read_lines

    sentences = read_lines(file)
    vae = load(run)
    for sentence, value in zip(sentences, vae.score(sentences, samples, seed=seed).tolist(), strict=True):
        print(f"{value:.4f}\t{len(vae.tokenizer.encode(sentence)) + 1}\t{sentence}")


@app.command
def sample(
    run: RunPath,
    *,
    n: Annotated[int, Parameter(name=["-n", "--n"])] = 10,
    temperature: float = 1.0,
    top_p: float = 1.0,
    greedy: Annotated[bool, Parameter(negative="")] = False,
    beam: int | None = None,
    seed: int = 0,
    forbid_unknown: Annotated[bool, Parameter(negative="")] = False,
    max_length: int = 100,
) -> None:
    """Draw sentences: z from the prior, then words at a temperature, greedily or by beam search.

    Parameters
    ----------
    n
        How many.
    temperature
        Below 1 the words are safer, above 1 wilder.
    top_p
        Draw from the fewest words that hold this share of the probability.
    greedy
        Take the most likely word each time.
    beam
        Search with this many hypotheses.
    seed
        Seed of z and of the words.
    forbid_unknown
        Never say <unk>.
    max_length
        Words after which a sentence is cut off.
    """
    from textvae.api import load

    deterministic = greedy or beam is not None
    sentences = load(run).sample(
        n,
        seed=seed,
        temperature=None if deterministic else temperature,
        top_p=top_p,
        beam=beam or 1,
        forbid_unknown=forbid_unknown,
        max_length=max_length,
    )
    print(*sentences, sep="\n")


@app.command
def reconstruct(run: RunPath, file: str, *, beam: int = 1) -> None:
    """Encode and decode every line; exactly one row comes out for each that goes in.

    Parameters
    ----------
    file
        One sentence a line, a blank one is the empty sentence; - is standard input.
    beam
        Search with this many hypotheses.
    """
    from textvae.api import load
    from textvae.tasks.lines import read_lines

    print(*load(run).reconstruct(read_lines(file), beam=beam), sep="\n")


@app.command
def interpolate(
    run: RunPath,
    a: str,
    b: str,
    *,
    steps: int = 7,
    slerp: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Decode along the way from one sentence's z to another's.

    Parameters
    ----------
    a
        The first sentence.
    b
        The last one.
    steps
        How many points, the ends included.
    slerp
        Along the great circle instead of a straight line.
    """
    from textvae.api import load

    print(*load(run).interpolate(a, b, steps, slerp=slerp), sep="\n")


@app.command
def encode(run: RunPath, file: str, *, out: Path) -> None:
    """Posterior means of every line, a row each, as a NumPy file.

    Parameters
    ----------
    file
        One sentence a line; - is standard input.
    out
        The .npy file to write.
    """
    import io

    import numpy as np

    from textvae.api import load
    from textvae.runs import write_atomically
    from textvae.tasks.lines import read_lines

    content = io.BytesIO()
    np.save(content, load(run).encode(read_lines(file)).numpy())
    write_atomically(out, lambda target: target.write(content.getvalue()))


@corpus_app.command(name="list")
def corpus_list() -> None:
    """The corpora that textvae knows, and where each was found."""
    from textvae.console import table
    from textvae.data.corpora import known_corpora

    table("Corpora", ["name", "what", "where"], known_corpora())


@corpus_app.command
def info(
    source: str, *, tokenizer: Literal["word", "unigram", "bpe", "char"] = "word", column: str | None = None
) -> None:
    """Count a corpus: sentences, tokens, types, lengths, unknown rate, overlap.

    Parameters
    ----------
    source
        A name, a directory or a file.
    tokenizer
        How sentences become tokens.
    column
        The text column of a table.
    """
    from textvae.tasks.corpus import print_info

    print_info(source, tokenizer, column)


@corpus_app.command
def fetch(name: str, *, root: Path = Path("data")) -> None:
    """Download a corpus and verify its checksums.

    Parameters
    ----------
    name
        ptb.
    root
        The directory that will hold it.
    """
    from textvae.tasks.corpus import fetch_corpus

    fetch_corpus(name, root)


@app.command
def remedies() -> None:
    """The corpora and remedies that `train` knows by name."""
    from textvae.console import table
    from textvae.tasks.remedies import described

    table("Remedies: textvae train CORPUS REMEDY …", ["name", "what it does"], described("remedies"))
    table("Corpora", ["name", "setting"], described("corpora"))


_settings: list[tuple[str, Any]] = []
"""`--section.key VALUE` options of this call, taken out before the rest is parsed."""


def take_settings(arguments: list[str]) -> tuple[list[str], list[tuple[str, Any]]]:
    """Split off `--section.key VALUE` and `--section.key=VALUE`, reading values as YAML."""
    import yaml

    rest: list[str] = []
    settings: list[tuple[str, Any]] = []
    queue = iter(arguments)
    for argument in queue:
        name, equals, value = argument.partition("=")
        if not (name.startswith("--") and "." in name and arguments[0] == "train"):
            rest.append(argument)
            continue
        given = value if equals else next(queue, None)
        if given is None:
            raise ConfigError(f"{name}: a value must follow")
        try:
            settings.append((name[2:], yaml.safe_load(given)))
        except yaml.YAMLError:
            raise ConfigError(f"{name}: {given!r} is not a value; quote it") from None
    return rest, settings


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit."""
    try:
        rest, settings = take_settings(list(sys.argv[1:] if arguments is None else arguments))
        _settings[:] = settings
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *rest: print(f"note: {message}", file=sys.stderr)
            app(rest, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _fail(" ".join(str(error).split()), 2)
    except ConfigError as error:
        _fail(str(error), 2)
    except TextvaeError as error:
        _fail(str(error), 1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except KeyboardInterrupt:
        _fail("stopped", 1)
    except OSError as error:
        _fail(f"{error.filename or 'the operating system'}: {error.strerror or error}", 1)


def _fail(sentence: str, code: int) -> None:
    print(f"textvae: {sentence}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()

"""The command line: parse, then call one function each.

Results go to stdout, progress and remarks to stderr; the exit code is 0, 1 for a failure, 2 for usage.
"""

import contextlib
import json
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError
from cyclopts.validators import Number

from textvae import __version__
from textvae.console import one_voice
from textvae.errors import ConfigError, TextvaeError
from textvae.options import (
    Count,
    Flag,
    Lines,
    RunPath,
    Seed,
    Sentence,
    Setting,
    Split,
    TokenizerKind,
    Whole,
    take_settings,
)

__all__ = ["main"]

app = App(
    name="textvae",
    help="Train LSTM text VAEs, see whether they collapse, and measure every remedy under equal conditions.",
    version=__version__,
)
corpus_app = App(name="corpus", help="What a corpus holds, and how to get one.")
app.command(corpus_app)

_settings: list[Setting] = []
"""`--section.key VALUE` options of this call, taken out before the rest is parsed."""


@app.command
def train(
    *names: str,
    corpus: str | None = None,
    run: Path | None = None,
    steps: Whole | None = None,
    seed: Whole | None = None,
    tokenizer: TokenizerKind | None = None,
    device: str | None = None,
    threads: Whole | None = None,
    init: Path | None = None,
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
        Where the run lives; `runs/<corpus>-<hash of the settings>` if it is not given.
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
    init
        A finished run in place of the first stage, for settings that have one; else it is trained in RUN/first.
    """
    from textvae.tasks.train import train

    given = {
        "corpus": corpus,
        "steps": steps,
        "seed": seed,
        "tokenizer": tokenizer,
        "device": device,
        "threads": threads,
    }
    options = dict(_settings) | {name: value for name, value in given.items() if value is not None}
    made = train(names, options, run, init)
    print(f"tensorboard --logdir {made.path}", file=sys.stderr)


@app.command
def evaluate(
    run: RunPath,
    /,
    *,
    split: Split = "valid",
    samples: Count = 100,
    all_: Annotated[Flag, Parameter(name="--all")] = False,
    lm: Path | None = None,
    corpus: str | None = None,
    device: str = "cpu",
    json_: Annotated[Flag, Parameter(name="--json")] = False,
) -> None:
    """Measure a run: ELBO, importance-weighted NLL, use of z, verdict; kept in evaluation.json.

    Parameters
    ----------
    split
        Look at test only when everything has been chosen.
    samples
        K of the importance-weighted estimate.
    all_
        Everything that can be measured, part by part: the posterior gap, annealing, probes, generated text.
    lm
        With --all, the run of a language model to compare with, word by word.
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

    if all_:
        from textvae.tasks.everything import evaluate_all

        if corpus is not None:
            raise ConfigError("--corpus: --all keeps its parts in the run, so it measures the run's own sentences")
        values = evaluate_all(Run.open(run), split, samples, lm, device=device)
    elif lm is not None:
        raise ConfigError("--lm: is compared with by --all and by textvae diagnose; add --all")
    else:
        values = evaluate_run(Run.open(run), split, samples, corpus, device=device)
    if json_:
        print(json.dumps({split: values}, ensure_ascii=False, allow_nan=False))
    else:
        evaluation_table(str(run), {split: values})


@app.command
def diagnose(run: RunPath, /, *, split: Split = "valid", lm: Path | None = None, seed: Seed = 0) -> None:
    """Is it collapsed, is the model or the inference to blame, what to try: a page, and pictures beside it.

    Parameters
    ----------
    split
        Look at test only when everything has been chosen.
    lm
        The run of a language model to compare with, word by word.
    seed
        Seed of every draw.
    """
    from textvae.runs import Run
    from textvae.tasks.diagnose import diagnose_run

    print(diagnose_run(Run.open(run), split, lm, seed))


@app.command
def show(run: RunPath, /) -> None:
    """What a run has: its numbers, samples, reconstructions and an interpolation."""
    from textvae.tasks.show import show

    show(run)


@app.command
def score(run: RunPath, file: Lines, /, *, samples: Count = 100, seed: Seed = 0) -> None:
    """Estimate log p of every line: log p, tokens with the end counted, sentence, separated by tabs.

    Parameters
    ----------
    file
        One sentence a line, a blank one is the empty sentence; - is standard input.
    samples
        K of the importance-weighted estimate.
    seed
        Seed of its noise.
    """
    from textvae.api import load
    from textvae.tasks.lines import read_lines

    sentences = read_lines(file)
    vae = load(run)
    scores, tokens = vae.score(sentences, samples, seed=seed).tolist(), vae.lengths(sentences)
    for value, count, sentence in zip(scores, tokens, sentences, strict=True):
        print(f"{value:.4f}\t{count}\t{sentence}")


@app.command
def sample(
    run: RunPath,
    /,
    *,
    n: Annotated[Count, Parameter(name=["-n", "--n"])] = 10,
    temperature: float | None = None,
    top_p: float | None = None,
    greedy: Flag = False,
    beam: Count | None = None,
    seed: Seed = 0,
    forbid_unknown: Flag = False,
    max_length: Count = 100,
) -> None:
    """Draw sentences: z from the prior, then words at a temperature, greedily or by beam search.

    Parameters
    ----------
    n
        How many.
    temperature
        Below 1 the words are safer, above 1 wilder; 1 if it is not given.
    top_p
        Draw from the fewest words that hold this share of the probability.
    greedy
        Take the most likely word each time.
    beam
        Search with this many hypotheses.
    seed
        Seed of z and of the words.
    forbid_unknown
        Never say the unknown word.
    max_length
        Words after which a sentence is cut off.
    """
    from textvae.api import load

    drawn = not greedy and beam is None
    if greedy and beam is not None:
        raise ConfigError("--greedy and --beam are two ways to decode; leave one of them out")
    if not drawn and (temperature, top_p) != (None, None):
        raise ConfigError("--temperature and --top-p are for drawn words; leave them out with --greedy or --beam")
    sentences = load(run).sample(
        n,
        seed=seed,
        temperature=(1.0 if temperature is None else temperature) if drawn else None,
        top_p=1.0 if top_p is None else top_p,
        beam=beam or 1,
        forbid_unknown=forbid_unknown,
        max_length=max_length,
    )
    print(*sentences, sep="\n")


@app.command
def reconstruct(run: RunPath, file: Lines, /, *, beam: Count = 1) -> None:
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

    sentences = read_lines(file)
    print(*load(run).reconstruct(sentences, beam=beam), sep="\n")


@app.command
def interpolate(run: RunPath, a: Sentence, b: Sentence, /, *, steps: Whole = 7, slerp: Flag = False) -> None:
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
def encode(run: RunPath, file: Lines, /, *, out: Path) -> None:
    """Posterior means of every line, a row each, as a NumPy file.

    Parameters
    ----------
    file
        One sentence a line, a blank one is the empty sentence; - is standard input.
    out
        The .npy file to write.
    """
    from textvae.tasks.lines import encode_lines

    encode_lines(run, file, out)


@app.command
def probe(run: RunPath, /, *, split: Split = "valid", seed: Seed = 0) -> None:
    """What z knows of a sentence, in nats: length, first word, words, and on the grammar corpus its factors.

    Parameters
    ----------
    split
        The held-out sentences that the probes are scored on; they are fitted on train.
    seed
        Seed of z and of the shuffled labels.
    """
    from textvae.console import probe_table
    from textvae.runs import Run
    from textvae.tasks.probe import probe

    probe_table(str(run), probe(Run.open(run), split, seed))


@app.command
def bench(
    *,
    full: Flag = False,
    json_: Annotated[Flag, Parameter(name="--json")] = False,
    profile: Path | None = None,
    out: Path | None = None,
    rounds: Count = 10,
    seconds: Annotated[float, Parameter(validator=Number(gt=0, lt=3600))] = 0.5,
    threads: Count | None = None,
) -> None:
    """Time training and evaluation against the machine's own matrix product, and against a plain reference.

    Parameters
    ----------
    full
        Not 256/256/32 at batch 32 over 10,000 types alone, but two sizes, three vocabularies and two batch
        sizes, on every device: hours on a processor.
    json_
        Print JSON.
    profile
        Write a trace of some steps here, for Perfetto or TensorBoard.
    out
        Write the figures here as JSON, cell by cell; cells that it holds already are not measured again.
    rounds
        How often all contenders are measured in turn; the best rounds count.
    seconds
        How long a contender works in a round, at least.
    threads
        CPU threads.
    """
    from textvae.console import table
    from textvae.tasks.bench import run_bench, table_rows

    found = run_bench(rounds, seconds, threads, full, profile, out)
    if json_:
        print(json.dumps(found, indent=1))
        return
    for cell in (found, *(cell for cell in found.get("cells", []) if "error" not in cell)):
        title = f"{cell['name']}; best of {cell['rounds']} rounds, {found['machine']['threads']} threads"
        table(title, ["", ""], table_rows(cell))


@app.command
def study(
    name: str,
    /,
    *,
    out: Path | None = None,
    jobs: Count | None = None,
    launcher: Literal["local", "ray", "slurm"] = "local",
) -> None:
    """Train and evaluate a grid of corpora, remedies, strengths and seeds; continue one that was stopped.

    Parameters
    ----------
    name
        A study by name (smoke, grammar, ptb), or a file ending in .yaml.
    out
        Where its runs live; `runs/<name>` if it is not given.
    jobs
        How many runs at once; one a core if it is not given.
    launcher
        Processes on this machine, tasks on a Ray cluster, or jobs in Slurm's queue.
    """
    from textvae.tasks.study import study

    done = study(name, out, jobs, launcher)
    print(f"textvae report {done}", file=sys.stderr)


@app.command
def report(directory: Path, /) -> None:
    """Tables, plots and samples of a study, as one HTML page, CSV and PNG in its folder `report`.

    Parameters
    ----------
    directory
        What `textvae study` wrote.
    """
    from textvae.tasks.report import report

    print(report(directory))


@corpus_app.command(name="list")
def corpus_list() -> None:
    """The corpora that textvae knows, and where each was found."""
    from textvae.console import table
    from textvae.data.corpora import known_corpora

    table("Corpora", ["name", "what", "where"], known_corpora())


@corpus_app.command
def info(source: str, /, *, tokenizer: TokenizerKind = "word", column: str | None = None) -> None:
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
def fetch(name: str, /, *, root: Path | None = None) -> None:
    """Download a corpus and verify its checksums.

    Parameters
    ----------
    name
        ptb.
    root
        The directory that will hold it; `$TEXTVAE_DATA`, else `data`, if it is not given.
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with one_voice():
            _run(given)
    except CycloptsError as error:
        _fail(" ".join(str(error).split()), 2)
    except ConfigError as error:
        _fail(str(error), 2)
    except TextvaeError as error:
        _fail(str(error), 1)
    except BrokenPipeError:
        _discard_output()
        sys.exit(1)
    except KeyboardInterrupt:
        _fail("stopped", 1)
    except MemoryError:
        _fail("not enough memory", 1)
    except OSError as error:
        _discard_output()
        _fail(f"{error.filename or 'the operating system'}: {error.strerror or error}", 1)


def _run(arguments: list[str]) -> None:
    _settings.clear()
    if arguments[:1] == ["train"]:
        arguments, _settings[:] = take_settings(arguments)
    # A member of a slot from outside, `kind: module:Class`, may lie where the command is given.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    with warnings.catch_warnings(), _failures_in_threads():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = _note()
        try:
            app(arguments, exit_on_error=False, print_error=False)
        finally:
            sys.stdout.flush()


def _note() -> Callable[..., None]:
    """Show every warning once, as a remark."""
    shown: set[str] = set()

    def note(message: Warning | str, *rest: object) -> None:
        sentence = " ".join(str(message).split())
        if sentence not in shown:
            shown.add(sentence)
            print(f"note: {sentence}", file=sys.stderr)

    return note


@contextlib.contextmanager
def _failures_in_threads() -> Iterator[None]:
    """TensorBoard writes in a thread of its own; a full disk is a remark there, and no traceback."""
    before = threading.excepthook

    def report(failure: threading.ExceptHookArgs) -> None:
        if isinstance(failure.exc_value, OSError):
            print(f"note: {failure.exc_value}", file=sys.stderr)
        else:
            before(failure)

    threading.excepthook = report
    try:
        yield
    finally:
        threading.excepthook = before


def _discard_output() -> None:
    """Nobody reads what is still to be written, so the interpreter's last flush must not fail."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(sentence: str, code: int) -> None:
    print(f"textvae: {sentence}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()

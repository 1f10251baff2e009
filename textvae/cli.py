"""The command line: parse, then call one function each.

Results go to stdout, progress and remarks to stderr; the exit code is 0, 1 for a failure, 2 for usage.
"""

import contextlib
import json
import os
import re
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
from textvae.console.output import one_voice
from textvae.errors import ConfigError, TextvaeError
from textvae.options import (
    Count,
    Device,
    Flag,
    Lines,
    RunPath,
    Seed,
    Sentence,
    Setting,
    Split,
    TokenizerKind,
    Whole,
    similar_settings,
    take_settings,
)

__all__ = ["main"]

app = App(
    name="textvae",
    help="Train LSTM text VAEs, detect posterior collapse, and compare remedies under equal conditions.",
    version=__version__,
)
corpus_app = App(name="corpus", help="List, inspect and download corpora.")
app.command(corpus_app)


@app.command
def train(
    *names: str,
    corpus: str | None = None,
    column: str | None = None,
    run: Path | None = None,
    steps: Whole | None = None,
    seed: Whole | None = None,
    tokenizer: TokenizerKind | None = None,
    device: str | None = None,
    threads: Whole | None = None,
    init: Path | None = None,
    settings: Annotated[Sequence[Setting], Parameter(parse=False)],
) -> None:
    """Train a model, or continue an interrupted run.

    Any setting can be given as --section.key VALUE, for example --training.optimiser.lr 0.5. Files merge
    left to right; options override them.

    Parameters
    ----------
    names
        Corpora and remedies by name (see `textvae remedies`), or files ending in .yaml.
    corpus
        grammar (the default), ptb, a directory with train/valid/test, a file, torchtext:PennTreebank or hf:NAME.
    column
        The text column of a table.
    run
        The run directory; default `runs/<corpus>-<remedies>-<hash of the settings>`.
    steps
        Total number of optimiser steps; overrides any other budget.
    seed
        Seed of the initial weights, the batch order and the noise.
    tokenizer
        Kind of tokens.
    device
        cpu, cuda, …
    threads
        Number of CPU threads.
    init
        A finished run to use as the first stage, if the settings have one; default: train it in RUN/first.
    """
    from textvae.tasks.train import train

    given = {
        "corpus": corpus,
        "column": column,
        "steps": steps,
        "seed": seed,
        "tokenizer": tokenizer,
        "device": device,
        "threads": threads,
    }
    options = dict(settings) | {name: value for name, value in given.items() if value is not None}
    made = train(names, options, run, init)
    print(f"tensorboard --logdir {made.path}", file=sys.stderr)


@app.command
def evaluate(
    run: RunPath,
    /,
    *,
    split: Split = "valid",
    samples: Count = 100,
    seed: Seed = 0,
    all_: Annotated[Flag, Parameter(name="--all")] = False,
    lm: Path | None = None,
    corpus: str | None = None,
    column: str | None = None,
    device: Device = "cpu",
    json_: Annotated[Flag, Parameter(name="--json")] = False,
) -> None:
    """Evaluate a run: ELBO, importance-weighted NLL, use of z, verdict; saved in evaluation.json.

    Parameters
    ----------
    split
        Split to evaluate; use test only for the final evaluation.
    samples
        Number of samples K of the importance-weighted estimate.
    seed
        Seed of all random draws.
    all_
        Compute every measure, part by part: posterior gap, annealing, probes, generated text.
    lm
        With --all, the run of a language model to compare with, word by word.
    corpus
        Evaluate on another corpus, of a single file on all of it; the result is printed, not saved.
    column
        With --corpus, the text column of a table.
    json_
        Print JSON.
    """
    from textvae.console.results import evaluation_table
    from textvae.runs import Run
    from textvae.tasks.evaluate import evaluate_run

    if column is not None and corpus is None:
        raise ConfigError("--column only applies with --corpus; add --corpus")
    if all_:
        from textvae.tasks.evaluate_all import evaluate_all

        if corpus is not None:
            raise ConfigError(
                "--corpus does not apply with --all, which uses the run's own sentences; leave one out"
            )
        values = evaluate_all(Run.open(run), split, samples, lm, seed=seed, device=device)
    elif lm is not None:
        raise ConfigError("--lm only applies with --all (or to textvae diagnose); add --all")
    else:
        values = evaluate_run(Run.open(run), split, samples, corpus, column, seed, device)
    if json_:
        print(json.dumps({split: values}, ensure_ascii=False, allow_nan=False))
    else:
        evaluation_table(str(run), {split: values})


@app.command
def diagnose(
    run: RunPath, /, *, split: Split = "valid", lm: Path | None = None, seed: Seed = 0, device: Device = "cpu"
) -> None:
    """Diagnose posterior collapse: verdict, likely cause and remedies to try, as a Markdown page with plots.

    Parameters
    ----------
    split
        Split to evaluate; use test only for the final evaluation.
    lm
        The run of a language model to compare with, word by word.
    seed
        Seed of all random draws.
    """
    from textvae.runs import Run
    from textvae.tasks.diagnose import diagnose_run

    print(diagnose_run(Run.open(run), split, lm, seed, device))


@app.command
def show(run: RunPath, /) -> None:
    """Show the results of a run: evaluation, samples, reconstructions and an interpolation."""
    from textvae.tasks.show import show

    show(run)


@app.command
def score(run: RunPath, file: Lines, /, *, samples: Count = 100, seed: Seed = 0, device: Device = "cpu") -> None:
    """Estimate log p of every line; prints log p, tokens including EOS, and sentence, separated by tabs.

    Parameters
    ----------
    file
        One sentence a line, a blank one is the empty sentence; - is standard input.
    samples
        Number of samples K of the importance-weighted estimate.
    seed
        Seed of the noise.
    """
    from textvae.api import load
    from textvae.tasks.lines import read_lines

    sentences = read_lines(file)
    vae = load(run, device)
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
    device: Device = "cpu",
) -> None:
    """Generate sentences: z from the prior, then words by sampling, greedy decoding or beam search.

    Parameters
    ----------
    n
        Number of sentences.
    temperature
        Sampling temperature; lower is more conservative, higher more diverse (default 1).
    top_p
        Sample from the smallest set of words with at least this total probability.
    greedy
        Choose the most likely word at each step.
    beam
        Number of hypotheses in beam search.
    seed
        Seed of z and of the words.
    forbid_unknown
        Never generate `<unk>`.
    max_length
        Maximum number of tokens; longer sentences are cut off.
    """
    from textvae.api import load

    drawn = not greedy and beam is None
    if greedy and beam is not None:
        raise ConfigError("--greedy and --beam exclude each other; leave one of them out")
    if not drawn and (temperature, top_p) != (None, None):
        raise ConfigError("--temperature and --top-p are for sampling; leave them out with --greedy or --beam")
    sentences = load(run, device).sample(
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
def reconstruct(run: RunPath, file: Lines, /, *, beam: Count = 1, device: Device = "cpu") -> None:
    """Encode and decode every line; prints exactly one line for each input line.

    Parameters
    ----------
    file
        One sentence a line, a blank one is the empty sentence; - is standard input.
    beam
        Number of hypotheses in beam search.
    """
    from textvae.api import load
    from textvae.tasks.lines import read_lines

    sentences = read_lines(file)
    print(*load(run, device).reconstruct(sentences, beam=beam), sep="\n")


@app.command
def interpolate(
    run: RunPath,
    a: Sentence,
    b: Sentence,
    /,
    *,
    steps: Whole = 7,
    slerp: Flag = False,
    device: Device = "cpu",
) -> None:
    """Decode points between the codes z of two sentences.

    Parameters
    ----------
    a
        The first sentence.
    b
        The last sentence.
    steps
        Number of points, including both ends.
    slerp
        Interpolate along a great circle instead of a straight line.
    """
    from textvae.api import load

    print(*load(run, device).interpolate(a, b, steps, slerp=slerp), sep="\n")


@app.command
def encode(run: RunPath, file: Lines, /, *, out: Path, device: Device = "cpu") -> None:
    """Write the centre of q(z|x) of every line, for a Gaussian its mean, to a NumPy file, one row per line.

    Parameters
    ----------
    file
        One sentence a line, a blank one is the empty sentence; - is standard input.
    out
        The .npy file to write.
    """
    from textvae.tasks.lines import encode_lines

    encode_lines(run, file, out, device)


@app.command
def probe(run: RunPath, /, *, split: Split = "valid", seed: Seed = 0, device: Device = "cpu") -> None:
    """Probe what z encodes, in nats: length, first word, words and, on the grammar corpus, its factors.

    Parameters
    ----------
    split
        Split on which the probes are scored; they are fitted on train.
    seed
        Seed of z and of the shuffled labels.
    """
    from textvae.console.results import probe_table
    from textvae.runs import Run
    from textvae.tasks.probe import probe

    probe_table(str(run), probe(Run.open(run), split, seed, device))


@app.command
def settings() -> None:
    """Print every setting with its default and meaning, and every member of every slot, as Markdown."""
    from textvae.tasks.settings import page

    print(page())


@app.command
def bench(
    *,
    embedding_dim: Count = 256,
    hidden_dim: Count = 256,
    vocabulary: Annotated[int, Parameter(validator=Number(gte=2))] = 10_000,
    batch_size: Count = 32,
    device: str = "cpu",
    precision: Literal["float32", "tf32", "bf16"] = "float32",
    full: Flag = False,
    json_: Annotated[Flag, Parameter(name="--json")] = False,
    profile: Path | None = None,
    out: Path | None = None,
    rounds: Count = 10,
    seconds: Annotated[float, Parameter(validator=Number(gt=0, lt=3600))] = 0.5,
    threads: Count | None = None,
) -> None:
    """Benchmark training and evaluation against the machine's matrix product and a plain reference.

    Parameters
    ----------
    embedding_dim
        Width of the embeddings.
    hidden_dim
        Width of the LSTMs; z has 32 dimensions.
    vocabulary
        Number of types that can be predicted.
    batch_size
        Sentences per step.
    device
        The device to benchmark, such as cpu or cuda.
    precision
        The precision of products in training; evaluation is float32.
    full
        Also benchmark every combination of two model sizes, three vocabularies and two batch sizes (and three
        precisions on CUDA). Takes an hour or more on a CPU.
    json_
        Print JSON.
    profile
        Write a trace of some steps to this file, for Perfetto or TensorBoard.
    out
        Write the results to this file as JSON, cell by cell; cells already in it are not measured again.
    rounds
        Number of times all contenders are measured in turn; the best round of each counts.
    seconds
        Minimum seconds per contender and round.
    threads
        Number of CPU threads.
    """
    from textvae.bench.cell import Cell
    from textvae.console.output import table
    from textvae.tasks.bench import run_bench, table_rows

    cell = Cell(
        embedding_dim, hidden_dim, vocabulary=vocabulary, batch_size=batch_size, device=device, precision=precision
    )
    found = run_bench(rounds, seconds, threads, full, cell, profile, out)
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
    """Train and evaluate a grid of corpora, remedies, strengths and seeds, or go on with one, and report it.

    Parameters
    ----------
    name
        A study by name (smoke, grammar, encoders, ptb, ptb_half, beyond), or a file ending in .yaml.
    out
        The directory of its runs; default `runs/<name>`.
    jobs
        Number of runs at the same time; default one per core.
    launcher
        Processes on this machine, tasks on a Ray cluster, or Slurm jobs.
    """
    from textvae.console.output import remark
    from textvae.tasks.report import report
    from textvae.tasks.study import study

    done = study(name, out, jobs, launcher)
    try:
        print(report(done))
    except ConfigError as error:  # no matplotlib: the runs stand without their plots
        remark(f"{error}, then: textvae report {done}")


@app.command
def report(directory: Path, /) -> None:
    """Report tables, plots and samples of a study, or of any runs, as one HTML page, CSV and PNG.

    The page and its files are written to the folder `report` in the directory. Runs that differ in nothing but
    the seed share a row.

    Parameters
    ----------
    directory
        The directory written by `textvae study`, or one that holds runs of `textvae train`.
    """
    from textvae.tasks.report import report

    print(report(directory))


@corpus_app.command(name="list")
def corpus_list() -> None:
    """List the known corpora and where each is stored."""
    from textvae.console.output import table
    from textvae.data.corpora import known_corpora

    table("Corpora", ["name", "what", "where"], known_corpora())


@corpus_app.command
def info(source: str, /, *, tokenizer: TokenizerKind = "word", column: str | None = None) -> None:
    """Show statistics of a corpus: sentences, tokens, types, lengths, unknown rate, overlap.

    Parameters
    ----------
    source
        A name, a directory or a file.
    tokenizer
        Kind of tokens.
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
        The corpus; only ptb can be fetched.
    root
        The directory to download to; default `$TEXTVAE_DATA`, else `data`.
    """
    from textvae.tasks.corpus import fetch_corpus

    fetch_corpus(name, root)


@app.command
def remedies() -> None:
    """List the corpora and remedies that `train` knows by name."""
    from textvae.console.output import table
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
        said = " ".join(str(error).split())
        unknown = re.match(r"Unknown option: (--[\w-]+)", said)
        if given[:1] == ["train"] and unknown:
            meant = similar_settings(unknown[1])
            said = f"{unknown[0]}. Did you mean {' or '.join(meant)}?" if meant else said
            said += " Settings are given as --section.key VALUE, such as --training.optimiser.lr 0.5."
        _fail(said, 2)
    except ConfigError as error:
        _fail(str(error), 2)
    except TextvaeError as error:
        _fail(str(error), 1)
    except BrokenPipeError:
        _discard_output()
        sys.exit(1)
    except KeyboardInterrupt as error:
        _fail(str(error) or "interrupted", 1)
    except (MemoryError, RuntimeError) as error:
        # By name, since the command line does not import torch; on the host torch has no class of its own for it.
        of_torch = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
        if not isinstance(error, MemoryError) and not of_torch:
            raise
        _fail("not enough memory", 1)
    except OSError as error:
        _discard_output()
        _fail(f"{error.filename or 'the operating system'}: {error.strerror or error}", 1)
    sys.exit(0)


def _run(arguments: list[str]) -> None:
    settings: list[Setting] = []
    if arguments[:1] == ["train"]:  # `--section.key VALUE` is known to no command
        arguments, settings = take_settings(arguments)
    # An external member of a slot, `kind: module:Class`, may be in the working directory.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    with warnings.catch_warnings(), _failures_in_threads():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = _note()
        try:
            command, bound, unparsed = app.parse_args(arguments, exit_on_error=False, print_error=False)
            given = {"settings": settings} if "settings" in unparsed else {}
            command(*bound.args, **bound.kwargs, **given)
        finally:
            sys.stdout.flush()


def _note() -> Callable[..., None]:
    """Print every distinct warning once, as a note."""
    shown: set[str] = set()

    def note(message: Warning | str, *rest: object) -> None:
        sentence = " ".join(str(message).split())
        if sentence not in shown:
            shown.add(sentence)
            print(f"note: {sentence}", file=sys.stderr)

    return note


@contextlib.contextmanager
def _failures_in_threads() -> Iterator[None]:
    """Print an OSError in a thread, such as a full disk in TensorBoard's writer, as a note without traceback."""
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
    """Redirect stdout to the null device, so that the interpreter's final flush cannot fail."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(sentence: str, code: int) -> None:
    print(f"textvae: {sentence}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()

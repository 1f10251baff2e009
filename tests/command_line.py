"""The command line in this process, a corpus of invented sentences, and settings that train in a second."""

import io
import random
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest

from textvae.cli import main

SUBJECTS = ("the cat", "a dog", "the old man", "our teacher", "the bank")
VERBS = ("saw", "likes", "sold", "fears")
OBJECTS = ("the moon", "a house", "some bread", "N shares", "the sea")
TIMES = ("today", "yesterday", "again", "at last", "")

DECODER = (
    "--model.decoder.embedding_dim", "8", "--model.decoder.hidden_dim", "12",
    "--model.decoder.dropout_in", "0", "--model.decoder.dropout_out", "0",
)  # fmt: skip
TINY = (
    "--threads", "1", "--model.latent_dim", "4",
    "--model.encoder.embedding_dim", "8", "--model.encoder.hidden_dim", "8", *DECODER,
    "--training.optimiser.lr", "0.02",
)  # fmt: skip
TINY_LM = ("lm", "--threads", "1", *DECODER, "--training.optimiser.lr", "0.02")

CONTRACT = {
    "sentences", "tokens", "unknown_rate", "distortion", "rate", "rate_per_dimension", "elbo", "elbo_se",
    "iwae_nll", "iwae_nll_se", "iwae_samples", "perplexity_elbo", "perplexity_iwae", "active_units",
    "mutual_information", "mutual_information_reference", "listening", "listening_se", "exact_nll", "verdict",
}  # fmt: skip
"""What every split of `evaluation.json` holds."""


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def textvae(*arguments: object, stdin: bytes = b"") -> Done:
    """Run one command in this process."""
    out, err = io.StringIO(), io.StringIO()
    typed = io.TextIOWrapper(io.BytesIO(stdin))
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch("sys.stdin", typed),
        pytest.raises(SystemExit) as stop,
    ):
        main([str(argument) for argument in arguments])
    return Done(int(stop.value.code or 0), out.getvalue(), err.getvalue())


def worked(*arguments: object, stdin: bytes = b"") -> Done:
    """Run one command that must succeed."""
    done = textvae(*arguments, stdin=stdin)
    assert done.code == 0, done.err
    return done


def refused(*arguments: object, code: int, stdin: bytes = b"") -> str:
    """The one sentence with which a command is refused; nothing is printed on stdout."""
    done = textvae(*arguments, stdin=stdin)
    assert (done.code, done.out) == (code, ""), done
    sentence = done.err.splitlines()[-1]
    assert sentence.startswith("textvae: "), done.err
    assert "Traceback" not in done.err
    return sentence.removeprefix("textvae: ")


def process(*arguments: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run one command in a process of its own."""
    command = [sys.executable, "-m", "textvae.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def sentences(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    pick = [[draw.choice(words) for words in (SUBJECTS, VERBS, OBJECTS, TIMES)] for _ in range(count)]
    return [" ".join(filter(None, words)) for words in pick]


def write_corpus(folder: Path, train: int = 200) -> Path:
    """A corpus of `train`/24/20 sentences."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate({"train": train, "valid": 24, "test": 20}.items()):
        (folder / f"{split}.txt").write_text("".join(f"{s}\n" for s in sentences(count, seed)), "utf-8")
    return folder

"""Open a corpus by name or path; for an unknown name, `open_corpus` lists the valid ones."""

import contextlib
from pathlib import Path
from typing import NamedTuple, NoReturn

from textvae.data.corpus import SPLITS, Corpus, safe_name
from textvae.data.reading.lazy import is_large, select
from textvae.data.reading.lines import open_text
from textvae.data.reading.text import TEXT_SUFFIXES, Text, blank_remark
from textvae.data.remarks import word_remarks
from textvae.data.sources.hub import open_hub
from textvae.data.sources.ptb import find_ptb, open_ptb, ptb_folders, standard_remark
from textvae.data.sources.splits import CARVED, carve, files_by_split, find_splits, one_file
from textvae.data.sources.tables import TABLE_SUFFIXES, open_table_folder, read_table
from textvae.data.store import cache_folder, unwritable
from textvae.errors import DataError, did_you_mean

__all__ = ["SPLITS", "Corpus", "KnownCorpus", "known_corpora", "open_corpus", "open_whole"]

TORCHTEXT = "torchtext:"
ENDLESS = "grammar-stream"
GRAMMARS = ("grammar", ENDLESS)


class KnownCorpus(NamedTuple):
    """A row of `textvae corpus list`."""

    source: str
    what: str
    where: str


def known_corpora() -> list[KnownCorpus]:
    """The valid sources of `open_corpus`, and where each is stored or how to get it."""
    found = next((str(folder) for folder in ptb_folders() if folder.is_dir()), None)
    ptb = found or "missing: run textvae corpus fetch ptb"
    return [
        KnownCorpus("grammar", "news-like English with exact log-probabilities", "embedded"),
        KnownCorpus(ENDLESS, "the same, with fresh sentences to train on in every epoch", "embedded"),
        KnownCorpus("ptb", "Penn Treebank, Mikolov's preprocessing", ptb),
        KnownCorpus("torchtext:PennTreebank", "the same files, read by torchtext", ptb),
        KnownCorpus("hf:NAME", "a dataset of the Hugging Face hub, or hf:NAME:CONFIG", "downloaded on first use"),
        KnownCorpus("FOLDER", "train, valid and test as .txt, .txt.gz, .csv, .json, .jsonl or .parquet", "yours"),
        KnownCorpus("FILE", "one such file, cut 90 / 5 / 5, the last two at most 10,000 sentences", "yours"),
    ]


def open_corpus(source: str, *, column: str | None = None) -> Corpus:
    """The corpus `source`: a name of `known_corpora`, a folder or a file.

    `column` names the text column of a table or hub dataset.
    """
    if column is not None and (source in (*GRAMMARS, "ptb") or source.startswith(TORCHTEXT)):
        _refuse_column(source)
    if source in GRAMMARS:
        return _open_grammar(source)
    if source == "ptb":
        return open_ptb()
    if source.startswith(TORCHTEXT):
        return _open_torchtext(source.removeprefix(TORCHTEXT))
    if source.startswith("hf:"):
        name, _, config = source.removeprefix("hf:").partition(":")
        return _with_remarks(open_hub(name, column=column, config=config or None))
    path = _path(source)
    if not source or not path.exists():
        raise DataError(_unknown(source, path))
    return _with_remarks(_open_folder(path, column) if path.is_dir() else _open_file(path, column))


def _open_grammar(name: str) -> Corpus:
    from textvae.data.grammar import embedded_epoch, embedded_grammar, embedded_split

    splits = {split: [sentence.text for sentence in embedded_split(split)] for split in SPLITS}
    fresh = embedded_epoch if name == ENDLESS else None
    return Corpus(name, splits, grammar=embedded_grammar(), fresh=fresh)


def _open_torchtext(name: str) -> Corpus:
    from textvae.data.sources.torchtext_bridge import penn_treebank

    if name != "PennTreebank":
        raise DataError(f"there is no corpus `{TORCHTEXT}{name}`; the only one is {TORCHTEXT}PennTreebank")
    files = find_ptb()
    return Corpus("ptb-torchtext", penn_treebank(files), (standard_remark(files),))


def _open_folder(folder: Path, column: str | None) -> Corpus:
    tables = [path.name for paths in files_by_split(folder, TABLE_SUFFIXES).values() for path in paths]
    if tables and not any(files_by_split(folder, TEXT_SUFFIXES).values()):
        return open_table_folder(folder, column)
    if column is not None:
        _refuse_column(str(folder))
    texts = {split: open_text(path) for split, path in one_file(find_splits(folder, TEXT_SUFFIXES)).items()}
    remarks = [remark for split, text in texts.items() for remark in blank_remark(text.blank, split)]
    if tables:
        remarks.append(f"{folder}: its text files are read, and {', '.join(sorted(set(tables)))} left out")
    splits = {split: text.sentences for split, text in texts.items()}
    return Corpus(safe_name(folder.resolve().name), splits, tuple(remarks))


def _open_file(path: Path, column: str | None) -> Corpus:
    name, text = _read_file(path, column)
    parts = carve(text.sentences, ("valid", "test"), str(path))
    splits = {split: select(text.sentences, positions) for split, positions in parts.items()}
    remarks = (*blank_remark(text.blank, path.name), CARVED.format(name=path.name, missing="valid or test"))
    return Corpus(name, splits, remarks)


def open_whole(source: str, *, column: str | None = None) -> Corpus:
    """The corpus `source` to measure a run on: as `open_corpus`, but all of a single file is each of its splits."""
    path = _path(source)
    if not source or not path.is_file():
        return open_corpus(source, column=column)
    name, text = _read_file(path, column)
    return Corpus(name, dict.fromkeys(SPLITS, text.sentences), blank_remark(text.blank, path.name))


def _path(source: str) -> Path:
    path = Path(source)
    with contextlib.suppress(RuntimeError):  # `~name`, and there is no such user: then it is a file's name
        path = path.expanduser()
    return path


def _read_file(path: Path, column: str | None) -> tuple[str, Text]:
    """A name for a corpus of one file, and its text."""
    suffix = next((each for each in (*TEXT_SUFFIXES, *TABLE_SUFFIXES) if path.name.lower().endswith(each)), None)
    if suffix is None:
        choices = ", ".join((*TEXT_SUFFIXES, *TABLE_SUFFIXES))
        raise DataError(f"{path} is not a corpus file; its name must end in one of {choices}")
    name = safe_name(path.name[: -len(suffix)])
    if suffix in TABLE_SUFFIXES:
        return name, read_table([path], column)
    if column is not None:
        _refuse_column(str(path))
    return name, open_text(path)


def _refuse_column(source: str) -> NoReturn:
    raise DataError(f"{source}: is no table and has no columns; leave out --column (data.column)")


def _with_remarks(corpus: Corpus) -> Corpus:
    remarks = (*corpus.remarks, *word_remarks(corpus["train"]), *_cache_remark(corpus))
    return Corpus(corpus.name, corpus.splits, remarks)


def _cache_remark(corpus: Corpus) -> tuple[str, ...]:
    reason = unwritable() if any(is_large(corpus[split]) for split in SPLITS) else None
    if reason is None:
        return ()
    return (
        f"{cache_folder()} cannot be written ({reason}), so this corpus will be tokenised in memory at every start:"
        " set TEXTVAE_CACHE to a writable folder",
    )


def _unknown(source: str, path: Path) -> str:
    names = [*GRAMMARS, "ptb", f"{TORCHTEXT}PennTreebank"]
    beside = [str(path.with_name(other.name)) for other in path.parent.glob("*")] if path.name else []
    meant = did_you_mean(source, [*names, *beside])
    here = "" if path.is_absolute() else f" in {Path.cwd()}"
    return (
        f"there is no corpus `{source}`{here}{meant}; choose {', '.join(names)}, hf:NAME, a folder with train,"
        f" valid and test files, or one file ({', '.join((*TEXT_SUFFIXES, *TABLE_SUFFIXES))})"
    )

"""The tokenizer and the token ids of a corpus, cached if the corpus is large.

A large split is tokenised in shards, with one process per core. If the work is killed, finished shards are
kept and the next start does the others; at the end they are joined into one memory-mapped array.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from textvae.data.batches import Sequences, encode
from textvae.data.corpus import Corpus
from textvae.data.reading.lazy import LazySentences, is_large
from textvae.data.store import is_whole, kept, read_arrays, seal, write_arrays, write_joined
from textvae.data.tokenizers import Tokenizer, WordTokenizer, load_tokenizer, train_tokenizer
from textvae.data.tokenizers.word import count_words
from textvae.data.workers import in_processes
from textvae.errors import DataError

__all__ = ["prepared_sequences", "prepared_tokenizer"]

SHARD = 8 << 20
"""Bytes of text in a shard, the unit of work of a process."""

PARTIAL = ".partial"

Tick = Callable[[int], None]


def prepared_tokenizer(
    corpus: Corpus,
    kind: str,
    *,
    min_count: int = 1,
    vocabulary_size: int | None = None,
    tick: Tick = lambda n: None,
) -> Tokenizer:
    """`train_tokenizer` on the train split; calls `tick` with the number of sentences just read."""
    sentences = corpus["train"]

    if not is_large(sentences):
        return train_tokenizer(kind, sentences, min_count=min_count, vocabulary_size=vocabulary_size)

    def make() -> Tokenizer:
        if kind == "word":
            made: Tokenizer = WordTokenizer.of_counts(_counts(sentences, tick), min_count, vocabulary_size)
        else:
            made = train_tokenizer(kind, sentences, min_count=min_count, vocabulary_size=vocabulary_size)
        sentences.refuse_changed()
        return made

    key = "\n".join(map(str, (corpus.digest(), kind, min_count, vocabulary_size)))
    found = kept("tokenizers", key, lambda folder: make().save(folder), load_tokenizer)
    return make() if found is None else found


def prepared_sequences(
    corpus: Corpus, split: str, tokenizer: Tokenizer, max_length: int | None, tick: Tick = lambda n: None
) -> Sequences:
    """`encode` of a split, memory-mapped if large; calls `tick` with the number of sentences just encoded."""
    sentences = corpus[split]
    if not is_large(sentences):
        return encode(sentences, tokenizer, max_length)
    content = hashlib.sha256(tokenizer.content()).hexdigest()
    found = kept(
        "tokens",
        "\n".join(map(str, (corpus.digest(), split, tokenizer.kind, content, max_length))),
        lambda folder: _tokenise(folder, sentences, tokenizer, max_length, tick),
        _read,
    )
    return encode(sentences, tokenizer, max_length) if found is None else found


def _read(folder: Path) -> Sequences:
    arrays = read_arrays(folder)
    return Sequences(arrays["ids"], arrays["offsets"], int(arrays["cut"]))


def _counts(sentences: LazySentences, tick: Tick) -> "Counter[str]":
    def count(part: slice) -> "tuple[int, Counter[str]]":
        return part.stop - part.start, count_words(sentences[part])

    total: Counter[str] = Counter()
    for done, counts in in_processes(count, _parts(sentences)):
        total.update(counts)
        tick(done)
    return total


def _tokenise(folder: Path, sentences: LazySentences, tokenizer: Tokenizer, limit: int | None, tick: Tick) -> None:
    """Fill `folder` with the arrays of `sentences`, shard by shard; complete shards are reused."""
    parts = _parts(sentences)
    shards = [folder / f"shard-{number}-of-{len(parts)}" for number in range(1, len(parts) + 1)]
    whole = {shard for shard in shards if is_whole(shard)}
    _clear(folder, whole)

    def work(job: tuple[Path, slice]) -> int:
        shard, part = job
        partial = shard.with_suffix(PARTIAL)
        partial.mkdir()
        found = encode(sentences[part], tokenizer, limit)
        write_arrays(partial, {"ids": found.ids, "offsets": found.offsets, "cut": np.array(found.cut)})
        seal(partial)
        partial.replace(shard)
        return len(found)

    jobs = list(zip(shards, parts, strict=True))
    tick(sum(part.stop - part.start for shard, part in jobs if shard in whole))
    try:
        for done in in_processes(work, [job for job in jobs if job[0] not in whole]):
            tick(done)
    except OSError:  # such as a full disk: delete partial shards to free space
        for partial in folder.glob(f"*{PARTIAL}"):
            shutil.rmtree(partial, ignore_errors=True)
        raise
    try:
        sentences.refuse_changed()
    except DataError:
        _clear(folder, ())
        raise
    _join(folder, shards)


def _clear(folder: Path, whole: Collection[Path]) -> None:
    """Delete partial shards, and shards of another size, from `folder`."""
    for path in folder.iterdir():
        if path.is_dir() and path not in whole:
            shutil.rmtree(path)


def _join(folder: Path, shards: Sequence[Path]) -> None:
    """Join all shards into one set of arrays; each shard is deleted once it is copied."""
    # Opened one at a time: a deleted file occupies the disk for as long as it is mapped.
    tokens, sentences, cut = np.sum([_sizes(_read(shard)) for shard in shards], axis=0).tolist()
    write_arrays(folder, {"cut": np.array(cut)})
    write_joined(folder / "offsets.npy", sentences + 1, _offsets(shards), np.int64)
    write_joined(folder / "ids.npy", tokens, _taken(shards), np.int32)


def _sizes(part: Sequences) -> tuple[int, int, int]:
    return len(part.ids), len(part), part.cut


def _offsets(shards: Sequence[Path]) -> Iterator[np.ndarray]:
    start = np.zeros(1, dtype=np.int64)
    yield start
    for shard in shards:
        found = _read(shard).offsets[1:] + start
        start = found[-1:]
        yield found


def _taken(shards: Sequence[Path]) -> Iterator[np.ndarray]:
    """The ids of each shard in turn, its file deleted first, so joining needs little additional disk space."""
    for shard in shards:
        ids = np.array(_read(shard).ids)
        shutil.rmtree(shard)
        yield ids


def _parts(sentences: LazySentences) -> list[slice]:
    """Consecutive ranges of about `SHARD` bytes that cover all of `sentences`."""
    count = min(len(sentences), max(1, sentences.size // SHARD))
    cuts = [len(sentences) * k // count for k in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(cuts)]

"""Prepared corpora: the same tokens as in memory, made once, in pieces that outlive a kill."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from patience import PATIENCE

from textvae.data import prepared, store
from textvae.data.batches import BatchStream, encode
from textvae.data.corpora import Corpus, open_corpus
from textvae.data.prepared import prepared_sequences, prepared_tokenizer
from textvae.data.tokenizers import KINDS, train_tokenizer
from textvae.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TEXTVAE_CACHE", str(folder))
    monkeypatch.setattr(store, "LARGE", 1)
    monkeypatch.setattr(prepared, "SHARD", 2000)
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    words = np.array([f"w{int(x)}" for x in 3 / (random.random(4000) + 0.003)])
    lengths = random.integers(1, 12, size=600)
    rows = [" ".join(random.choice(words, size=n)) for n in lengths]
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def memory(corpus: Corpus) -> list[str]:
    return list(corpus["train"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_tokenizer_and_tokens_as_in_memory(file: Path, kind: str) -> None:
    corpus = open_corpus(str(file))
    size = None if kind == "char" else 90
    plain = train_tokenizer(kind, memory(corpus), vocabulary_size=size)
    expected = encode(memory(corpus), plain, 6)
    assert expected.cut
    for _ in range(2):  # made, then kept
        tokenizer = prepared_tokenizer(corpus, kind, vocabulary_size=size)
        assert tokenizer.content() == plain.content()
        found = prepared_sequences(corpus, "train", tokenizer, 6)
        assert np.array_equal(found.ids, expected.ids)
        assert np.array_equal(found.offsets, expected.offsets)
        assert (found.ids.dtype, found.cut) == (expected.ids.dtype, expected.cut)
        assert isinstance(found.ids.base, np.memmap)


def test_batches_are_the_same_from_disk(file: Path) -> None:
    corpus = open_corpus(str(file))
    tokenizer = prepared_tokenizer(corpus, "word")
    on_disk = BatchStream(prepared_sequences(corpus, "train", tokenizer, None), 16, seed=3)
    in_memory = BatchStream(encode(memory(corpus), tokenizer), 16, seed=3)
    for _ in range(2 * in_memory.batches_per_epoch):
        assert torch.equal(next(on_disk).targets, next(in_memory).targets)


def test_nothing_is_made_twice(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = open_corpus(str(file))
    tokenizer = prepared_tokenizer(corpus, "word")
    first = prepared_sequences(corpus, "train", tokenizer, None)
    monkeypatch.setattr(prepared, "in_processes", None)
    corpus = open_corpus(str(file))
    assert prepared_tokenizer(corpus, "word").content() == tokenizer.content()
    assert np.array_equal(prepared_sequences(corpus, "train", tokenizer, None).ids, first.ids)
    for other in (4, 5):
        with pytest.raises(TypeError):
            prepared_sequences(corpus, "train", tokenizer, other)
    with pytest.raises(TypeError):
        prepared_sequences(corpus, "valid", tokenizer, None)
    with pytest.raises(TypeError):
        prepared_tokenizer(corpus, "word", min_count=2)


def test_a_touched_or_moved_file_keeps_its_tokens(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = open_corpus(str(file))
    tokenizer = prepared_tokenizer(corpus, "word")
    prepared_sequences(corpus, "train", tokenizer, None)
    moved = file.rename(file.with_name("moved.txt"))
    moved.touch()
    again = open_corpus(str(moved))
    monkeypatch.setattr(prepared, "in_processes", None)
    assert len(prepared_sequences(again, "train", tokenizer, None)) == len(corpus["train"])


def test_progress_adds_up(file: Path) -> None:
    corpus = open_corpus(str(file))
    ticks: list[int] = []
    tokenizer = prepared_tokenizer(corpus, "word", tick=ticks.append)
    assert sum(ticks) == len(corpus["train"])
    ticks.clear()
    prepared_sequences(corpus, "train", tokenizer, None, ticks.append)
    assert sum(ticks) == len(corpus["train"])
    assert len(ticks) > 3


KILLED = """
import os, sys, time
from textvae.data import prepared, store
from textvae.data.corpora import open_corpus

store.LARGE, prepared.SHARD = 1, 2000
corpus = open_corpus(sys.argv[1])
tokenizer = prepared.prepared_tokenizer(corpus, "word")
write, parent = prepared.write_arrays, os.getpid()

def write_three(folder, arrays):
    write(folder, arrays)
    if int(folder.name.split("-")[1]) > 3:
        while os.getppid() == parent:
            time.sleep(0.01)
        os._exit(1)

prepared.write_arrays = write_three
prepared.prepared_sequences(corpus, "train", tokenizer, None, lambda n: print(n, flush=True))
"""
"""Prepares three shards and has others under way, until it is killed; its processes then end at once."""


@pytest.mark.slow
def test_finished_shards_outlive_a_kill(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**os.environ, "TEXTVAE_CACHE": str(cache)}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(file)], stdout=subprocess.PIPE, env=environment
    ) as running:
        assert running.stdout is not None
        for _ in range(4):  # how many were there before, and then every shard
            assert running.stdout.readline()
        running.kill()
        assert running.communicate(timeout=PATIENCE) == (b"", None)  # ends when the last of its processes does
    done = {path.name for path in cache.glob("tokens/*.partial/shard-*") if "." not in path.name}
    assert {name.rpartition("-of-")[0] for name in done} == {"shard-1", "shard-2", "shard-3"}
    corpus = open_corpus(str(file))
    tokenizer = prepared_tokenizer(corpus, "word")
    made: list[str] = []
    spread = prepared.in_processes

    def watched(work, jobs):  # type: ignore[no-untyped-def]
        made.extend(shard.name for shard, _ in jobs)
        return spread(work, jobs)

    monkeypatch.setattr(prepared, "in_processes", watched)
    found = prepared_sequences(corpus, "train", tokenizer, None)
    assert made
    assert not done & set(made)
    assert np.array_equal(found.ids, encode(memory(corpus), tokenizer).ids)
    (entry,) = (path for path in cache.glob("tokens/*"))
    assert {path.name for path in entry.iterdir()} == {"ids.npy", "offsets.npy", "cut.npy", "manifest.json"}


def stopped(corpus: Corpus, tokenizer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:  # type: ignore[no-untyped-def]
    """The shards of a split whose tokenisation was killed before they were joined."""

    def killed(folder: Path, shards: list[Path]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "_join", killed)
        with pytest.raises(KeyboardInterrupt):
            prepared_sequences(corpus, "train", tokenizer, None)
    return sorted(cache.glob("tokens/*.partial/shard-*"))


@pytest.mark.parametrize("deleted", [False, True])
def test_a_text_that_changes_while_it_is_read_is_refused(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    """Its tokens would be kept for ever under the digest of the text before."""
    corpus = open_corpus(str(file))
    tokenizer = prepared_tokenizer(corpus, "word")
    spread = prepared.in_processes

    def rewritten(work, jobs):  # type: ignore[no-untyped-def]
        yield from spread(work, jobs)
        text = file.read_bytes()
        file.unlink() if deleted else file.write_bytes(text[::-1].strip() + b"\n")

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "in_processes", rewritten)
        with pytest.raises(DataError, match="changed while being read"):
            prepared_sequences(corpus, "train", tokenizer, None)
    assert not [path for path in cache.glob("tokens/**/*") if path.suffix == ".npy"]


@pytest.mark.parametrize("kind", ["word", "char"])
def test_the_tokenizer_of_a_text_that_changes_while_it_is_read_is_refused(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    corpus = open_corpus(str(file))
    corpus.digest()
    count, train = prepared._counts, prepared.train_tokenizer

    def rewritten(call):  # type: ignore[no-untyped-def]
        def called(*given, **named):  # type: ignore[no-untyped-def]
            done = call(*given, **named)
            file.write_bytes(file.read_bytes()[::-1].strip() + b"\n")
            return done

        return called

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "_counts", rewritten(count))
        patch.setattr(prepared, "train_tokenizer", rewritten(train))
        with pytest.raises(DataError, match="changed while being read"):
            prepared_tokenizer(corpus, kind)
    assert not list(cache.glob("tokenizers/*/tokenizer.json"))


def test_shards_that_are_not_whole_are_made_again(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = open_corpus(str(file))
    tokenizer = prepared_tokenizer(corpus, "word")
    monkeypatch.setattr(prepared, "SHARD", 1000)
    shards = stopped(corpus, tokenizer, cache, monkeypatch)
    assert len(shards) > 5
    (shards[0] / "ids.npy").unlink()
    shutil.rmtree(shards[1])
    shards[1].mkdir()
    content = (shards[2] / "ids.npy").read_bytes()
    (shards[2] / "ids.npy").write_bytes(content[:-8] + bytes(8))
    shards[3].rename(shards[3].with_name("shard-1-of-2"))  # cut to another size
    shards[4].rename(shards[4].with_suffix(".partial"))
    made: list[str] = []
    spread = prepared.in_processes

    def watched(work, jobs):  # type: ignore[no-untyped-def]
        made.extend(shard.name for shard, _ in jobs)
        return spread(work, jobs)

    monkeypatch.setattr(prepared, "in_processes", watched)
    found = prepared_sequences(corpus, "train", tokenizer, None)
    assert sorted(made) == sorted(shard.name for shard in shards[:5])
    assert np.array_equal(found.ids, encode(memory(corpus), tokenizer).ids)


def test_a_kill_while_shards_are_joined_is_survived(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = open_corpus(str(file))
    tokenizer = prepared_tokenizer(corpus, "word")
    shards = stopped(corpus, tokenizer, cache, monkeypatch)
    delete = shutil.rmtree

    def killed(folder: Path) -> None:
        if len(list(cache.glob("tokens/*.partial/shard-*"))) == len(shards) - 2:
            (folder / "ids.npy").unlink()
            raise KeyboardInterrupt
        delete(folder)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prepared_sequences(corpus, "train", tokenizer, None)
    found = prepared_sequences(corpus, "train", tokenizer, None)
    assert np.array_equal(found.ids, encode(memory(corpus), tokenizer).ids)


@pytest.mark.parametrize("value", [0, 1 << 30])
def test_ids_that_were_overwritten_are_noticed(file: Path, cache: Path, value: int) -> None:
    corpus = open_corpus(str(file))
    tokenizer = prepared_tokenizer(corpus, "word")
    count = len(prepared_sequences(corpus, "train", tokenizer, None).ids)
    (ids,) = cache.glob("tokens/*/ids.npy")
    np.save(ids, np.full(count, value, dtype=np.int32))
    with pytest.warns(UserWarning, match="is damaged and will be rebuilt"):
        found = prepared_sequences(corpus, "train", tokenizer, None)
    assert np.array_equal(found.ids, encode(memory(corpus), tokenizer).ids)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 160 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_one_sentence_and_takes_no_more_than_whole_shards(
    file: Path, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = open_corpus(str(file))
    tokenizer = prepared_tokenizer(corpus, "word")
    monkeypatch.setenv("TEXTVAE_CACHE", str(tiny_disk))
    with (tiny_disk / "something else").open("wb") as other:
        other.write(bytes(100 << 10))
    with pytest.raises(DataError, match=f"^{tiny_disk} cannot be written: No space left on device; free some"):
        prepared_sequences(corpus, "train", tokenizer, None)
    left = list(tiny_disk.glob("tokens/*.partial/*"))
    assert left
    assert all(store.is_whole(path) for path in left)
    (tiny_disk / "something else").unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", str(tiny_disk)], check=True)
    found = prepared_sequences(corpus, "train", tokenizer, None)
    assert np.array_equal(found.ids, encode(memory(corpus), tokenizer).ids)


@pytest.mark.parametrize("room", [1, 3])
def test_a_disk_that_fills_up_while_shards_are_joined(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    corpus = open_corpus(str(file))
    tokenizer = prepared_tokenizer(corpus, "word")
    shards = stopped(corpus, tokenizer, cache, monkeypatch)
    taken = prepared._taken

    def full(shards: list[Path]) -> Iterator[np.ndarray]:
        parts = taken(shards)
        yield from (next(parts) for _ in range(room))
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "_taken", full)
        with pytest.raises(DataError, match="No space left on device; free some space"):
            prepared_sequences(corpus, "train", tokenizer, None)
    assert not list(cache.glob("tokens/*/ids.npy"))
    assert len(list(cache.glob("tokens/*.partial/shard-*"))) == len(shards) - room
    found = prepared_sequences(corpus, "train", tokenizer, None)
    assert np.array_equal(found.ids, encode(memory(corpus), tokenizer).ids)


def test_small_corpora_touch_no_cache(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LARGE", 1 << 20)
    corpus = open_corpus(str(file))
    tokenizer = prepared_tokenizer(corpus, "word")
    found = prepared_sequences(corpus, "train", tokenizer, None)
    assert np.array_equal(found.ids, encode(memory(corpus), tokenizer).ids)
    assert list(cache.iterdir()) == []


def test_without_a_cache_the_same_comes_from_memory(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TEXTVAE_CACHE", str(tmp_path / "file"))
    corpus = open_corpus(str(file))
    tokenizer = prepared_tokenizer(corpus, "word")
    found = prepared_sequences(corpus, "train", tokenizer, 5)
    assert np.array_equal(found.ids, encode(memory(corpus), tokenizer, 5).ids)
    assert any("TEXTVAE_CACHE" in remark for remark in corpus.remarks)

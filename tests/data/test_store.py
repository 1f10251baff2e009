"""The cache: an entry is there whole or not at all, made once, and made again if it is damaged."""

import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest

from textvae.data import store
from textvae.data.store import cache_folder, kept, kept_arrays, unwritable
from textvae.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEXTVAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def text(folder: Path) -> str:
    return (folder / "text").read_text()


def write(what: str):  # type: ignore[no-untyped-def]
    return lambda folder: (folder / "text").write_text(what)


def refuse(folder: Path) -> None:
    raise AssertionError("made twice")


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("TEXTVAE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "textvae"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "textvae"


def test_an_entry_is_made_once_for_each_key_and_kind() -> None:
    assert kept("a", "key", write("one"), text) == "one"
    assert kept("a", "key", refuse, text) == "one"
    assert kept("a", "other", write("two"), text) == "two"
    assert kept("b", "key", write("three"), text) == "three"


def test_what_a_kill_left_is_there_for_the_next_start(cache: Path) -> None:
    def killed(folder: Path) -> None:
        (folder / "half").write_text("done")
        raise KeyboardInterrupt

    def go_on(folder: Path) -> None:
        (folder / "text").write_text((folder / "half").read_text())

    with pytest.raises(KeyboardInterrupt):
        kept("a", "key", killed, text)
    assert [path.suffix for path in (cache / "a").iterdir() if path.is_dir()] == [".partial"]
    assert kept("a", "key", go_on, text) == "done"
    assert [path.suffix for path in (cache / "a").iterdir()] == [""]


def test_a_damaged_entry_is_made_again(cache: Path) -> None:
    first = kept_arrays("a", "key", lambda: {"x": np.arange(1000)})
    assert (np.asarray(first["x"]) == np.arange(1000)).all()
    (file,) = cache.glob("a/*/x.npy")
    file.write_bytes(file.read_bytes()[:500])
    again = kept_arrays("a", "key", lambda: {"x": np.arange(1000) + 1})
    assert again["x"][-1] == 1000


def test_where_nothing_can_be_written_nothing_is_kept(cache: Path) -> None:
    assert unwritable() is None
    found = kept_arrays("a", "key", lambda: {"x": np.arange(3)})
    cache.rename(cache.with_name("elsewhere"))
    cache.write_text("a file stands in the way")
    assert unwritable() == "File exists"
    assert kept("a", "key", refuse, text) is None
    assert kept_arrays("a", "key", lambda: {"x": np.arange(4)})["x"].tolist() == [0, 1, 2, 3]
    assert found["x"].tolist() == [0, 1, 2]


def test_a_full_disk_is_one_sentence(cache: Path) -> None:
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="cannot be written: No space left on device; free some space") as caught:
        kept("a", "key", full, text)
    assert str(cache) in str(caught.value)


def test_of_two_processes_one_makes_and_the_other_waits(cache: Path) -> None:
    made = cache.parent / "made"

    def slowly(folder: Path) -> None:
        with made.open("a") as file:
            file.write("x")
        time.sleep(0.3)
        (folder / "text").write_text("one")

    def start() -> None:
        assert kept("a", "key", slowly, text) == "one"

    processes = [multiprocessing.get_context("fork").Process(target=start) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert made.read_text() == "x"


def test_arrays_are_mapped_and_cannot_be_changed() -> None:
    found = kept_arrays("a", "key", lambda: {"x": np.arange(10)})["x"]
    assert type(found) is np.ndarray
    assert isinstance(found.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1
    assert store.LARGE > 1 << 20

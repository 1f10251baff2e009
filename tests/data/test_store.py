"""The cache: an entry is there whole or not at all, made once, and made again if it is damaged."""

import json
import multiprocessing
import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE

from textvae.data import store
from textvae.data.store import cache_folder, is_whole, kept, kept_arrays, seal, unwritable, write_joined
from textvae.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEXTVAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def text(folder: Path) -> str:
    return (folder / "text").read_text(encoding="utf-8")


def write(what: str):  # type: ignore[no-untyped-def]
    return lambda folder: (folder / "text").write_text(what, encoding="utf-8")


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
        (folder / "half").write_text("done", encoding="utf-8")
        raise KeyboardInterrupt

    def go_on(folder: Path) -> None:
        (folder / "text").write_text((folder / "half").read_text(encoding="utf-8"), encoding="utf-8")

    with pytest.raises(KeyboardInterrupt):
        kept("a", "key", killed, text)
    assert [path.suffix for path in (cache / "a").iterdir() if path.is_dir()] == [".partial"]
    assert kept("a", "key", go_on, text) == "done"
    assert [path.suffix for path in (cache / "a").iterdir()] == [""]


def empty(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.mkdir()


def cut(entry: Path) -> None:
    (entry / "x.npy").write_bytes((entry / "x.npy").read_bytes()[:500])


def zero(entry: Path) -> None:
    size = (entry / "x.npy").stat().st_size
    with (entry / "x.npy").open("r+b") as file:
        file.seek(size - 80)
        file.write(bytes(80))


@pytest.mark.parametrize(
    "damage",
    [
        empty,
        cut,
        zero,
        lambda entry: (entry / "x.npy").unlink(),
        lambda entry: (entry / "manifest.json").unlink(),
        lambda entry: (entry / "manifest.json").write_text("[1, 2]", encoding="utf-8"),
        lambda entry: (entry / "manifest.json").write_bytes(bytes(30)),
    ],
)
def test_a_damaged_entry_is_named_and_made_again_once(cache: Path, damage: Callable[[Path], None]) -> None:
    first = kept_arrays("a", "key", lambda: {"x": np.arange(1000)})
    assert (np.asarray(first["x"]) == np.arange(1000)).all()
    (entry,) = cache.glob("a/*")
    damage(entry)
    with pytest.warns(UserWarning, match=f"{entry} is damaged and will be rebuilt") as told:
        again = kept_arrays("a", "key", lambda: {"x": np.arange(1000) + 1})
    assert len(told) == 1
    assert (again["x"] == np.arange(1000) + 1).all()
    assert [path.name for path in cache.glob("a/*")] == [entry.name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kept_arrays("a", "key", dict)["x"][-1] == 1000


def test_a_kill_while_a_damaged_entry_is_deleted_is_survived(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_arrays("a", "key", lambda: {"x": np.arange(9), "y": np.arange(9)})
    (entry,) = cache.glob("a/*")
    (entry / "y.npy").unlink()

    def killed(folder: Path) -> None:
        (folder / "x.npy").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            kept_arrays("a", "key", dict)
    with pytest.warns(UserWarning, match="damaged"):
        assert kept_arrays("a", "key", lambda: {"x": np.arange(3)})["x"].tolist() == [0, 1, 2]


def test_a_copied_entry_is_read_once_and_then_known_by_its_date(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept("a", "key", write("one"), text)
    (entry,) = cache.glob("a/*")
    os.utime(entry / "text", ns=(1, 1))
    assert is_whole(entry)
    assert (entry / "text").stat().st_mtime_ns == json.loads((entry / "manifest.json").read_bytes())["text"][
        "mtime"
    ]
    monkeypatch.setattr(store, "_digest", None)
    assert kept("a", "key", refuse, text) == "one"


def test_a_folder_is_whole_once_it_is_sealed(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("one", encoding="utf-8")
    assert not is_whole(tmp_path)
    assert not is_whole(tmp_path / "nowhere")
    seal(tmp_path)
    assert is_whole(tmp_path)


def test_where_nothing_can_be_written_nothing_is_kept(cache: Path) -> None:
    assert unwritable() is None
    found = kept_arrays("a", "key", lambda: {"x": np.arange(3)})
    cache.rename(cache.with_name("elsewhere"))
    cache.write_text("a file stands in the way", encoding="utf-8")
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
    assert kept("a", "key", write("one"), text) == "one"


@pytest.mark.parametrize("suffix", ["", ".partial", ".lock"])
def test_a_place_that_cannot_be_used_is_told_and_nothing_is_kept(cache: Path, suffix: str) -> None:
    """The root of the cache can be written, but not where this entry goes."""
    kept("a", "key", write("one"), text)
    (entry,) = cache.glob("a/*")
    shutil.rmtree(cache / "a")
    if not suffix:
        (cache / "a").write_text("a file stands in the way", encoding="utf-8")
    elif suffix == ".partial":
        (cache / "a").mkdir()
        entry.with_suffix(suffix).write_text("a file stands in the way", encoding="utf-8")
    else:
        entry.with_suffix(suffix).mkdir(parents=True)
    assert unwritable() is None
    with pytest.warns(UserWarning, match=r"cache/a cannot be written \(.*\).* set TEXTVAE_CACHE to"):
        assert kept("a", "key", refuse, text) is None
    with pytest.warns(UserWarning, match="cannot be written"):
        assert kept_arrays("a", "key", lambda: {"x": np.arange(4)})["x"].tolist() == [0, 1, 2, 3]


def test_a_file_that_fails_in_the_middle_is_gone(tmp_path: Path) -> None:
    def parts():  # type: ignore[no-untyped-def]
        yield np.arange(3)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_joined(tmp_path / "x.npy", 9, parts(), np.int32)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "array", [np.arange(6.0).reshape(2, 3).T, np.array("abc"), np.array(3), np.empty(0, dtype=np.int32)]
)
def test_any_array_comes_back_as_it_was(array: np.ndarray) -> None:
    for _ in range(2):
        found = kept_arrays("a", "key", lambda: {"x": array})["x"]
        assert found.dtype == array.dtype
        assert found.tolist() == array.tolist()


def test_of_two_processes_one_makes_and_the_other_waits(cache: Path) -> None:
    made = cache.parent / "made"

    def slowly(folder: Path) -> None:
        with made.open("a", encoding="utf-8") as file:
            file.write("x")
        time.sleep(0.3)
        (folder / "text").write_text("one", encoding="utf-8")

    def start() -> None:
        assert kept("a", "key", slowly, text) == "one"

    processes = [multiprocessing.get_context("fork").Process(target=start) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert made.read_text(encoding="utf-8") == "x"


def test_arrays_are_mapped_and_cannot_be_changed() -> None:
    found = kept_arrays("a", "key", lambda: {"x": np.arange(10)})["x"]
    assert type(found) is np.ndarray
    assert isinstance(found.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1
    assert store.LARGE > 1 << 20

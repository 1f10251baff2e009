"""Large files: the same sentences as in memory, none of them held, an index that is made once."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textvae.console import progress
from textvae.data import store
from textvae.data.corpora import SPLITS, open_corpus
from textvae.data.reading import lines as module
from textvae.data.reading.lazy import is_large
from textvae.data.reading.lines import Lines, open_text
from textvae.data.reading.text import Text, read_text
from textvae.errors import DataError

CONTENT = b"\xef\xbb\xbfone two\r\n\n \t \n\tthree\tfour \nf\xc3\xbcnf\x0bsechs\r\xe2\x80\xa8sieben\nlast"


@pytest.fixture(autouse=True)
def _everything_is_large(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTVAE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(store, "LARGE", 1)


def written(folder: Path, content: bytes, name: str = "a.txt") -> Path:
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder / name


def outcome(read: Callable[[Path], Text], path: Path) -> list[str] | str:
    try:
        return list(read(path).sentences)
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_the_same_sentences_as_in_memory(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, CONTENT, name)
    whole = read_text(path)
    for _ in range(2):  # made, then kept
        text = open_text(path)
        assert isinstance(text.sentences, Lines)
        assert list(text.sentences) == whole.sentences
        assert [text.sentences[k] for k in range(len(whole.sentences))] == whole.sentences
        assert text.blank == whole.blank == 2


PIECES = [
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"a",
    b"b c",
    b"\xef\xbb\xbf",
    b"\xc3\xbc",
    b"\xe2\x80\xa8",
    b"\xc2\xa0",
    b"\x1c",
]
BYTES = st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=BYTES, name=st.sampled_from(["a.txt", "a.txt.gz"]), block=st.sampled_from([1, 5, 1 << 24]))
def test_any_bytes_give_the_same_sentences_or_the_same_refusal(
    tmp_path: Path, content: bytes, name: str, block: int
) -> None:
    path = written(tmp_path, content, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BYTES", block)
        assert outcome(open_text, path) == outcome(read_text, path)


def test_a_byte_order_mark_counts_only_at_the_start_of_the_first_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "a\n\ufeffb\n".encode())
    monkeypatch.setattr(module, "BYTES", 1)
    assert list(open_text(path).sentences) == read_text(path).sentences == ["a", "\ufeffb"]


@pytest.mark.parametrize("cut", [3, 30, -9, -1])
def test_a_damaged_gzip_is_refused_as_in_memory(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path, b"one sentence\n" * 9, "a.txt.gz")
    path.write_bytes(path.read_bytes()[:cut])
    found = outcome(open_text, path)
    assert "truncated or damaged" in found
    assert found == outcome(read_text, path)
    assert not list(store.cache_folder().glob("lines/*/text"))


def test_a_long_pass_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, b"\n".join(b"sentence %d" % k for k in range(9000)))
    found = open_text(path).sentences
    assert list(found)
    assert capsys.readouterr().err == ""  # a short one does not
    monkeypatch.setattr(progress, "SECONDS", 0)
    monkeypatch.setattr(module, "BYTES", 1 << 16)
    assert list(found)
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"reading {path}: 46%"
    assert second.startswith(f"reading {path}: 91%, about ")
    os.utime(path)
    open_text(path)
    assert f"finding the lines of {path}: " in capsys.readouterr().err


def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    path = written(tmp_path, b"a b\nc d\n")
    open_text(path)
    (entry,) = store.cache_folder().glob("lines/*")
    (entry / "starts.npy").unlink()
    with pytest.warns(UserWarning, match="is damaged and will be rebuilt"):
        assert list(open_text(path).sentences) == ["a b", "c d"]


def test_slices_and_selections_stay_lazy(tmp_path: Path) -> None:
    path = written(tmp_path, b"\n".join(b"sentence %d" % k for k in range(9000)))
    found, whole = open_text(path).sentences, read_text(path).sentences
    assert list(found) == whole
    assert isinstance(found[10:4000:7], Lines)
    assert list(found[10:4000:7]) == whole[10:4000:7]
    assert list(found[10:4000:7][5:9]) == whole[10:4000:7][5:9]
    assert found[10:4000:7][-1] == whole[10:4000:7][-1]
    assert len({found.stamp, found[1:].stamp, found[2:].stamp, found[1:][1:].stamp}) == 3
    assert (found[-1], list(found[::-1][:2])) == (whole[-1], whole[:-3:-1])
    with pytest.raises(IndexError):
        found[9000]


def test_the_index_is_made_once_and_again_when_the_file_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, b"a b\nc d\n")
    first = open_text(path)
    status = path.stat()
    indexed = module._index
    monkeypatch.setattr(module, "_index", None)
    assert list(open_text(path).sentences) == ["a b", "c d"]
    monkeypatch.setattr(module, "_index", indexed)
    with path.open("r+b") as file:  # in place, of the same size, and with the old date
        file.write(b"x\ny z\n\n\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list(open_text(path).sentences) == ["x", "y z"]
    assert first.sentences.stamp != open_text(path).sentences.stamp


def test_a_corpus_of_one_large_file_is_cut_as_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, b"\n".join(b"sentence number %d" % k for k in range(400)))
    large = [open_corpus(str(path)), open_corpus(str(path))]
    assert all(is_large(corpus[split]) for corpus in large for split in SPLITS)
    monkeypatch.setattr(store, "LARGE", 1 << 30)
    small = open_corpus(str(path))
    for corpus in large:
        assert [list(corpus[split]) for split in SPLITS] == [small[split] for split in SPLITS]
        assert corpus.digest() == small.digest()
        assert corpus.remarks == small.remarks


def test_a_digest_is_computed_once_and_follows_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in SPLITS:
        written(tmp_path, f"{split} one\n{split} two\n".encode(), f"{split}.txt")
    digest = open_corpus(str(tmp_path)).digest()
    with monkeypatch.context() as patch:
        patch.setattr("textvae.data.corpus._update", None)
        assert open_corpus(str(tmp_path)).digest() == digest
    written(tmp_path, b"test one\ntest 2\n", "test.txt")
    assert open_corpus(str(tmp_path)).digest() != digest


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_without_a_cache_everything_still_works_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TEXTVAE_CACHE", str(tmp_path / "file"))
    path = written(tmp_path, CONTENT, name)
    assert list(open_text(path).sentences) == read_text(path).sentences
    remarks = open_corpus(str(path)).remarks
    assert any("cannot be written" in remark and "TEXTVAE_CACHE" in remark for remark in remarks) == (
        name == "a.txt"
    )

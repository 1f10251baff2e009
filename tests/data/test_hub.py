"""Tables and hub datasets, offline: lazily read, blank rows dropped, refusals in one sentence."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textvae.data import store
from textvae.data.corpora import SPLITS, Corpus, open_corpus
from textvae.data.reading import rows
from textvae.data.reading.lazy import is_large
from textvae.data.reading.rows import Column
from textvae.data.sources import hub
from textvae.data.sources.tables import TABLE_SUFFIXES
from textvae.errors import DataError

Rows = Mapping[str, Sequence[Any]]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def write_csv(path: Path, rows: Rows) -> None:
    import csv

    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([list(rows), *zip(*rows.values(), strict=True)])


def write_json(path: Path, rows: Rows) -> None:
    records = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
    path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")


def write_parquet(path: Path, rows: Rows) -> None:
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(dict(rows)), path)


WRITERS: dict[str, Callable[[Path, Rows], None]] = {
    ".csv": write_csv,
    ".json": write_json,
    ".jsonl": write_json,
    ".parquet": write_parquet,
}


def refusal(source: object, **options: str) -> str:
    with pytest.raises(DataError) as caught:
        open_corpus(str(source), **options)
    message = str(caught.value)
    assert not message.endswith(".")
    assert "\n" not in message
    return message


def test_every_suffix_has_a_writer() -> None:
    assert set(WRITERS) == set(TABLE_SUFFIXES)


@pytest.mark.parametrize("suffix", TABLE_SUFFIXES)
def test_a_folder_of_tables(tmp_path: Path, suffix: str) -> None:
    texts = ["one two", "", "  three\tfour\nfive ", "NA", "123", " \n "]
    for name in ("train", "validation", "test"):
        WRITERS[suffix](tmp_path / f"{name}{suffix}", {"label": [0] * 6, "text": texts})
    corpus = open_corpus(str(tmp_path))
    for split in SPLITS:
        assert isinstance(corpus[split], Column)
        assert list(corpus[split]) == ["one two", "three four five", "NA", "123"]
        assert len(corpus[split]) == 4
    assert "train: 2 blank lines skipped" in corpus.remarks


@pytest.mark.parametrize("suffix", TABLE_SUFFIXES)
def test_one_table_is_cut_into_three(tmp_path: Path, suffix: str) -> None:
    texts = [f"sentence {k} of many" for k in range(60)]
    path = tmp_path / f"my{suffix}"
    WRITERS[suffix](path, {"sentence": texts, "other": texts})
    corpus = open_corpus(str(path))
    assert {split: len(corpus[split]) for split in SPLITS} == {"train": 54, "valid": 3, "test": 3}
    assert sorted(text for split in SPLITS for text in corpus[split]) == sorted(texts)
    (plain := tmp_path / "my.txt").write_text("\n".join(texts), encoding="utf-8")
    assert corpus.digest() == open_corpus(str(plain)).digest()
    assert corpus.name == "my"


def test_a_column_is_a_sequence_that_reads_as_it_is_asked(tmp_path: Path) -> None:
    texts = [f" text {k} " for k in range(40)]
    write_csv(tmp_path / "a.csv", {"text": texts})
    train = open_corpus(str(tmp_path / "a.csv"))["train"]
    whole = list(train)
    assert isinstance(train[2:9:3], Column)
    assert list(train[2:9:3]) == whole[2:9:3]
    assert list(train[::-1]) == whole[::-1]
    assert (train[0], train[-1]) == (whole[0], whole[-1])
    with pytest.raises(IndexError):
        train[len(train)]


def test_missing_values_are_blank(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": ["a b", None, "c d", "e f"]})
    corpus = open_corpus(str(tmp_path / "a.parquet"))
    assert sum(len(corpus[split]) for split in SPLITS) == 3
    assert "a.parquet: 1 blank line skipped" in corpus.remarks


def test_numbered_shards_are_one_split(tmp_path: Path) -> None:
    for name in (
        "train-00000-of-00002",
        "train-00001-of-00002",
        "valid-00000-of-00001",
        "test-00000-of-00001",
    ):
        write_parquet(tmp_path / f"{name}.parquet", {"text": [f"in {name}"]})
    assert list(open_corpus(str(tmp_path))["train"]) == [
        "in train-00000-of-00002",
        "in train-00001-of-00002",
    ]


def test_the_text_column(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_json(path, {"review": ["a b", "c d", "e f"], "stars": [1, 2, 3]})
    assert "no column `text` or `sentence`; set data.column (or --column) to one of review" in refusal(path)
    assert "no column `body`; set data.column (or --column) to one of review" in refusal(path, column="body")
    said = refusal(path, column="stars")
    assert "column stars holds int64, not text; set data.column (or --column) to one of review" in said
    assert set(open_corpus(str(path), column="review")["train"]) <= {"a b", "c d", "e f"}


def test_a_column_of_several_types_and_a_table_without_rows(tmp_path: Path) -> None:
    mixed = tmp_path / "a.jsonl"
    mixed.write_text('{"text": "a b"}\n{"text": 3}\n', "utf-8")
    said = refusal(mixed)
    assert "column text holds nested values, or values of several types, not text" in said
    assert said.endswith("none of its columns holds text alone")
    (tmp_path / "b.csv").write_text("text\n", "utf-8")
    assert "b.csv has no rows; it needs at least one" in refusal(tmp_path / "b.csv")


@pytest.mark.parametrize("suffix", TABLE_SUFFIXES)
def test_damaged_and_empty_tables(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"")
    assert "is empty" in refusal(path)
    path.write_bytes(b"text\n\xff\xfe\x00\x01{")
    assert f"a{suffix}" in refusal(path)
    WRITERS[suffix](path, {"text": ["", " ", ""]})
    assert "holds no sentence in column text" in refusal(path)


@pytest.mark.parametrize("header", [",text", "\n\nother,text", "text,text", "\ufefftext,other"])
def test_an_index_a_blank_line_and_a_repeated_name_before_the_text(tmp_path: Path, header: str) -> None:
    """A table with an index is what pandas writes unless it is told otherwise."""
    text_first = header.strip("\n\ufeff").startswith("text")
    rows = [f"text {k},{k}" if text_first else f"{k},text {k}" for k in range(9)]
    (tmp_path / "a.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    corpus = open_corpus(str(tmp_path / "a.csv"))
    assert sorted(text for split in SPLITS for text in corpus[split]) == [f"text {k}" for k in range(9)]


@pytest.mark.parametrize("split", ["train-00000-of-00002", "train-00001-of-00002"])
def test_a_comma_that_would_cut_the_text_is_refused(tmp_path: Path, split: str) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "valid", "test"):
        (tmp_path / f"{name}.csv").write_text("text\nplain\nwords\n", encoding="utf-8")
    (tmp_path / f"{split}.csv").write_text("text\nno, thanks\nyes, please\n", encoding="utf-8")
    assert f"{split}.csv, row 1: has more cells than the header has columns" in refusal(tmp_path)
    (tmp_path / f"{split}.csv").write_text('text\n"no, thanks"\n"yes, please"\n', encoding="utf-8")
    assert {"no, thanks", "yes, please"} < set(open_corpus(str(tmp_path))["train"])


def test_a_nul_byte_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"text": ["fine", "b\0d", "fine"]})
    assert "a.json, row 2: holds a NUL byte" in refusal(tmp_path / "a.json")


def tables(**splits: Sequence[str]) -> dict[str, Any]:
    from datasets import Dataset

    return {split: Dataset.from_dict({"text": list(texts)}) for split, texts in splits.items()}


@pytest.mark.parametrize("alias", ["validation", "valid", "val", "dev"])
def test_a_split_is_known_by_its_usual_names(alias: str) -> None:
    corpus = hub.corpus_of(tables(**{"train": ["a"], alias: ["b"], "test": ["c"]}), "it")
    assert [list(corpus[split]) for split in SPLITS] == [["a"], ["b"], ["c"]]
    assert corpus.remarks == ()


def test_a_dataset_without_valid_or_test_gives_some_of_its_train() -> None:
    texts = [f"text {k}" for k in range(40)]
    corpus = hub.corpus_of(tables(train=texts, test=["a test"], unsupervised=["x"]), "owner/the data")
    assert corpus.name == "the-data"
    assert {split: len(corpus[split]) for split in SPLITS} == {"train": 38, "valid": 2, "test": 1}
    assert "has no valid split of its own" in corpus.remarks[0]
    with pytest.raises(DataError, match="it has no train split: its splits are test"):
        hub.corpus_of(tables(test=["a"]), "it")


def test_hf_reads_what_the_library_reads(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        write_csv(tmp_path / f"{name}.csv", {"text": [f"a {name} text", ""]})
    corpus: Corpus = open_corpus(f"hf:{tmp_path}")
    assert [list(corpus[split]) for split in SPLITS] == [
        ["a train text"],
        ["a validation text"],
        ["a test text"],
    ]


def test_a_dataset_of_several_configurations_asks_for_one(tmp_path: Path) -> None:
    entries = "".join(f"- config_name: {name}\n  data_files: {name}.csv\n" for name in ("first", "second"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{entries}---\n", encoding="utf-8")
    for name in ("first", "second"):
        write_csv(tmp_path / f"{name}.csv", {"text": [f"{name} {k}" for k in range(9)]})
    message = refusal(f"hf:{tmp_path}")
    assert f"write hf:{tmp_path}:CONFIG" in message
    assert "first" in message
    assert "second" in message
    assert "first" in refusal(f"hf:{tmp_path}:third")
    assert "second" in open_corpus(f"hf:{tmp_path}:second")["train"][0]


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, *_: object) -> Any:
        raise ConnectionError(f"Couldn't reach '{name}' on the Hub")

    monkeypatch.setattr(hub, "_download", unreachable)
    assert "hf:owner/data cannot be read (Couldn't reach 'owner/data' on the Hub)" in refusal("hf:owner/data")


def test_a_script_is_read_from_the_hubs_own_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def download(name: str, config: object, revision: object) -> Any:
        asked.append(revision)
        if revision is None:
            raise RuntimeError("Dataset scripts are no longer supported, but found data.py")
        return tables(train=["a"], validation=["b"], test=["c"])

    monkeypatch.setattr(hub, "_download", download)
    assert list(open_corpus("hf:data")["valid"]) == ["b"]
    assert asked == [None, "refs/convert/parquet"]


@pytest.fixture
def _everything_is_large(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTVAE_CACHE", str(tmp_path_factory.mktemp("derived")))
    monkeypatch.setattr(store, "LARGE", 1)


TWO = {"text": ["a b", "", "c d", "e f", "g h"], "sentence": ["", "i j", "k l", "", "m n"]}


@pytest.mark.usefixtures("_everything_is_large")
def test_a_large_table_keeps_what_is_derived_from_each_of_its_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(tmp_path / "a.csv", TWO)

    def opened() -> list[list[str]]:
        corpora = [open_corpus(str(tmp_path / "a.csv"), column=column) for column in TWO]
        assert all(is_large(corpus["train"]) for corpus in corpora)
        return [sorted(text for split in SPLITS for text in corpus[split]) for corpus in corpora]

    wanted = [sorted(filter(None, texts)) for texts in TWO.values()]
    assert opened() == wanted
    found = rows._full
    monkeypatch.setattr(rows, "_full", None)
    assert opened() == wanted  # from the cache
    monkeypatch.setattr(rows, "_full", found)
    write_csv(tmp_path / "a.csv", {"text": ["x", "y", "z", ""], "sentence": ["", "u", "v", "w"]})
    assert opened() == [["x", "y", "z"], ["u", "v", "w"]]


@pytest.mark.usefixtures("_everything_is_large")
def test_the_digest_of_a_large_table_is_that_of_its_sentences(tmp_path: Path) -> None:
    texts = [f"sentence {k} of many" for k in range(60)]
    write_csv(tmp_path / "a.csv", {"text": texts, "sentence": texts[::-1]})
    by_column = [open_corpus(str(tmp_path / "a.csv"), column=column) for column in ("text", "sentence")]
    for corpus in by_column:
        in_memory = Corpus("it", {split: list(corpus[split]) for split in SPLITS})
        assert [corpus.digest() for _ in range(2)] == [in_memory.digest()] * 2
    assert by_column[0].digest() != by_column[1].digest()


def test_a_column_has_a_stamp_of_its_own_and_its_share_of_the_bytes() -> None:
    from datasets import Dataset

    texts = [f"{k:03d} " * 25 for k in range(200)]
    table = Dataset.from_dict({"text": texts, "sentence": texts})
    whole = Column(table, "text")
    half = whole.select(np.arange(100))
    parts = (whole, Column(table, "sentence"), half, whole.select(np.arange(100, 200)), whole[:100:2])
    assert len({part.stamp for part in parts}) == len(parts)
    assert whole.stamp == Column(table, "text").stamp
    assert 20_000 <= whole.size < 25_000
    assert half.size == pytest.approx(whole.size / 2, abs=1)
    assert whole[::4].size == pytest.approx(whole.size / 4, abs=1)  # rows here and there share the whole's table
    assert whole.select(np.arange(0)).size == 0


def test_the_terminal_stays_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_csv(tmp_path / "a.csv", {"text": ["a b", "c d", "e f"]})
    open_corpus(str(tmp_path / "a.csv"))
    assert capfd.readouterr() == ("", "")

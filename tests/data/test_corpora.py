"""Opening a corpus by name or path, splits, digests, remarks."""

import gzip
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from textvae.data.corpora import SPLITS, Corpus, known_corpora, open_corpus, open_whole
from textvae.data.remarks import word_remarks
from textvae.data.sources.splits import carve
from textvae.errors import DataError


def refusal(source: object, **options: str) -> str:
    with pytest.raises(DataError) as caught:
        open_corpus(str(source), **options)
    message = str(caught.value)
    assert not message.endswith(".")
    assert "\n" not in message
    return message


def folder_of(path: Path, files: Mapping[str, str]) -> Path:
    path.mkdir(exist_ok=True)
    for name, text in files.items():
        data = text.encode()
        (path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def test_the_embedded_corpus() -> None:
    corpus = open_corpus("grammar")
    assert corpus.name == "grammar"
    assert corpus.grammar is not None
    assert not corpus.remarks
    assert all(len(corpus[split]) for split in SPLITS)
    assert corpus.grammar.log_prob(corpus["test"][0]) < 0


@pytest.mark.parametrize(
    "names",
    [
        ("train.txt", "valid.txt", "test.txt"),
        ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"),
        ("Train.TXT", "dev.txt", "test.txt.gz"),
        ("my_training_set.txt", "val-2.txt", "the.test.txt"),
        ("newstrain.txt", "newsvalid.txt", "newstest.txt"),
    ],
)
def test_a_folder_of_text_files(tmp_path: Path, names: tuple[str, str, str]) -> None:
    texts = ("a b\n\nc d\n", "e f\n", "g h\n")
    folder = folder_of(tmp_path / "my news", dict(zip(names, texts, strict=True)) | {"README.md": "no corpus"})
    corpus = open_corpus(str(folder))
    assert corpus.name == "my-news"
    assert [list(corpus[split]) for split in SPLITS] == [["a b", "c d"], ["e f"], ["g h"]]
    assert corpus.remarks == ("train: 1 blank line skipped",)


def test_tables_beside_the_text_files_of_a_folder_are_said_to_be_left_out(tmp_path: Path) -> None:
    files = {"train.txt": "some words", "valid.txt": "b", "test.txt": "c", "train.csv": "text\nother words"}
    corpus = open_corpus(str(folder_of(tmp_path, files)))
    assert list(corpus["train"]) == ["some words"]
    assert corpus.remarks == (f"{tmp_path}: its text files are read, and train.csv left out",)


def test_a_word_of_the_name_counts_before_a_part_of_it(tmp_path: Path) -> None:
    files = {"train.txt": "a", "constrain.txt": "b", "valid.txt": "c", "test.txt": "d", "latest.txt": "e"}
    assert list(open_corpus(str(folder_of(tmp_path, files)))["train"]) == ["a"]


def test_a_folder_that_lacks_a_split(tmp_path: Path) -> None:
    folder_of(tmp_path, {"train.txt": "a", "valid.txt": "b"})
    message = refusal(tmp_path)
    assert "has no test split; add test.txt" in message
    assert "train.txt, valid.txt" in message
    assert "no train and no valid and no test split" in refusal(folder_of(tmp_path / "empty", {}))


def test_a_folder_that_has_a_split_twice(tmp_path: Path) -> None:
    folder_of(tmp_path, {"train.txt": "a", "dev.txt": "b", "val.txt": "b", "test.txt": "c"})
    assert "several files for its valid split (dev.txt, val.txt)" in refusal(tmp_path)


def test_text_in_shards_is_refused_and_not_cut_short(tmp_path: Path) -> None:
    shards = {f"train-0000{k}-of-00002.txt": "a\nb" for k in (0, 1)}
    folder_of(tmp_path, {**shards, "valid.txt": "a", "test.txt": "c"})
    assert "has its train split in 2 files (train-00000-of-00002.txt, …)" in refusal(tmp_path)


def test_one_file_named_after_two_splits(tmp_path: Path) -> None:
    folder_of(tmp_path, {"train-valid.txt": "a", "test.txt": "c"})
    assert "train-valid.txt matches two splits" in refusal(tmp_path)


def test_an_empty_or_broken_split_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, {"train.txt": "a", "valid.txt": "\n", "test.txt": "c"})
    assert "valid.txt holds no sentence" in refusal(tmp_path)
    (tmp_path / "valid.txt").write_bytes(b"a\n\xc3\n")
    assert "valid.txt, line 2" in refusal(tmp_path)


def test_one_file_is_cut_into_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"sentence number {k} of many" for k in range(400)]
    path = tmp_path / "my.corpus.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    corpus = open_corpus(str(path))
    assert corpus.name == "my.corpus"
    assert {split: len(corpus[split]) for split in SPLITS} == {"train": 360, "valid": 20, "test": 20}
    assert sorted(line for split in SPLITS for line in corpus[split]) == sorted(lines)
    assert list(corpus["train"]) == [line for line in lines if line in set(corpus["train"])]
    assert "my.corpus.txt has no valid or test split of its own" in corpus.remarks[0]
    assert corpus.digest() == open_corpus(str(path)).digest()
    path.write_text("\n".join([*lines, "one more line"]), encoding="utf-8")
    assert len(set(open_corpus(str(path))["valid"]) & set(corpus["valid"])) >= 19
    whole = open_whole(str(path))
    assert all(list(whole[split]) == [*lines, "one more line"] for split in SPLITS)
    assert not whole.remarks
    monkeypatch.setenv("HOME", str(tmp_path))
    assert list(open_whole("~/my.corpus.txt")["valid"]) == list(whole["valid"])


def test_the_cut_never_changes() -> None:
    parts = carve([f"line {k}" for k in range(40)], ("valid", "test"), "it")
    assert (parts["valid"].tolist(), parts["test"].tolist()) == ([5, 36], [21, 22])


def test_a_large_file_gives_a_part_that_can_be_validated_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textvae.data.sources.splits.MOST", 3)
    parts = carve([f"line {k}" for k in range(100)], ("valid", "test"), "it")
    assert {split: len(positions) for split, positions in parts.items()} == {"train": 94, "valid": 3, "test": 3}


def test_a_file_too_small_to_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n", encoding="utf-8")
    assert "holds only 2 sentences" in refusal(path)
    path.write_text("one\ntwo\nthree\n", encoding="utf-8")
    assert all(len(open_corpus(str(path))[split]) == 1 for split in SPLITS)


def test_unknown_names_are_answered_with_the_valid_ones(tmp_path: Path) -> None:
    assert "did you mean grammar?" in refusal("gramar")
    assert "torchtext:PennTreebank" in refusal("nonsense")
    (tmp_path / "stories.txt").write_text("a", encoding="utf-8")
    assert "stories.txt?" in refusal(tmp_path / "storys.txt")
    assert "the only one is torchtext:PennTreebank" in refusal("torchtext:WikiText2")
    assert "needs a dataset name" in refusal("hf:")
    assert "choose grammar" in refusal("")
    assert "there is no corpus `~no such user/text`" in refusal("~no such user/text")
    (tmp_path / "a.doc").write_text("a", encoding="utf-8")
    assert "must end in one of .txt" in refusal(tmp_path / "a.doc")


def test_a_column_is_refused_where_there_are_none(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
    for source in ("grammar", "ptb", "torchtext:PennTreebank", str(tmp_path), str(tmp_path / "train.txt")):
        with pytest.raises(DataError, match=r"has no columns; leave out --column"):
            open_corpus(source, column="text")


def test_a_corpus_knows_its_splits_and_its_content() -> None:
    corpus = Corpus("c", {"train": ["a"], "valid": ["b"], "test": ["c"]})
    with pytest.raises(DataError, match="no split `dev`; choose one of train, valid, test"):
        corpus["dev"]
    with pytest.raises(DataError, match="the valid split of c holds no sentence"):
        Corpus("c", {"train": ["a"], "valid": [], "test": ["c"]})
    moved = Corpus("c", {"train": ["a", "b"], "valid": ["b"], "test": ["c"]})
    assert corpus.digest() != moved.digest()
    assert corpus.digest() == Corpus("other", corpus.splits).digest()


def test_the_list_of_corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TEXTVAE_DATA", raising=False)
    rows = {row.source: row for row in known_corpora()}
    assert {"grammar", "ptb", "torchtext:PennTreebank", "hf:NAME"} <= set(rows)
    assert "textvae corpus fetch ptb" in rows["ptb"].where
    (tmp_path / "data" / "ptb").mkdir(parents=True)
    assert {row.source: row for row in known_corpora()}["ptb"].where == str(Path("data/ptb"))


def ordinary(sentences: int) -> list[str]:
    """Text with Zipf's frequencies, about those of English."""
    draw = random.Random(0).random
    return [" ".join(f"w{int(1.5 / (draw() + 3e-5))}" for _ in range(12)) for _ in range(sentences)]


@pytest.mark.parametrize("sentences", [20, 200, 2000])
def test_nothing_is_said_of_ordinary_text(sentences: int) -> None:
    assert word_remarks(ordinary(sentences)) == ()


FOREIGN = {
    "chinese": ["他昨天去了北京大学图书馆", "今天的天气非常好我们去公园", "这是一个没有空格的句子"] * 20,
    "short chinese": ["今天天气很好", "他去学校了吗"] * 20,
    "thai": ["ภาษาไทยไม่มีช่องว่าง ระหว่างคำในประโยคเดียวกัน"] * 20,
}


@pytest.mark.parametrize("sentences", FOREIGN.values(), ids=FOREIGN.keys())
def test_text_without_spaces_is_noticed(sentences: list[str]) -> None:
    (remark,) = word_remarks(sentences)
    assert "--tokenizer unigram" in remark
    assert "spaces" in remark


def test_a_flood_of_words_seen_once_is_noticed() -> None:
    (remark,) = word_remarks([f"the new{k} word{k} that was{k} seen{k}" for k in range(500)])
    assert "--tokenizer unigram" in remark
    assert "occur once" in remark


def test_remarks_reach_the_corpus(tmp_path: Path) -> None:
    folder_of(tmp_path, {f"{split}.txt": "\n".join(FOREIGN["chinese"]) for split in SPLITS})
    assert any("--tokenizer unigram" in remark for remark in open_corpus(str(tmp_path)).remarks)


def test_opening_text_loads_no_heavy_library() -> None:
    heavy = {"torchtext", "datasets", "sentencepiece", "pandas", "pyarrow"}
    code = f"import sys, textvae.data.corpora, textvae.data.info; print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

"""torchtext's Penn Treebank reader on invented files, and vocabularies both ways."""

import ast
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

import textvae.data
from textvae.data.corpora import SPLITS, open_corpus
from textvae.data.sources.torchtext_bridge import from_torchtext, penn_treebank, penn_treebank_urls, to_torchtext
from textvae.data.tokenizers import SPECIALS, UNK, WordTokenizer, train_tokenizer
from textvae.errors import DataError


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "ptb").mkdir()
    paths = {split: tmp_path / "ptb" / f"ptb.{split}.txt" for split in SPLITS}
    for split, path in paths.items():
        path.write_text(f" one {split} <unk> sentence \n a second N \n\n", encoding="utf-8")
    return paths


def test_its_single_example_is_split_into_sentences(files: dict[str, Path]) -> None:
    read = penn_treebank(files)
    assert read == {split: [f"one {split} <unk> sentence", "a second N"] for split in SPLITS}
    assert penn_treebank(dict(reversed(files.items()))) == read


def test_it_is_a_corpus(files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTVAE_DATA", str(tmp_path))
    bridged, own = open_corpus("torchtext:PennTreebank"), open_corpus("ptb")
    assert bridged.digest() == own.digest()
    assert "not the standard Penn Treebank" in bridged.remarks[0]


def test_files_it_cannot_read(files: dict[str, Path]) -> None:
    with pytest.raises(DataError, match=r"a\.gz is gzipped"):
        penn_treebank({**files, "valid": Path("a.gz")})
    files["test"].write_bytes(b"\xff\n")
    with pytest.raises(DataError, match="torchtext cannot read"):
        penn_treebank(files)


def test_its_addresses() -> None:
    urls = penn_treebank_urls()
    assert list(urls) == list(SPLITS)
    assert all(split in url for split, url in urls.items())


def test_a_vocabulary_goes_out_and_comes_back() -> None:
    tokenizer = train_tokenizer("word", ["b a a", "c b a <unk>"])
    assert isinstance(tokenizer, WordTokenizer)
    vocabulary = to_torchtext(tokenizer)
    assert vocabulary.itos == [*SPECIALS, "a", "b", "c"]
    assert [vocabulary.stoi[word] for word in ["a", "b", "never"]] == tokenizer.encode("a b never") == [4, 5, UNK]
    assert from_torchtext(vocabulary).vocabulary == tokenizer.vocabulary


def test_vocabularies_made_elsewhere() -> None:
    from torchtext.vocab import Vocab

    old = Vocab(Counter(["the", "cat", "sat", "the", "cat", "the"]), specials=["<unk>", "<pad>", "<eos>"])
    new = SimpleNamespace(get_itos=lambda: ["<unk>", "<pad>", "the", "cat", "sat"])
    for vocabulary in (old, new):
        assert from_torchtext(vocabulary).vocabulary == (*SPECIALS, "the", "cat", "sat")
    with pytest.raises(DataError, match="a list is not a torchtext vocabulary"):
        from_torchtext(["the"])


def test_words_that_look_special_cannot_go_out() -> None:
    with pytest.raises(DataError, match="</s> is both a word and a special token"):
        to_torchtext(WordTokenizer(["a", "</s>"]))


def test_no_other_file_imports_torchtext() -> None:
    root = Path(next(iter(textvae.data.__path__))).parent
    importing = {
        path.name
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(a.name.split(".")[0] == "torchtext" for a in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torchtext")
    }
    assert importing == {"torchtext_bridge.py"}

"""One list of invariants for every kind of tokenizer, then what is particular to each."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from penn_treebank import needs_ptb

from textvae.data.corpora import open_corpus
from textvae.data.tokenizers import (
    BOS,
    EOS,
    KINDS,
    PAD,
    SPECIALS,
    UNK,
    Tokenizer,
    WordTokenizer,
    load_tokenizer,
    train_tokenizer,
)
from textvae.errors import DataError

TRAIN = [
    "the <unk> bank said N % of its profit fell",
    "a new one was not seen </s> by the <unk> of NBC",
    "it 's a small world <s> after all , is n't it ?",
    "der Müller trägt 日本語 🙂 <pad> <eos>",
] * 20
SPOKEN = st.lists(st.sampled_from(sorted({word for line in TRAIN for word in line.split()})), max_size=8)


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train_tokenizer(request.param, TRAIN)


def test_special_ids(tokenizer: Tokenizer) -> None:
    assert (PAD, BOS, UNK, EOS) == (0, 1, 2, 3)
    assert tokenizer.predicted == tokenizer.size - 2
    assert tokenizer.encode("") == tokenizer.encode("  ") == []
    assert tokenizer.decode([]) == ""


def test_no_text_writes_a_special_id(tokenizer: Tokenizer) -> None:
    for line in [*TRAIN[:4], "<pad> <s> </s> <eos> </s></s>", "<s>glued</s>"]:
        ids = tokenizer.encode(line)
        assert not {PAD, BOS, EOS} & set(ids)
        assert all(0 <= i < tokenizer.size for i in ids)


def test_known_text_comes_back(tokenizer: Tokenizer) -> None:
    @given(SPOKEN)
    @settings(deadline=None)
    def check(words: list[str]) -> None:
        assert tokenizer.decode(tokenizer.encode("  ".join(words))) == " ".join(words)

    check()


def test_any_text_is_encoded_and_decoded(tokenizer: Tokenizer) -> None:
    @given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
    @settings(deadline=None)
    def check(text: str) -> None:
        ids = tokenizer.encode(text)
        assert not {PAD, BOS, EOS} & set(ids)
        assert tokenizer.decode([BOS, *ids, PAD, PAD]) == tokenizer.decode([*ids, EOS, *ids])

    check()


def test_the_unknown_reads_unk(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("Ω")
    assert UNK in ids
    assert tokenizer.decode(ids) == "<unk>"


def test_the_literal_unk_is_one_token(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("<unk>")) == 1
    assert tokenizer.decode(tokenizer.encode("<unk> the <unk>")) == "<unk> the <unk>"


def test_its_unknown_ids_are_those_that_read_unk(tokenizer: Tokenizer) -> None:
    read = [i for i in range(tokenizer.size) if tokenizer.decode([i]) == "<unk>"]
    assert list(tokenizer.unknown) == read
    assert set(tokenizer.encode("<unk>") + tokenizer.encode("Ω")) >= set(read)


def test_save_and_load(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "a")
    loaded = load_tokenizer(tmp_path / "a")
    assert (loaded.kind, loaded.size, loaded.content()) == (
        tokenizer.kind,
        tokenizer.size,
        tokenizer.content(),
    )
    assert [loaded.encode(line) for line in TRAIN] == [tokenizer.encode(line) for line in TRAIN]
    loaded.save(tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(names) == 2
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)


def test_training_is_deterministic(tokenizer: Tokenizer) -> None:
    again = train_tokenizer(tokenizer.kind, iter(TRAIN))
    assert again.content() == tokenizer.content()


def test_damage_is_noticed(tokenizer: Tokenizer, tmp_path: Path) -> None:
    def refused() -> str:
        with pytest.raises(DataError) as caught:
            load_tokenizer(tmp_path)
        return str(caught.value)

    assert "tokenizer.json cannot be read" in refused()
    tokenizer.save(tmp_path)
    path, header = tmp_path / tokenizer.content_file, tmp_path / "tokenizer.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    assert "does not match the checksum in tokenizer.json" in refused()
    path.unlink()
    assert tokenizer.content_file in refused()
    said = json.loads(header.read_text(encoding="utf-8"))
    header.write_text(json.dumps(said | {"kind": "sentence"}), encoding="utf-8")
    assert "it should be one of word, unigram, bpe, char" in refused()
    for damaged in ("{", "[]", "{}", "\0"):
        header.write_text(damaged, encoding="utf-8")
        assert "tokenizer.json is damaged" in refused()


def test_a_line_of_100_000_words(tokenizer: Tokenizer) -> None:
    line = "the bank said " * 33_334
    assert tokenizer.decode(tokenizer.encode(line)) == line.strip()
    trained = train_tokenizer(tokenizer.kind, [line, *TRAIN])
    assert len(trained.encode(line)) >= 100_000


@pytest.mark.parametrize(("kind", "bound"), [("word", 20), ("bpe", 80), ("unigram", 58), ("char", 60)])
def test_max_size_bounds_the_predicted_types(kind: str, bound: int) -> None:
    assert train_tokenizer(kind, TRAIN, vocabulary_size=bound).predicted <= bound


def test_a_bound_below_the_alphabet_is_refused() -> None:
    with pytest.raises(DataError, match=r"its characters alone are more.*; change vocabulary_size or add text"):
        train_tokenizer("unigram", TRAIN, vocabulary_size=20)


@pytest.mark.parametrize("kind", KINDS)
def test_repeats_without_end_take_no_time(kind: str) -> None:
    tokenizer = train_tokenizer(kind, ["哈" * 20_000, "a b " * 20_000, "ab" * 10_000])
    assert tokenizer.decode(tokenizer.encode("哈哈哈哈 b")) in ("哈哈哈哈 b", "<unk> b")


@pytest.mark.parametrize("sentences", [["a"], ["a a a"], [""], []])
@pytest.mark.parametrize("kind", KINDS)
def test_tiny_corpora_give_a_tokenizer_or_a_sentence(kind: str, sentences: list[str]) -> None:
    try:
        trained = train_tokenizer(kind, sentences)
    except DataError as error:
        assert not str(error).endswith(".")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert trained.decode(trained.encode("a")) == "a"


def test_unknown_kinds_and_misplaced_options() -> None:
    with pytest.raises(DataError, match="no tokenizer `words`; choose one of word, unigram, bpe, char"):
        train_tokenizer("words", TRAIN)
    with pytest.raises(DataError, match="min_count = 2 is for words"):
        train_tokenizer("bpe", TRAIN, min_count=2)


def words_of(*sentences: str, min_count: int = 1, vocabulary_size: int | None = None) -> tuple[str, ...]:
    trained = train_tokenizer("word", sentences, min_count=min_count, vocabulary_size=vocabulary_size)
    assert isinstance(trained, WordTokenizer)
    return trained.vocabulary


def test_words_by_frequency_then_alphabet() -> None:
    text = ("b a c", "c a <unk> é", "</s> c <unk> <unk> <unk>")
    assert words_of(*text) == (*SPECIALS, "c", "a", "</s>", "b", "é")
    assert words_of(*text, min_count=2) == (*SPECIALS, "c", "a")
    assert words_of(*text, vocabulary_size=5) == (*SPECIALS, "c", "a", "</s>")


@pytest.mark.parametrize("bound", [{"vocabulary_size": 3}, {"vocabulary_size": 0}, {"min_count": 9}])
def test_a_vocabulary_of_almost_nothing_is_refused(bound: dict[str, int]) -> None:
    with pytest.raises(DataError, match="a model needs two; lower min_count, raise vocabulary_size or add text"):
        train_tokenizer("word", ["a b c c"], **bound)


def test_a_word_that_looks_special_keeps_its_own_id() -> None:
    tokenizer = train_tokenizer("word", ["</s> <s> <pad> <unk> <eos>"])
    assert tokenizer.encode("</s> <eos> <pad> <s> <unk>") == [4, 5, 6, 7, UNK]
    assert tokenizer.decode([4, 5, EOS, 6]) == "</s> <eos>"


def test_a_vocabulary_lists_every_word_once() -> None:
    for words in (["a", "a"], ["a", "<unk>"]):
        with pytest.raises(DataError, match="every word once"):
            WordTokenizer(words)


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char"])
def test_subwords_take_the_text_as_it_is(kind: str) -> None:
    lines = ["ﬁne Ａ ① café New NBC", "Nine New N names"] * 5
    tokenizer = train_tokenizer(kind, lines)
    assert [tokenizer.decode(tokenizer.encode(line)) for line in lines] == lines


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_text_without_spaces(kind: str) -> None:
    line = "今天的天气非常好我们去公园玩了一整天"
    tokenizer = train_tokenizer(kind, [line, line[4:], line[:9]] * 9)
    assert len(tokenizer.encode(line)) > 1
    assert tokenizer.decode(tokenizer.encode(line)) == line


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_large_alphabet_leaves_room_for_subwords(kind: str) -> None:
    letters = [chr(0x4E00 + k) for k in range(1000)]
    pairs = [letters[k] + letters[k + 20] for k in range(20)]
    words = [one + other for one, other in zip(pairs, pairs[1:] + pairs[:1], strict=True)]
    lines = ["".join(letters[k : k + 20]) for k in range(0, 1000, 20)] + [" ".join(words)] * 2000
    tokenizer = train_tokenizer(kind, lines, vocabulary_size=500)
    assert tokenizer.predicted <= 500
    assert not any(UNK in tokenizer.encode(word) for word in words)
    assert all(len(tokenizer.encode(word)) < len(word) for word in words)
    assert UNK in tokenizer.encode(letters[-1])


@pytest.mark.parametrize(("count", "step"), [(9, 1), (10, 1), (11, 2), (20, 2), (25, 3)])
def test_of_too_many_sentences_every_second_or_third_trains(
    count: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textvae.data.tokenizers.subword.MANY", 10)
    sentences = [chr(ord("a") + k) for k in range(count)]
    tokenizer = train_tokenizer("char", sentences)
    assert [sentence for sentence in sentences if UNK not in tokenizer.encode(sentence)] == sentences[::step]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_word_that_only_comes_before_a_space_can_be_one_piece(kind: str) -> None:
    """As every word does where each sentence ends in a full stop of its own."""
    nouns, verbs = ("Fußgänger", "Ärztin", "Katze", "N"), ("verlor", "suchte", "sah")
    lines = [f"die {one} {verb} die {other} ." for one in nouns for verb in verbs for other in nouns]
    tokenizer = train_tokenizer(kind, lines)
    assert [len(tokenizer.encode(line)) for line in lines] == [6] * len(lines)


def test_training_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    train_tokenizer("unigram", TRAIN)
    assert capfd.readouterr() == ("", "")


@needs_ptb
def test_ptb_has_ten_thousand_predicted_types() -> None:
    corpus = open_corpus("ptb")
    word = train_tokenizer("word", corpus["train"])
    assert (word.size, word.predicted) == (10_002, 10_000)
    unigram = train_tokenizer("unigram", corpus["train"])
    assert unigram.size == 8000
    assert len(unigram.encode("N")) == len(unigram.encode("<unk>")) == 1
    assert all(unigram.decode(unigram.encode(line)) == line for line in corpus["valid"])

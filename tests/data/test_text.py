"""The text reader: what it accepts, what it refuses and how it says so."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.data.reading.text import clean, read_text
from textvae.errors import DataError


def written(folder: Path, content: bytes, name: str = "a.txt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_every_ordinary_shape_of_line(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbfone two\r\n\n \t \n\tthree\tfour \nfive")
    text = read_text(path)
    assert text.sentences == ["one two", "three four", "five"]
    assert text.blank == 2


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x0b", "\x0c", "\x85", "\x1c", "\r"])
def test_only_a_line_feed_ends_a_line(tmp_path: Path, mark: str) -> None:
    path = written(tmp_path, f"a{mark}b\nc".encode())
    assert len(read_text(path).sentences) == 2


def test_a_byte_order_mark_counts_only_at_the_start(tmp_path: Path) -> None:
    path = written(tmp_path, "a\n\ufeffb\n".encode())
    assert read_text(path).sentences == ["a", "\ufeffb"]


def test_any_language_and_gzip(tmp_path: Path) -> None:
    lines = ["das Mädchen läuft", "ein zweiter Satz", "日本語の文", "جملة عربية", "🙂 ok"]
    path = written(tmp_path, gzip.compress("\n".join(lines).encode()), "a.txt.gz")
    assert read_text(path).sentences == lines


def test_a_very_long_line(tmp_path: Path) -> None:
    path = written(tmp_path, b"word " * 100_000 + b"\nshort\n")
    assert [len(sentence.split()) for sentence in read_text(path).sentences] == [100_000, 1]


REFUSED = {
    "empty": (b"", "a.txt", "holds no sentence"),
    "blank": (b" \n\t\n\r\n", "a.txt", "holds no sentence"),
    "utf-8": (b"good\nb\xffd\n", "a.txt", "a.txt, line 2: byte 2 (0xff) is not valid UTF-8"),
    "latin-1": ("größe".encode("latin-1"), "a.txt", "line 1: byte 3"),
    "nul": (b"good\ngood\nb\0d\n", "a.txt", "a.txt, line 3: holds a NUL byte"),
    "returns": (b"one\rtwo\rthree\r", "a.txt", "its lines end in carriage returns alone"),
    "utf-16": ("text".encode("utf-16"), "a.txt", "line 1: this is UTF-16"),
    "no gzip": (b"plain\n", "a.txt.gz", "a.txt.gz, line 1: the gzip stream"),
    "cut gzip": (gzip.compress(b"line\n" * 5000)[:-20], "a.txt.gz", "the gzip stream is truncated"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_refusals_name_file_and_line(tmp_path: Path, case: tuple[bytes, str, str]) -> None:
    content, name, words = case
    with pytest.raises(DataError) as caught:
        read_text(written(tmp_path, content, name))
    message = str(caught.value)
    assert words in message
    assert name in message
    assert not message.endswith(".")
    assert "\n" not in message


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_text(path)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_random_bytes_give_sentences_or_a_refusal(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("fuzz")

    @given(st.binary(max_size=60), st.booleans())
    def check(content: bytes, zipped: bool) -> None:
        path = written(folder, gzip.compress(content) if zipped else content, name)
        try:
            sentences = read_text(path).sentences
        except DataError:
            return
        assert sentences
        for sentence in sentences:
            assert sentence == sentence.strip() != ""
            assert not set(sentence) & set("\n\r\t\0")

    check()


@given(st.lists(st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"])), min_size=1))
def test_what_was_written_is_what_is_read(lines: list[str]) -> None:
    # Through `clean` alone: files are covered above.
    assert all("\n" not in clean(line) and clean(clean(line)) == clean(line) for line in lines)

"""Word vectors: read as they are published, and the nearest words are those of a plain computation."""

import numpy as np
import pytest

from ms_plm.common.errors import UserError
from ms_plm.distill.augmentation import vectors as module
from ms_plm.distill.augmentation.vectors import WordVectors

WORDS = ["film", "movie", "Film", "dog", "cat", "tree", "house", "river"]


def write(path, words, vectors, head=""):
    lines = [f"{word} {' '.join(f'{value:.5f}' for value in row)}" for word, row in zip(words, vectors, strict=True)]
    path.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def drawn(count, size, seed=0):
    return np.random.default_rng(seed).normal(size=(count, size)).round(5)


def nearest(words, matrix, word):
    """The plain computation in float64."""
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    cosines = unit @ unit[words.index(word)]
    return [(words[i], cosines[i]) for i in np.argsort(-cosines) if words[i].lower() != word.lower()]


@pytest.mark.parametrize("together", [1 << 25, 1], ids=["at once", "one by one"])
def test_neighbours_are_those_of_a_plain_computation(tmp_path, monkeypatch, together):
    monkeypatch.setattr(module, "_BYTES", together)
    words, matrix = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(300)], drawn(300, 7)
    read = WordVectors.load(write(tmp_path / "v.txt", words, matrix))
    asked = words[::37]
    for word, found in zip(asked, read.neighbours(asked, 9), strict=True):
        assert found == [other for other, _ in nearest(words, matrix, word)][:9]


def test_neighbours_below_the_threshold_are_left_out(tmp_path):
    matrix = drawn(len(WORDS), 3)
    read = WordVectors.load(write(tmp_path / "v.txt", WORDS, matrix))
    (found,) = read.neighbours(["dog"], 10, least=0.3)
    assert found == [word for word, cosine in nearest(WORDS, matrix, "dog") if cosine >= 0.3]
    assert 0 < len(found) < len(WORDS) - 1


def test_a_word_is_looked_up_as_it_is_else_in_lower_case_and_spellings_of_it_are_no_neighbours(tmp_path):
    matrix = drawn(len(WORDS), 3)
    read = WordVectors.load(write(tmp_path / "v.txt", WORDS, matrix))
    upper, lower, unknown = read.neighbours(["Film", "DOG", "zebra"], 20)
    assert set(upper) == {"movie", "dog", "cat", "tree", "house", "river"}
    assert lower == read.neighbours(["dog"], 20)[0]
    assert unknown == []


def test_words_with_spaces_a_head_blank_lines_and_spaces_at_the_end_are_read(tmp_path):
    matrix = drawn(4, 3)
    path = write(tmp_path / "v.txt", ["film", ". . .", "at name@domain.com", "movie"], matrix, head="4 3\n\n")
    path.write_text(path.read_text().replace("\n", " \n"))
    read = WordVectors.load(path)
    assert read.words == ["film", "movie"]
    assert read.neighbours(["film"], 5) == [["movie"]]


def test_the_number_of_dimensions_is_what_most_lines_have(tmp_path):
    path = write(tmp_path / "v.txt", ["new york", *WORDS], drawn(9, 3))
    assert WordVectors.load(path).words == WORDS


def test_only_the_first_lines_are_read_and_stop_words_repeats_and_zeros_left_out(tmp_path):
    words = ["film", "not", "film", "dog", "cat"]
    matrix = drawn(5, 3)
    matrix[3] = 0
    path = write(tmp_path / "v.txt", words, matrix)
    assert WordVectors.load(path, 2).words == ["film"]
    assert WordVectors.load(path).words == ["film", "cat"]


@pytest.mark.parametrize(
    "line", ["dog 0.1 0.2", "dog 0.1 0.2 x", "dog 0.1 0.2 nan", "dog 0.1 0.2 inf"], ids=["short", "word", "nan", "inf"]
)
def test_a_damaged_line_is_named(tmp_path, line):
    path = write(tmp_path / "v.txt", WORDS, drawn(len(WORDS), 3))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=rf"v.txt, line {len(WORDS) + 1}: expected a word and 3 numbers"):
        WordVectors.load(path)


@pytest.mark.parametrize("content", ["", "\n", "1 0.1 0.2\n"])
def test_a_file_without_words_is_named(tmp_path, content):
    (tmp_path / "v.txt").write_text(content)
    with pytest.raises(UserError, match="v.txt: no word vectors"):
        WordVectors.load(tmp_path / "v.txt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="v.txt: no such file"):
        WordVectors.load(tmp_path / "v.txt")


@pytest.mark.data
def test_real_vectors_give_sensible_neighbours(shared_data):
    read = WordVectors.load(shared_data / "vectors" / "glove_twitter_25d_12k.txt")
    (found,) = read.neighbours(["monday"], 5)
    assert {"tuesday", "wednesday", "thursday"} & set(found)

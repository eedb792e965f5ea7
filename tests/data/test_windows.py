"""Windows cover their text, answers go to tokens and back, and the best span is the best of all."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from golden_files import GOLDENS
from hypothesis import given, settings
from hypothesis import strategies as st

from ms_plm.common.errors import UserError
from ms_plm.data.answers import located
from ms_plm.data.benchmarks import TASKS, QuestionExample, read_split
from ms_plm.data.windows import Answer, Candidate, answer_pieces, find_answers, question_windows
from ms_plm.evaluation.scoring import score
from ms_plm.tokenization import Tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENIZER = Tokenizer([*SPECIAL, *"北京大学在，。abc", "##a", "##b", "##bc", "ab", "é", "!"])
texts = st.text(st.sampled_from("北京大学在，。 abcABÉ!\u0301\u200b\ufeff\t中"), max_size=40)


def question(context, text=None, start=0, asked="在？"):
    return QuestionExample("Q", asked, context, () if text is None else ((text, start),))


def windows_of(example, max_length=16, stride=4, max_question=3):
    return list(question_windows([example], TOKENIZER, max_length, stride, max_question))


@settings(deadline=None)
@given(texts, st.integers(12, 20), st.integers(1, 9), st.integers(0, 3))
def test_windows_show_every_token_and_overlap_as_told(context, max_length, stride, max_question):
    example = question(context, asked="ab在北京")
    (pieces,) = TOKENIZER.pieces([context])
    starts = {tuple(pair): number for number, pair in enumerate(pieces.offsets)}
    begins, shown = [], set()
    for window in windows_of(example, max_length, stride, max_question):
        assert len(window.input_ids) <= max_length
        ids = window.input_ids.tolist()
        head = [TOKENIZER.cls_id, *TOKENIZER.pieces(["ab在北京"])[0].ids[:max_question].tolist(), TOKENIZER.sep_id]
        assert ids[: window.context] == head
        assert ids[-1] == TOKENIZER.sep_id
        assert window.token_type_ids.tolist() == [0] * len(head) + [1] * (len(ids) - len(head))
        begin = starts[tuple(window.offsets[0])] if len(window.offsets) else 0
        assert ids[window.context : -1] == pieces.ids[begin : begin + len(window.offsets)].tolist()
        assert np.array_equal(window.offsets, pieces.offsets[begin : begin + len(window.offsets)])
        shown |= set(range(begin, begin + len(window.offsets)))
        begins.append(begin)
    assert shown == set(range(len(pieces.ids)))
    assert all(0 < second - first <= stride for first, second in itertools.pairwise(begins))


@settings(deadline=None)
@given(texts, st.data())
def test_an_answer_goes_to_its_tokens_and_back(context, data):
    (pieces,) = TOKENIZER.pieces([context])
    if not len(pieces.ids):
        return
    first = data.draw(st.integers(0, len(pieces.ids) - 1))
    last = data.draw(st.integers(first, min(first + 5, len(pieces.ids) - 1)))
    start, stop = int(pieces.offsets[first, 0]), int(pieces.offsets[last, 1])
    example = question(context, context[start:stop], start)
    windows = windows_of(example)
    holding = [window for window in windows if window.start]
    assert holding, "windows of 11 tokens of text every 4 hold any 6 tokens whole"
    for window in holding:
        spans = window.offsets[[window.start - window.context, window.end - window.context]]
        assert context[spans[0, 0] : spans[1, 1]] == context[start:stop]
    # scores that know the answer find it
    starts, ends = ([np.zeros(30) for _ in windows] for _ in range(2))
    for window, begin, end in zip(windows, starts, ends, strict=True):
        begin[window.start] = end[window.end] = 5 if window.start else 0
    (answer,) = find_answers([example], windows, starts, ends)
    assert (answer.text(), answer.candidates[0].start) == (context[start:stop], start)
    assert answer.text(threshold=0) == context[start:stop]


def test_every_answer_is_told_by_exactly_the_windows_that_hold_it_whole():
    context = "北京大学在，。abc！中" * 2
    (pieces,) = TOKENIZER.pieces([context])
    for first, last in itertools.combinations_with_replacement(range(len(pieces.ids)), 2):
        start, stop = int(pieces.offsets[first, 0]), int(pieces.offsets[last, 1])
        for window in windows_of(question(context, context[start:stop], start)):
            offsets = window.offsets.tolist()
            if offsets[0][0] <= start and stop <= offsets[-1][1]:
                told = [
                    window.context + [pair[side] for pair in offsets].index(end)
                    for side, end in ((0, start), (1, stop))
                ]
                assert [window.start, window.end] == told
            else:
                assert (window.start, window.end) == (0, 0)


def test_questions_are_numbered_across_the_blocks_in_which_they_are_tokenized(monkeypatch):
    monkeypatch.setattr("ms_plm.data.windows._BLOCK", 2)
    contexts = ["北京", "大学" * 9, "在", "abc", "ab"]
    windows = list(question_windows([question(text) for text in contexts], TOKENIZER, 16, 4, 3))
    assert sorted({window.example for window in windows}) == list(range(5))
    for window in windows:
        (pieces,) = TOKENIZER.pieces([contexts[window.example]])
        assert set(window.input_ids[window.context : -1]) <= set(pieces.ids)


def test_an_answer_inside_a_token_is_the_token():
    example = question("在ab。", "b", 2)
    assert answer_pieces(example, TOKENIZER.pieces([example.context])[0]) == (1, 1)
    (window,) = windows_of(example)
    assert (window.start, window.input_ids[window.start]) == (window.end, TOKENIZER.token_id("ab"))


def test_windows_without_the_whole_answer_point_at_cls():
    example = question("北京大学" * 6, "北京大学", 8)
    windows = windows_of(example, max_length=12, stride=5)
    held = [window.offsets[0, 0] <= 8 and window.offsets[-1, 1] >= 12 for window in windows]
    assert [bool(window.start) for window in windows] == held
    assert not all(held)
    assert all((window.start, window.end) == (0, 0) for window in windows_of(question("北京")))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 25), st.integers(1, 6), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_candidates_are_the_best_of_all_spans(length, max_answer, n_best, seed):
    random = np.random.default_rng(seed)
    context = "".join(random.choice(list("北京大学")) for _ in range(length))
    example = question(context)
    windows = windows_of(example)
    starts, ends = ([random.normal(size=len(w.input_ids)) for w in windows] for _ in range(2))
    best: dict[str, float] = {}
    for window, begin, end in zip(windows, starts, ends, strict=True):
        for first, last in itertools.combinations_with_replacement(range(len(window.offsets)), 2):
            if last - first < max_answer:
                text = context[window.offsets[first, 0] : window.offsets[last, 1]]
                found = begin[window.context + first] + end[window.context + last]
                best[text] = max(found, best.get(text, -math.inf))
    (answer,) = find_answers([example], windows, starts, ends, n_best, max_answer)
    expected = sorted(best.values(), reverse=True)[: len(answer.candidates)]
    assert [candidate.score for candidate in answer.candidates] == pytest.approx(expected)
    assert 1 <= len(answer.candidates) <= n_best
    assert answer.null_score == pytest.approx(min(b[0] + e[0] for b, e in zip(starts, ends, strict=True)))


def test_no_answer_is_given_above_the_threshold():
    answer = Answer("Q", (Candidate("北京", 3.0, 0, 2),), null_score=4.5)
    assert answer.null_difference == 1.5
    assert [answer.text(threshold) for threshold in (None, 1.5, 1.4)] == ["北京", "北京", ""]
    assert Answer("Q", (), 0.0).text() == ""


def test_an_empty_text_has_one_window_and_no_answer():
    example = question("")
    windows = windows_of(example)
    (answer,) = find_answers([example], windows, [np.zeros(9)], [np.zeros(9)])
    assert (len(windows), answer.text(), answer.candidates) == (1, "", ())


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="max_length 6, max_question 3, stride 4: expected room"):
        windows_of(question("北京"), max_length=6)
    with pytest.raises(UserError, match="stride 0"):
        windows_of(question("北京"), stride=0)
    with pytest.raises(UserError, match="1 windows, scores for 0 and 0"):
        find_answers([question("北京")], windows_of(question("北京")), [], [])


def perfect(examples, windows):
    """Scores that know where the answers are."""
    starts, ends = ([np.zeros(len(window.input_ids)) for window in windows] for _ in range(2))
    for window, begin, end in zip(windows, starts, ends, strict=True):
        begin[window.start] += 5
        end[window.end] += 5
    return find_answers(examples, windows, starts, ends, max_answer=200)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "folder", "split", "vocabulary"),
    [
        ("clue/cmrc2018", "qa/cmrc2018", "dev", "nezha-cn-base"),
        ("xquad/zh", "qa/xquad", "test", "nezha-cn-base"),
        ("squad2", "qa/squad2_half_dev", "dev", "nezha-en-base"),
        ("xquad/en", "qa/xquad", "test", "nezha-en-base"),
    ],
)
def test_the_way_there_and_back_loses_almost_nothing_on_real_questions(shared_data, name, folder, split, vocabulary):
    read = read_split(TASKS[name], shared_data / folder, split)
    found = located(read.examples)
    tokenizer = Tokenizer.load(shared_data / "vocab" / vocabulary, lower_case=vocabulary == "nezha-cn-base")
    windows = list(question_windows(found.examples, tokenizer))
    answers = {answer.id: answer for answer in perfect(found.examples, windows)}
    texts = [answers[e.id].text(0.0) if e.id in answers else "" for e in read.examples]
    figures = score(TASKS[name], read.examples, texts)
    assert figures[TASKS[name].metrics[0]] > 0.999, figures


@pytest.mark.data
def test_of_the_answers_of_cmrc_that_do_not_fit_seven_stand_elsewhere(shared_data):
    found = located(read_split(TASKS["clue/cmrc2018"], shared_data / "qa" / "cmrc2018", "dev").examples)
    assert (found.answers, found.moved, found.missing) == (9657, 7, 193)


def test_windows_stand_in_the_layout_of_the_vocabulary():
    roberta = Tokenizer.load(GOLDENS / "roberta")
    context = "The moon 😀 was bright, and it looked like  frost."
    example = question(context, "bright", context.index("bright"), asked="What was it?")
    (window,) = question_windows([example], roberta, max_length=96, max_question=30)
    whole = roberta(example.question, context)
    assert window.input_ids.tolist() == whole.input_ids[0].tolist()
    assert not window.token_type_ids.any()
    assert [tuple(pair) for pair in window.offsets] == whole.offsets[0][window.context : -1]
    assert roberta.decode(window.input_ids[window.start : window.end + 1]) == " bright"
    starts, ends = np.zeros((2, 96))
    starts[window.start] = ends[window.end] = 5
    (answer,) = find_answers([example], [window], [starts], [ends])
    assert answer.text() == "bright"
    for window in question_windows([example], roberta, max_length=20, stride=5, max_question=4):
        assert len(window.input_ids) <= 20
        assert window.input_ids[[window.context - 2, window.context - 1, -1]].tolist() == [roberta.sep_id] * 3
    with pytest.raises(UserError, match="4 special tokens and some text"):
        next(question_windows([example], roberta, max_length=8, max_question=4))

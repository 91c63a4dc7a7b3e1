"""Expected lengths: learnt by group, careful with few rows, curious of unknown groups."""

import math

import pytest
from fakes import DRAFT, PROBLEM, ROLLOUT, TOPIC, call_of

from chimera_ray.runners.expected import (
    LONG,
    NUM_PROBES,
    PRIOR_ROWS,
    UNKNOWN,
    Expected,
    group_of,
    is_long,
    tokens_of,
)
from chimera_ray.schemas import Call, Record, Row, Subject


def _learnt(**rows: list[int]) -> Expected:
    expected = Expected()
    for group, lengths in rows.items():
        for tokens in lengths:
            expected.begin(group)
            expected.learn(group, tokens)
    return expected


def test_expected_of_nothing_known_is_the_same_for_all_groups() -> None:
    expected = Expected()
    assert expected.of("a") == expected.of("b") == expected.of("")


def test_expected_group_that_is_not_known_goes_early_with_a_few_rows() -> None:
    expected = _learnt(a=[1_000_000] * 10)
    for _ in range(NUM_PROBES):
        assert expected.of("a") < expected.of("new") == UNKNOWN
        expected.begin("new")
    assert expected.of("new") == pytest.approx(1_000_000)
    expected.learn("new", 10)
    assert expected.of("new") < expected.of("a")


def test_expected_mean_of_a_group_once_it_has_many_rows() -> None:
    expected = _learnt(a=[100] * 1_000, b=[300] * 1_000)
    assert expected.of("a") == pytest.approx(100, rel=0.01)
    assert expected.of("b") == pytest.approx(300, rel=0.01)


def test_expected_group_seen_once_stays_near_the_mean_of_all() -> None:
    expected = _learnt(a=[100] * 99, b=[1_000])
    mean = (99 * 100 + 1_000) / 100
    assert expected.of("b") == pytest.approx((1_000 + PRIOR_ROWS * mean) / (1 + PRIOR_ROWS))
    assert expected.of("a") < mean < expected.of("b") < 600


def test_expected_rows_that_cost_nothing_here_teach_nothing() -> None:
    assert _learnt(a=[100, 0, 0]).of("a") == _learnt(a=[100]).of("a") == pytest.approx(100)


def test_expected_rows_known_to_be_long_go_before_all() -> None:
    assert _learnt(a=[10**9]).of(LONG) == math.inf > Expected().of("new")


@pytest.mark.parametrize(
    "row", [TOPIC, DRAFT, PROBLEM, ROLLOUT], ids=lambda row: type(row).__name__
)
@pytest.mark.parametrize(
    "subject", ["Mathematics", "", 'say "no", \\ so}', "数学 \U0001f600", "a\nb\x00", "x" * 10_000]
)
def test_group_rows_of_one_subject_are_of_one_group(row: Row, subject: str) -> None:
    same = row.model_copy(update={"subject": subject})
    first = Subject(subject=subject, target_topics=1, expansion_index=0)
    assert group_of(same.model_dump_json()) == group_of(first.model_dump_json())
    other = row.model_copy(update={"subject": f"{subject}s"})
    assert group_of(same.model_dump_json()) != group_of(other.model_dump_json())
    assert group_of(same.model_dump_json()) != LONG


@pytest.mark.parametrize(
    "payload", ["{}", "", "[]", '{"text":"{\\"subject\\":\\"no\\"}"}', '{"subject":3}']
)
def test_group_row_without_a_subject_is_of_none(payload: str) -> None:
    assert group_of(payload) == ""


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([], False),
        ([call_of(resumed_tokens=0)], False),
        ([call_of(resumed_tokens=0, status="truncated", finish_reason="repetition")], False),
        ([call_of(resumed_tokens=0, status="truncated", finish_reason="length")], True),
        ([call_of(resumed_tokens=0), call_of(resumed_tokens=7)], True),
    ],
    ids=["none", "usual", "loops", "cut", "resumed"],
)
def test_long_rows_are_those_that_were_cut_or_taken_up_again(
    calls: list[Call], expected: bool
) -> None:
    assert is_long(calls) is expected


def test_tokens_of_a_record_are_those_of_the_calls_that_it_made_itself() -> None:
    calls = (
        call_of(output_tokens=5),
        call_of(output_tokens=70, role="grader"),
        call_of(output_tokens=900, is_replayed=True),
    )
    record = Record("0" * 32, "1" * 32, "accepted", "", "", (), calls, "run", 0.0)
    assert tokens_of(record) == 75
    assert tokens_of(record._replace(calls=())) == 0

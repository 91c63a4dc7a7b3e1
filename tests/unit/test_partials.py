"""What is written down of unfinished replies: names, bytes, and when nobody needs it any more."""

from pathlib import Path

import pytest
from fakes import call_of
from hypothesis import given
from hypothesis import strategies as st

from chimera_ray.backends.partials import MAGIC, packed, partial_name, unpacked
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Message, prompt_id_of
from chimera_ray.runners.stored_partials import StoredPartials, settled

VOCAB = 151_936
PROMPT = prompt_id_of([Message("user", "What is 6 times 7?")])


@pytest.fixture
def partials(tmp_path: Path) -> StoredPartials:
    return StoredPartials(Store(str(tmp_path)))


def _put(tmp_path: Path, name: str, content: bytes) -> None:
    """Content under a name, as somebody else may have left it."""
    (tmp_path / "partials").mkdir(exist_ok=True)
    (tmp_path / "partials" / name).write_bytes(content)


# ---- names and bytes ------------------------------------------------------------------------


def test_partial_name_tells_prompts_and_seeds_apart() -> None:
    other = prompt_id_of([Message("user", "What is 7 times 6?")])
    names = {partial_name(prompt, seed) for prompt in (PROMPT, other) for seed in (0, 1, 2**31 - 1)}
    assert len(names) == 6
    assert all(name.replace("-", "").isalnum() for name in names)


@given(st.lists(st.integers(0, VOCAB - 1), max_size=200))
def test_unpacked_gives_the_ids_that_were_packed(ids: list[int]) -> None:
    assert unpacked(packed(ids), VOCAB) == ids


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        MAGIC[:-1],
        b"chimera-partial-2\n" + packed([1, 2, 3])[len(MAGIC) :],
        packed([1, 2, 3])[:-1],
        packed([1, 2, 3]) + b"\n",
        packed([1, VOCAB, 3]),
        packed([1, 2**32 - 1]),
        b"\x00" * 64,
        '{"ids": [1, 2, 3]}'.encode("utf-16"),
    ],
    ids=[
        "nothing",
        "empty",
        "half_a_head",
        "later_format",
        "cut",
        "longer",
        "other_vocabulary",
        "minus_one",
        "zeros",
        "text",
    ],
)
def test_unpacked_of_what_is_no_partial_output_of_this_vocabulary_is_none_at_all(
    content: bytes | None,
) -> None:
    assert unpacked(content, VOCAB) == []


# ---- beside the ledger ----------------------------------------------------------------------


def test_stored_partials_read_what_was_written_by_whoever(
    partials: StoredPartials, tmp_path: Path
) -> None:
    partials.write("a", packed([1, 2]))
    partials.write("a", packed([1, 2, 3]))
    again = StoredPartials(Store(str(tmp_path)))
    assert unpacked(again.read("a"), VOCAB) == [1, 2, 3]
    assert again.read("b") is None


def test_stored_partials_write_leaves_one_file_for_each_name(
    partials: StoredPartials, tmp_path: Path
) -> None:
    for num_tokens in range(5):
        partials.write("a", packed(range(num_tokens)))
        partials.write("b", packed(range(num_tokens)))
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a", "b"]


def test_stored_partials_before_the_first_write_touch_nothing(
    partials: StoredPartials, tmp_path: Path
) -> None:
    assert partials.read("a") is None
    partials.delete(["a", "b"])
    assert list(tmp_path.iterdir()) == []


def test_stored_partials_delete_takes_those_and_no_others(partials: StoredPartials) -> None:
    for name in ("a", "b", "c"):
        partials.write(name, packed([7]))
    partials.delete(["a", "unknown", "c"])
    assert [name for name in ("a", "b", "c") if partials.read(name)] == ["b"]


@pytest.mark.parametrize("content", [b"", b"rubbish", packed([VOCAB])], ids=len)
def test_stored_partials_of_hostile_content_are_none_at_all_and_can_be_written_again(
    partials: StoredPartials, tmp_path: Path, content: bytes
) -> None:
    _put(tmp_path, "a", content)
    assert unpacked(partials.read("a"), VOCAB) == []
    partials.write("a", packed([5]))
    assert unpacked(partials.read("a"), VOCAB) == [5]


# ---- what is settled ------------------------------------------------------------------------


def test_settled_names_the_calls_that_may_have_written_and_no_others() -> None:
    every, roles = 100, {"solver"}
    calls = {
        "long": call_of(prompt_id=PROMPT, seed=1, output_tokens=100, resumed_tokens=0),
        "resumed": call_of(prompt_id=PROMPT, seed=2, output_tokens=250, resumed_tokens=200),
        "failed": call_of(prompt_id=PROMPT, seed=3, output_tokens=0, status="error"),
        "cut": call_of(prompt_id=PROMPT, seed=4, output_tokens=20, status="truncated"),
        "short": call_of(prompt_id=PROMPT, seed=5, output_tokens=98, resumed_tokens=1),
        "other role": call_of(prompt_id=PROMPT, seed=6, output_tokens=500, role="grader"),
    }
    named = settled(roles, every, calls.values())
    assert named == [partial_name(PROMPT, seed) for seed in (1, 2, 3, 4)]
    assert settled(set(), every, calls.values()) == []


def test_settled_second_chance_settles_both_of_its_calls() -> None:
    cut = call_of(prompt_id=PROMPT, seed=1, status="truncated", finish_reason="length")
    second = call_of(prompt_id=PROMPT, seed=2, output_tokens=300)
    named = settled({"solver"}, 100, [cut, second])
    assert named == [partial_name(PROMPT, 1), partial_name(PROMPT, 2)]

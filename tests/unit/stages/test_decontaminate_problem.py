"""Benchmark items are kept out; a benchmark that cannot be read stops everything in one line."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contaminated import SHORT_ITEMS, TAILS, formed, inside
from fakes import PROBLEM, perform_on, rows_of
from planted import KINDS, TEMPLATES, filled
from pydantic import ValidationError

from chimera_ray.errors import ConfigError
from chimera_ray.schemas import Problem, Record, ValidProblem
from chimera_ray.stages.decontaminate_problem import DecontaminateProblemParams

WORDS = [f"w{letter}{other}" for letter in "abcdefgh" for other in "abcdefghij"]
ITEM = " ".join(WORDS[:40])
Rows = Sequence[Mapping[str, Any]]


def _jsonl(path: Path, rows: Rows) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    return str(path)


def _parquet(path: Path, rows: Rows) -> str:
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return str(path)


def _params(path: str, **benchmark: Any) -> dict[str, Any]:
    return {"benchmarks": [{"name": "hle", "path": path, **benchmark}]}


def _decontaminate(problem: str, **params: Any) -> Record:
    row = PROBLEM.model_copy(update={"problem": problem})
    return perform_on("decontaminate_problem", row, **params)


def _identity(params: Mapping[str, Any]) -> str:
    return DecontaminateProblemParams.model_validate(params).identity()


def _require_one_line(caught: pytest.ExceptionInfo[ConfigError], *said: str) -> None:
    message = str(caught.value)
    assert message.startswith("benchmark hle: ")
    assert "\n" not in message
    assert len(message) < 700
    for words in said:
        assert words in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no items"),
        (b"\n \n", "holds no items"),
        (b'{"problem": "x"}\n{"problem": \n', "line 2 is not JSON"),
        (b'{"problem": "x"}\n["problem"]\n', "line 2 is not a JSON object"),
        (b'{"problem": "x"}\nnull\n', "line 2 is not a JSON object"),
        (b'{"problem": "x"}\n{"question": "x", "answer": 1}', "no column problem"),
        (b'{"question": "x", "answer": 1}', "it has answer, question"),
        (b"{}", "no column problem"),
        (b'{"problem": "\xff"}', "cannot read"),
        (b"PAR1", "line 1 is not JSON"),
        (b'{"problem": ' + b"[" * 200_000, "line 1 is not JSON"),
    ],
    ids=[
        "empty",
        "blank",
        "cut_line",
        "list",
        "null",
        "column_missing_in_second",
        "column_missing",
        "no_columns",
        "not_utf8",
        "parquet_named_jsonl",
        "nested_too_deep",
    ],
)
def test_decontaminate_problem_wrong_jsonl_stops_in_one_line(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "items.jsonl"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        _identity(_params(str(path)))
    _require_one_line(caught, said, str(path))


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"not parquet at all", b"PAR1" + b"\xff" * 100 + b"PAR1"], ids=repr
)
def test_decontaminate_problem_wrong_parquet_stops_in_one_line(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "items.parquet"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        _identity(_params(str(path)))
    _require_one_line(caught, str(path))


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_decontaminate_problem_absent_file_stops_in_one_line(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"items.{ending}"
    with pytest.raises(ConfigError) as caught:
        _identity(_params(str(path)))
    _require_one_line(caught, str(path), "No such file or directory")


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_decontaminate_problem_folder_instead_of_a_file_stops_in_one_line(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"items.{ending}"
    path.mkdir()
    with pytest.raises(ConfigError) as caught:
        _identity(_params(str(path)))
    _require_one_line(caught, str(path))


def test_decontaminate_problem_unknown_ending_asks_for_the_format(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "items.txt", [{"problem": ITEM}])
    with pytest.raises(ConfigError) as caught:
        _identity(_params(path))
    _require_one_line(caught, "set format", "items.txt")
    assert _decontaminate(ITEM, **_params(path, format="jsonl")).outcome == "rejected"


def test_decontaminate_problem_parquet_without_the_column_says_what_it_has(tmp_path: Path) -> None:
    path = _parquet(tmp_path / "items.parquet", [{"question": ITEM, "number": 7}])
    with pytest.raises(ConfigError) as caught:
        _identity(_params(path))
    _require_one_line(caught, "no column problem", "it has number, question")


def test_decontaminate_problem_parquet_without_one_of_two_columns_says_what_it_has(
    tmp_path: Path,
) -> None:
    path = _parquet(tmp_path / "items.parquet", [{"question": ITEM, "number": 7}])
    with pytest.raises(ConfigError) as caught:
        _identity(_params(path, id_column="number"))
    _require_one_line(caught, "it has number, question")


@pytest.mark.parametrize(
    "params",
    [
        {"ngram_words": ()},
        {"max_run_words": 7},
        {"max_jaccard": 1.1},
        {"max_containment": 1.1},
        {"containment_words": 0},
        {"max_changed_words": 1},
        {"benchmarks": [{"name": "hle"}]},
        {"benchmarks": [{"name": "", "path": "x.jsonl"}]},
        {"benchmarks": [{"name": "hle", "path": "x.jsonl", "colum": "q"}]},
        {"benchmarks": [{"name": "hle", "path": "x.csv", "format": "csv"}]},
        {"ngram_words": (0, 8)},
        {"ngram_words": (-1,)},
    ],
    ids=str,
)
def test_decontaminate_problem_impossible_params_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DecontaminateProblemParams.model_validate(params)


@pytest.mark.parametrize("write", [_jsonl, _parquet], ids=["jsonl", "parquet"])
def test_decontaminate_problem_benchmark_item_is_rejected_by_name(
    tmp_path: Path, write: Any
) -> None:
    rows = [{"q": "Something else entirely.", "key": "a-1"}, {"q": ITEM, "key": "b-2"}]
    path = write(tmp_path / f"items.{write.__name__[1:]}", rows)
    record = _decontaminate(ITEM, **_params(path, column="q", id_column="key"))
    assert (record.outcome, record.reason) == ("rejected", "contaminated")
    assert record.detail == "hle/b-2: 8-gram Jaccard 1.000"
    by_place = _decontaminate(ITEM, **_params(path, column="q"))
    assert by_place.detail == "hle/1: 8-gram Jaccard 1.000"


def test_decontaminate_problem_ngram_threshold_is_the_highest_allowed(tmp_path: Path) -> None:
    # 18 of the item's 33 eight-grams, which are all that there are: 0.545.
    params = _params(_jsonl(tmp_path / "items.jsonl", [{"problem": ITEM}])) | {"max_run_words": 99}
    problem = " ".join(WORDS[:25])
    assert _decontaminate(problem, **params, max_jaccard=0.55).outcome == "accepted"
    record = _decontaminate(problem, **params, max_jaccard=0.54)
    assert record.detail == "hle/0: 8-gram Jaccard 0.545"
    assert _decontaminate(problem, **params, max_jaccard=18 / 33).outcome == "accepted"


def test_decontaminate_problem_longest_run_threshold_is_the_highest_allowed(tmp_path: Path) -> None:
    params = _params(_jsonl(tmp_path / "items.jsonl", [{"problem": ITEM}])) | {"max_jaccard": 1}
    problem = " ".join([*WORDS[60:], *WORDS[5:26], *WORDS[40:60]])
    assert _decontaminate(problem, **params, max_run_words=21).outcome == "accepted"
    record = _decontaminate(problem, **params, max_run_words=20)
    assert (record.reason, record.detail) == ("contaminated", "hle/0: a run of 21 words")


def test_decontaminate_problem_without_benchmarks_lets_the_row_pass_as_it_came() -> None:
    row = ValidProblem(**PROBLEM.model_dump(), verdicts=())
    record = perform_on("decontaminate_problem", row)
    assert rows_of(record, ValidProblem) == [row]


def test_decontaminate_problem_other_words_pass(tmp_path: Path) -> None:
    params = _params(_jsonl(tmp_path / "items.jsonl", [{"problem": ITEM}]))
    assert rows_of(_decontaminate(" ".join(WORDS[40:]), **params), Problem)


@pytest.mark.parametrize("place", [0, 1], ids=["earlier", "later"])
def test_decontaminate_problem_items_of_one_id_are_all_kept_out(tmp_path: Path, place: int) -> None:
    texts = [" ".join(WORDS[:40]), " ".join(WORDS[40:])]
    rows: Rows = [{"problem": text, "id": 5} for text in texts]
    params = _params(_jsonl(tmp_path / "items.jsonl", rows), id_column="id")
    assert _decontaminate(texts[place], **params).outcome == "rejected"


def test_decontaminate_problem_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    benchmarks = [
        {"name": "hle", "path": _jsonl(tmp_path / f"{place}.jsonl", [{"problem": text}])}
        for place, text in enumerate([" ".join(WORDS[:40]), " ".join(WORDS[40:])])
    ]
    with pytest.raises(ConfigError, match=r"^benchmarks named twice: hle$"):
        _decontaminate(ITEM, benchmarks=benchmarks)


def test_decontaminate_problem_identity_follows_the_content_and_not_the_path(
    tmp_path: Path,
) -> None:
    rows: Rows = [{"problem": ITEM, "note": 1}, {"problem": "short", "note": 2}]
    told = _identity(_params(_jsonl(tmp_path / "a.jsonl", rows)))
    assert _identity(_params(_jsonl(tmp_path / "b.jsonl", rows))) == told
    assert _identity(_params(_parquet(tmp_path / "c.parquet", rows))) == told
    renoted = [{**row, "note": 3} for row in rows]
    assert _identity(_params(_jsonl(tmp_path / "a.jsonl", renoted))) == told
    changed = [rows[0], {"problem": "shorter"}]
    assert _identity(_params(_jsonl(tmp_path / "a.jsonl", changed))) != told
    assert _identity(_params(_jsonl(tmp_path / "d.jsonl", rows[:1]))) != told
    assert _identity({}) != told


@pytest.mark.parametrize(
    "change",
    [
        {"max_jaccard": 0.3},
        {"max_containment": 0.5},
        {"containment_words": 6},
        {"max_run_words": 21},
        {"max_changed_words": 0.1},
        {"ngram_words": (8,)},
    ],
    ids=str,
)
def test_decontaminate_problem_identity_follows_each_threshold(change: dict[str, Any]) -> None:
    assert _identity(change) != _identity({})


@pytest.fixture(scope="module")
def short_items(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Parameters with items of four to twenty-odd words."""
    path = tmp_path_factory.mktemp("items") / "items.jsonl"
    return _params(_jsonl(path, [{"problem": text} for text in SHORT_ITEMS]))


@pytest.mark.parametrize(
    "disguise", ["respaced", "other delimiters", "zero-width characters", "Cyrillic look-alikes"]
)
@pytest.mark.parametrize("place", range(len(SHORT_ITEMS)))
def test_decontaminate_problem_short_item_inside_a_longer_text_is_seen(
    short_items: dict[str, Any], place: int, disguise: str
) -> None:
    dice = Random(place)
    text = inside(SHORT_ITEMS[place], dice)
    for problem in (text, KINDS[disguise](text, dice)):
        record = _decontaminate(problem, **short_items)
        assert record.reason == "contaminated"
        assert record.detail.startswith(f"hle/{place}: ")


def test_decontaminate_problem_other_problems_share_too_little(short_items: dict[str, Any]) -> None:
    dice = Random(1)
    for template in TEMPLATES:
        assert _decontaminate(filled(template, dice), **short_items).outcome == "accepted"


@pytest.mark.parametrize("few", [1, 2, 11], ids=["one_item", "two_items", "all_others"])
@pytest.mark.parametrize("tail", range(len(TAILS)))
def test_decontaminate_problem_same_form_of_answer_makes_no_item(
    tmp_path: Path, tail: int, few: int
) -> None:
    problem, *others = formed(TAILS[tail])
    params = _params(_jsonl(tmp_path / "items.jsonl", [{"problem": text} for text in others[:few]]))
    assert _decontaminate(problem, **params).outcome == "accepted"
    assert _decontaminate(others[0], **params).reason == "contaminated"


def test_decontaminate_problem_phrase_of_many_items_weighs_little(tmp_path: Path) -> None:
    phrase = " ".join(WORDS[:24])
    rows = [{"problem": f"{phrase} {' '.join(WORDS[at : at + 6])}"} for at in range(30, 74, 6)]
    params = _params(_jsonl(tmp_path / "items.jsonl", rows))
    problem = f"{phrase} and something that no item has said before in any of its words"
    assert _decontaminate(problem, **params).outcome == "accepted"
    alone = _params(_jsonl(tmp_path / "alone.jsonl", rows[:1]))
    assert _decontaminate(problem, **alone).reason == "contaminated"
    assert _decontaminate(rows[3]["problem"], **params).detail.startswith("hle/3: ")


def test_decontaminate_problem_item_that_is_there_twice_is_seen(tmp_path: Path) -> None:
    params = _params(_jsonl(tmp_path / "items.jsonl", [{"problem": ITEM}] * 2))
    assert _decontaminate(ITEM, **params).detail == "hle/0: 8-gram Jaccard 1.000"


def test_decontaminate_problem_renamed_and_reordered_item_is_seen(tmp_path: Path) -> None:
    item = "Let $x > 3$ and $y > 5$ hold. Put $z = x y$. Find $z - x$ for the smallest such $y$."
    problem = "Find $c-a$ for the smallest such $b$. Put $c = a b$. Let $a > 3$ and $b > 5$ hold."
    params = _params(_jsonl(tmp_path / "items.jsonl", [{"problem": item}]))
    assert _decontaminate(problem, **params).detail.startswith("hle/0: the same problem, 0 of ")
    other = problem.replace("5", "7")
    assert _decontaminate(other, **params).outcome == "accepted"


def test_decontaminate_problem_few_words_are_no_item_inside_another_text(tmp_path: Path) -> None:
    rows: Rows = [{"problem": "Find it."}, {"problem": "Compute 7!."}, {"problem": "..."}]
    params = _params(_jsonl(tmp_path / "items.jsonl", rows))
    assert _decontaminate("Find it, or say why not.", **params).outcome == "accepted"
    assert _decontaminate("find it", **params).reason == "contaminated"
    assert _decontaminate("First compute $7!$ and go on.", **params).detail.startswith("hle/1: ")
    assert _decontaminate("", **params).outcome == "accepted"


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "no text in column"), ({"a": 1}, "no text in column"), (7, "no text in column")],
    ids=["null", "mapping", "number"],
)
@pytest.mark.parametrize("write", [_jsonl, _parquet], ids=["jsonl", "parquet"])
def test_benchmark_item_that_is_no_text_is_refused(
    tmp_path: Path, write: Any, text: object, said: str
) -> None:
    path = write(tmp_path / f"items.{write.__name__[1:]}", [{"problem": text}])
    with pytest.raises(ConfigError) as caught:
        _identity(_params(path))
    _require_one_line(caught, said, "row 0")


@pytest.mark.parametrize("path", ["https://host/x.jsonl", "hf://sets/x.parquet"])
def test_benchmark_by_an_address_is_refused_as_one(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _identity(_params(path))
    _require_one_line(caught, path, "is an address")


def test_benchmark_of_a_user_who_does_not_exist_is_not_there() -> None:
    with pytest.raises(ConfigError) as caught:
        _identity(_params("~nobody-here/x.jsonl"))
    _require_one_line(caught, "cannot read ~nobody-here/x.jsonl")


def test_benchmark_that_begins_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps({"problem": ITEM}), encoding="utf-8-sig")
    assert _decontaminate(ITEM, **_params(str(path))).reason == "contaminated"

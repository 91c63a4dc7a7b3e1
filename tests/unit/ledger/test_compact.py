"""Compaction: fewer files, the same records and winners, whatever dies in the middle."""

from pathlib import Path

import pytest
from fakes import call_of

from chimera_ray.account import paid_by
from chimera_ray.ledger import compact as compacting
from chimera_ray.ledger.compact import compact
from chimera_ray.ledger.counting import read_totals
from chimera_ray.ledger.index import NONE, Index
from chimera_ray.ledger.parts import write_part
from chimera_ray.ledger.store import SET_ASIDE, Store
from chimera_ray.schemas import Outcome, Output, Record, digest

FOLDER = "ledger/stage/abc"
WORKS = 12


def _record(work: int, outcome: Outcome, said: str, run_id: str = "run") -> Record:
    return Record(
        work_id=digest("work", str(work)),
        input_id=digest("input", str(work)),
        outcome=outcome,
        reason="",
        detail=said,
        outputs=(Output(digest(said), said),),
        calls=(call_of(said),),
        run_id=run_id,
        finished_at=1.0,
    )


def _fill(store: Store, num_parts: int = 10, run_ids: tuple[str, ...] = ("run",)) -> list[str]:
    """Parts that hold each work several times: failed, final, and final once more."""
    outcomes: tuple[Outcome, ...] = ("failed", "failed", "accepted", "rejected", "failed")
    names = []
    for number in range(num_parts):
        names.append(f"part-{number:019d}-tests-{number:06d}.parquet")
        run_id = run_ids[number % len(run_ids)]
        records = [
            _record(work, outcomes[(number + work) % 5], f"{number}/{work}", run_id)
            for work in range(number % 3, WORKS)
        ]
        write_part(store, FOLDER, names[-1], records)
    return names


def _winners(store: Store) -> list[Record]:
    index = Index(store, FOLDER, "run")
    index.refresh()
    found = index.look_up([digest("work", str(work)) for work in range(WORKS)])
    assert NONE not in found.outcome
    records = index.records(found.position)
    return [records[int(position)] for position in found.position]


def _num_calls(store: Store, run_id: str = "run") -> int:
    roles = paid_by(run_id, [FOLDER], store)
    return roles["solver"].calls if roles else 0


@pytest.mark.parametrize("num_parts", [8, 10, 25])
def test_compact_many_parts_leaves_one_with_the_same_winners(
    tmp_path: Path, num_parts: int
) -> None:
    store = Store(str(tmp_path))
    names = _fill(store, num_parts)
    before, num_calls = _winners(store), _num_calls(store)
    totals = [read_totals(store, f"{FOLDER}/{name}") for name in names]
    assert compact(store, FOLDER) == num_parts
    assert len(store.names(FOLDER)) == 1
    assert _winners(store) == before
    assert _num_calls(store) == num_calls
    merged = read_totals(store, f"{FOLDER}/{store.names(FOLDER)[0]}")
    assert merged is not None
    assert merged["outputs"] == sum(total["outputs"] for total in totals if total)
    assert merged["outcomes"]["failed"] == sum(
        total["outcomes"].get("failed", 0) for total in totals if total
    )


def test_compact_twice_with_parts_in_between_keeps_winners(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    _fill(store)
    before = _winners(store)
    compact(store, FOLDER)
    for number in range(8):
        late = _record(number % 3, "accepted", f"late {number}")
        write_part(store, FOLDER, f"part-{100 + number:019d}-tests-000000.parquet", [late])
    assert compact(store, FOLDER) == 9
    assert _winners(store) == before


@pytest.mark.parametrize("num_parts", [0, 1, 7])
def test_compact_below_eight_parts_touches_nothing(tmp_path: Path, num_parts: int) -> None:
    store = Store(str(tmp_path))
    names = _fill(store, num_parts)
    assert compact(store, FOLDER) == 0
    assert store.names(FOLDER) == names


def test_compact_killed_before_the_old_parts_went_changes_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    names = _fill(store)
    before = _winners(store)
    contents = {name: store.read_bytes(f"{FOLDER}/{name}") for name in names}
    compact(store, FOLDER)
    for name in names[3:]:  # as after a kill when three of them had gone
        Path(store.path(FOLDER, name)).write_bytes(contents[name])
    assert _winners(store) == before
    compact(store, FOLDER)
    assert _winners(store) == before


@pytest.mark.parametrize("keep", [0.5, 0.0], ids=["half", "empty"])
def test_compact_corrupt_part_is_left_and_named_by_the_next_reader(
    tmp_path: Path, keep: float
) -> None:
    store = Store(str(tmp_path))
    names = _fill(store, 12)
    path = Path(store.path(FOLDER, names[5]))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    assert compact(store, FOLDER) == 11
    assert names[5] in store.names(FOLDER)
    _winners(store)
    assert store.names(f"{FOLDER}/{SET_ASIDE}") == [names[5]]


def test_compact_around_a_large_part_keeps_the_order_of_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    for number in range(10):
        big = "".join(digest(str(n)) for n in range(3000)) if number == 4 else ""
        record = _record(0, "failed", f"{number} {big}")
        write_part(store, FOLDER, f"part-{number:019d}-tests-000000.parquet", [record])
    monkeypatch.setattr(compacting, "SMALL_BYTES", 40_000)
    assert compact(store, FOLDER) == 9
    index = Index(store, FOLDER)
    index.refresh()
    position = index.look_up([digest("work", "0")]).position
    assert index.records(position)[int(position[0])].detail == "9 "


def test_compact_in_several_batches_keeps_winners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    names = _fill(store, 20)
    before = _winners(store)
    size = store.size(f"{FOLDER}/{names[0]}")
    monkeypatch.setattr(compacting, "TARGET_BYTES", 5 * size)
    assert compact(store, FOLDER) == 20
    assert 1 < len(store.names(FOLDER)) < 8
    assert _winners(store) == before


def test_compact_of_another_run_leaves_what_each_one_paid(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    _fill(store, 10, ("run", "other"))
    before = _num_calls(store, "run"), _num_calls(store, "other")
    compact(store, FOLDER)
    assert (_num_calls(store, "run"), _num_calls(store, "other")) == before
    assert _num_calls(store, "nobody") == 0

"""The paper's Table 4 of a whole run: what was published, what was judged, and by whose ids."""

import json
from pathlib import Path

import pytest
from runs import STAGES, Run, built, config_of, payloads_of

from chimera_ray.build import Manifest
from chimera_ray.config import Config
from chimera_ray.contamination import contamination_of
from chimera_ray.metrics.words import jaccard, ngrams
from chimera_ray.report import summary
from chimera_ray.schemas import ValidProblem
from chimera_ray.terminal import console

PLACE = STAGES.index("dedupe_problems") + 1
JUDGING = (*STAGES[:PLACE], "decontaminate_problem", *STAGES[PLACE:])


def _config(folder: Path, items: list[str] | None) -> Config:
    params = {}
    if items is not None:
        path = folder / "items.jsonl"
        path.write_text("\n".join(json.dumps({"problem": text}) for text in items), "utf-8")
        benchmark = {"name": "hle", "path": str(path)}
        params = {"decontaminate_problem": {"benchmarks": [benchmark], "max_jaccard": 0.9}}
        params["decontaminate_problem"] |= {"max_run_words": 500, "max_containment": 1.0}
    return config_of(folder, drafts=3, stages=JUDGING, params=params)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The problems that come to be judged."""
    run = Run(_config(tmp_path_factory.mktemp("plain"), None))
    rows = payloads_of(run.stage("decontaminate_problem"))
    return [ValidProblem.model_validate_json(row).problem for row in rows]


def test_contamination_without_benchmarks_is_none(tmp_path: Path) -> None:
    assert contamination_of(Run(_config(tmp_path, None)).standings) is None


def test_contamination_is_the_mean_of_the_largest_jaccard(tmp_path: Path, texts: list[str]) -> None:
    # One problem is an item and is rejected; of another the first half is an item.
    words = texts[1].split()
    items = [texts[0], " ".join(words[: len(words) // 2 + 8])]
    run = Run(_config(tmp_path, items))
    found = contamination_of(run.standings)
    assert found is not None
    assert (found.benchmarks, found.items) == (["hle"], 2)
    for score in found.scores:
        n = score.ngram_words
        largest = [max(jaccard(ngrams(t, n), ngrams(i, n)) for i in items) for t in texts]
        assert score.judged.problems == len(texts)
        assert score.judged.mean == pytest.approx(sum(largest) / len(texts))
        assert score.published.problems == len(texts) - 1
        assert score.published.mean == pytest.approx(sum(largest[1:]) / (len(texts) - 1))
        assert [pair.jaccard for pair in score.judged.highest] == sorted(
            (value for value in largest if value), reverse=True
        )[:5]
        assert score.judged.highest[0].item_id == "hle/0"
    assert [score.ngram_words for score in found.scores] == [8, 13]


def test_contamination_stands_in_manifest_summary_and_card_and_names_published_ids(
    tmp_path: Path, texts: list[str]
) -> None:
    manifest = built(_config(tmp_path, [texts[0], texts[1][: len(texts[1]) // 2]]))
    assert manifest.contamination is not None
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest
    assert manifest.published is not None
    folder = Path(manifest.published.folder)
    card = (folder / "README.md").read_text("utf-8")
    shown = console()
    with shown.capture() as told:
        shown.print(summary(manifest))
    score = manifest.contamination.scores[0]
    mean = score.published.mean
    assert mean is not None
    assert f"| 8 | published | {score.published.problems} | {mean:.3g} |" in card
    assert f"{mean:.3g}" in told.get()
    ids = set(_column(folder, "problem_id"))
    for pair in score.published.highest:
        assert pair.problem_id in ids
        assert pair.problem_id in card
    assert texts[0][:40] not in card


def _column(folder: Path, name: str) -> list[str]:
    import pyarrow.parquet as pq

    found: list[str] = pq.read_table(folder / "data", columns=[name])[name].to_pylist()
    return found

"""A recipe → its graph: what does not fit is refused, what is made has its fingerprint."""

from pathlib import Path
from typing import Any

import pytest

from chimera_ray.config import ROLES, Config, read_config
from chimera_ray.errors import ConfigError, GraphError
from chimera_ray.graph import Graph, build_graph, rebuild_node
from chimera_ray.schemas import Problem, ValidProblem
from chimera_ray.stages import STAGES

EVERY_STAGE = list(STAGES)
TOPICS = [{"name": "Mathematics", "target_topics": 4}]


def _config(
    stages: list[str] | None = None,
    params: dict[str, Any] | None = None,
    subjects: list[dict[str, Any]] | None = None,
    runtime: dict[str, Any] | None = None,
    **models: dict[str, Any],
) -> Config:
    """A configuration of simulated models; by role: what that model says otherwise."""
    teacher = {"backend": "simulated", "name": "teacher"}
    composed = {
        "recipe": {
            "name": "tiny",
            "subjects": subjects or TOPICS,
            "stages": EVERY_STAGE if stages is None else stages,
            "params": params or {},
        },
        "models": {role: {**teacher, **models.get(role, {})} for role in ROLES},
        "runtime": {"kind": "preview", **(runtime or {})},
        "output_dir": "out",
    }
    return read_config(composed)


def _graph(stages: list[str] | None = None, **said: Any) -> Graph:
    return build_graph(_config(stages, **said))


def _changed(graph: Graph, than: Graph) -> list[str]:
    """The stages whose fingerprints differ."""
    pairs = zip(graph.nodes, than.nodes, strict=True)
    return [node.name for node, other in pairs if node.fingerprint != other.fingerprint]


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (["expand_topic"], "no such stage: expand_topic; there are expand_topics, dedupe_topics"),
        ([""], "no such stage: ;"),
        (["expand_topics", "Dedupe_topics", "magic"], "no such stage: Dedupe_topics, magic;"),
        (["expand_topics", "expand_topics"], "recipe.stages: named twice: expand_topics"),
        (["dedupe_topics"], "dedupe_topics takes Topic rows, but Subject rows arrive there"),
        (["expand_topics", "draft_problem"], "draft_problem takes Draft rows, but Topic rows"),
        (
            ["expand_topics", "plan_drafts", "confirm_topic"],
            "confirm_topic takes NominatedTopic rows, but Draft rows arrive there",
        ),
        (
            ["expand_topics", "plan_drafts", "draft_problem", "sample_trajectory"],
            "sample_trajectory takes Rollout rows, but Problem rows arrive there",
        ),
        (EVERY_STAGE[::-1], "label_trajectory takes Trajectory rows, but Subject rows arrive"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_graph_stages_that_do_not_fit_are_refused_in_one_line(stages: list[str], said: str) -> None:
    with pytest.raises(GraphError) as caught:
        _graph(stages)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"expand_topic": {}}, "no such stage: expand_topic;"),
        (
            {"plan_drafts": {"draft_per_topic": 3}},
            "recipe.params.plan_drafts.draft_per_topic: no such key",
        ),
        (
            {"plan_drafts": {"drafts_per_topic": 0}},
            "recipe.params.plan_drafts.drafts_per_topic: Input should be greater than",
        ),
        (
            {"dedupe_problems": {"max_changed_words": "most"}},
            "recipe.params.dedupe_problems.max_changed_words: ",
        ),
        ({"dedupe_topics": {"min_jaccard": 1}}, "min_jaccard: no such key"),
        (
            {"decontaminate_problem": {"benchmarks": [{"name": "hle"}]}},
            "recipe.params.decontaminate_problem.benchmarks.0.path: missing",
        ),
        ({"decontaminate_problem": {"max_run_words": 3}}, "max_run_words must be at least 8"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_graph_wrong_parameter_is_named_in_one_line(params: dict[str, Any], said: str) -> None:
    with pytest.raises(GraphError) as caught:
        _graph(params=params)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_graph_unknown_pool_is_named() -> None:
    with pytest.raises(GraphError, match=r"^no such stage: solve; there are expand_topics, "):
        _graph(runtime={"pools": {"solve": {"actors": 2}}})


def test_graph_fewer_topics_than_expansions_is_refused() -> None:
    with pytest.raises(GraphError, match="Physics has fewer target_topics than expansions"):
        _graph(subjects=[{"name": "Physics", "target_topics": 2, "expansions": 3}])


def test_graph_unreadable_benchmark_is_refused_before_anything_runs(tmp_path: Path) -> None:
    benchmark = {"name": "hle", "path": str(tmp_path / "none.jsonl")}
    with pytest.raises(ConfigError, match="benchmark hle: cannot read"):
        _graph(params={"decontaminate_problem": {"benchmarks": [benchmark]}})


@pytest.mark.parametrize("count", range(1, len(EVERY_STAGE) + 1))
def test_graph_any_beginning_of_the_whole_recipe_fits(count: int) -> None:
    assert [node.name for node in _graph(EVERY_STAGE[:count]).nodes] == EVERY_STAGE[:count]


def test_graph_stage_that_only_says_yes_or_no_gives_on_what_arrived() -> None:
    nodes = {node.name: node for node in _graph().nodes}
    for name in ("dedupe_problems", "decontaminate_problem"):
        assert (nodes[name].takes, nodes[name].gives) == (ValidProblem, ValidProblem)
    early = ["expand_topics", "plan_drafts", "draft_problem", "dedupe_problems"]
    assert _graph(early).nodes[-1].gives is Problem


def test_graph_segments_cut_at_every_fold() -> None:
    graph = _graph()
    segments = graph.segments()
    assert [node for segment in segments for node in segment] == list(graph.nodes)
    assert [[node.name for node in segment] for segment in segments] == [
        ["expand_topics"],
        ["dedupe_topics"],
        ["nominate_topics"],
        ["confirm_topic", "plan_drafts", "draft_problem", "validate_problem"],
        ["dedupe_problems"],
        ["decontaminate_problem", "plan_rollouts", "sample_trajectory", "label_trajectory"],
    ]


@pytest.mark.parametrize(
    ("target", "expansions", "shares"),
    [(4, 1, [4]), (4, 4, [1, 1, 1, 1]), (574, 4, [144, 144, 143, 143]), (7, 3, [3, 2, 2])],
)
def test_graph_expansions_share_the_target(target: int, expansions: int, shares: list[int]) -> None:
    subject = {"name": "Physics", "target_topics": target, "expansions": expansions}
    subjects = _graph(subjects=[*TOPICS, subject]).subjects[1:]
    assert [subject.target_topics for subject in subjects] == shares
    assert [subject.expansion_index for subject in subjects] == list(range(expansions))
    assert {subject.subject for subject in subjects} == {"Physics"}


def test_fingerprint_same_recipe_is_the_same() -> None:
    assert _graph().fingerprint == _graph().fingerprint
    assert _graph().run_name == f"tiny-{_graph().fingerprint[:8]}"


@pytest.mark.parametrize(
    ("role", "stages"),
    [
        ("expander", ["expand_topics", "confirm_topic"]),
        ("drafter", ["draft_problem"]),
        ("verifier_a", ["validate_problem"]),
        ("verifier_b", ["validate_problem"]),
        ("solver", ["sample_trajectory"]),
        ("grader", ["label_trajectory"]),
    ],
)
@pytest.mark.parametrize(
    "change",
    [
        {"name": "another"},
        {"seed": 1},
        {"sampling": {"temperature": 1}},
        {"malformed_rate": 0.5},
        {"backend": "openai"},
    ],
    ids=str,
)
def test_fingerprint_changed_model_changes_only_its_roles_stages(
    role: str, stages: list[str], change: dict[str, Any]
) -> None:
    changed = _graph(None, **{role: change})
    assert _changed(changed, _graph()) == stages
    assert changed.fingerprint != _graph().fingerprint


def test_fingerprint_exchanged_verifiers_change_the_stage() -> None:
    one = _graph(verifier_a={"name": "x"}, verifier_b={"name": "y"})
    other = _graph(verifier_a={"name": "y"}, verifier_b={"name": "x"})
    assert _changed(one, other) == ["validate_problem"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"backend": "simulated"}, {"backend": "simulated", "latency": {"mean_s": 9}}),
        ({"backend": "simulated"}, {"backend": "simulated", "prices": {"input_usd": 9}}),
        ({"backend": "openai"}, {"backend": "openai", "base_url": "http://localhost:8000/v1"}),
        ({"backend": "openai"}, {"backend": "openai", "api_key_env": "OTHER_KEY"}),
        ({"backend": "openai"}, {"backend": "openai", "prices": {"output_usd": 9}}),
        ({"backend": "vllm"}, {"backend": "vllm", "tensor_parallel_size": 8}),
        ({"backend": "vllm"}, {"backend": "vllm", "max_num_seqs": 8, "max_model_len": 99}),
    ],
    ids=lambda value: str(value)[23:],
)
def test_fingerprint_how_a_model_is_reached_changes_nothing(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    graphs = [_graph(None, **dict.fromkeys(ROLES, model)) for model in (before, after)]
    assert graphs[0].fingerprint == graphs[1].fingerprint


@pytest.mark.parametrize(
    "runtime",
    [
        {"kind": "cluster", "ray_address": "auto"},
        {"pool": {"actors": 9, "max_in_flight": 3}},
        {"pools": {"draft_problem": {"actors": 2}}},
        {"flush_s": 9, "progress_s": 9, "preview_rows": 9},
    ],
    ids=str,
)
def test_fingerprint_where_and_how_wide_changes_nothing(runtime: dict[str, Any]) -> None:
    assert _graph(runtime=runtime).fingerprint == _graph().fingerprint


@pytest.mark.parametrize(
    ("stage", "params"),
    [
        ("expand_topics", {"max_rounds": 2}),
        ("nominate_topics", {"min_similarity": 75}),
        ("plan_drafts", {"drafts_per_topic": 2}),
        ("validate_problem", {"min_accepting_verifiers": 1}),
        ("dedupe_problems", {"max_changed_words": 0.5}),
        ("decontaminate_problem", {"max_jaccard": 0.5}),
        ("plan_rollouts", {"rollouts_per_problem": 2}),
        ("sample_trajectory", {"retry_truncated": True}),
        ("label_trajectory", {"use_rules": False}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_fingerprint_changed_parameter_changes_only_its_stage(
    stage: str, params: dict[str, Any]
) -> None:
    changed = _graph(params={stage: params})
    assert _changed(changed, _graph()) == [stage]
    assert changed.fingerprint != _graph().fingerprint


def test_fingerprint_default_written_out_changes_nothing() -> None:
    written = {name: stage.params().model_dump() for name, stage in STAGES.items()}
    assert _graph(params=written).fingerprint == _graph().fingerprint


def test_fingerprint_other_subjects_change_the_run_and_no_stage() -> None:
    changed = _graph(subjects=[{"name": "Physics", "target_topics": 4}])
    assert _changed(changed, _graph()) == []
    assert changed.fingerprint != _graph().fingerprint


def test_fingerprint_of_a_fold_follows_its_group_and_order() -> None:
    node = next(node for node in _graph().nodes if node.name == "dedupe_topics")
    groups = [["a", "b"], ["b", "a"], ["a"], [], ["ab"], ["a", "b", "b"]]
    assert len({node.of_group(group) for group in groups}) == len(groups)


def test_rebuild_node_from_its_names_is_the_same_node() -> None:
    config = _config(params={"plan_drafts": {"drafts_per_topic": 3}})
    for node in build_graph(config).nodes:
        rebuilt = rebuild_node(config, node.name, node.takes.__name__, node.fingerprint)
        assert rebuilt == node


@pytest.mark.parametrize("first", [None, 120, 99])
def test_graph_second_chance_that_is_no_larger_than_the_first_is_refused(first: int | None) -> None:
    params = {"sample_trajectory": {"second_chance_tokens": 99}}
    said = "recipe.params.sample_trajectory.second_chance_tokens: 99, which is no larger limit than"
    with pytest.raises(GraphError, match=said) as caught:
        _graph(params=params, solver={"sampling": {"max_tokens": first}})
    assert f"models.solver.sampling.max_tokens, {first or 'null'}" in str(caught.value)


def test_graph_second_chance_that_is_larger_than_the_first_is_taken() -> None:
    params = {"sample_trajectory": {"second_chance_tokens": 99}}
    graph = _graph(params=params, solver={"sampling": {"max_tokens": 98}})
    assert graph.nodes[-2].params.model_dump()["second_chance_tokens"] == 99

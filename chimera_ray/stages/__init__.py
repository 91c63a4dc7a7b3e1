"""The stages: one file each, and this table of contents."""

from chimera_ray.stage import AnyFold, AnyStage
from chimera_ray.stages.confirm_topic import confirm_topic
from chimera_ray.stages.decontaminate_problem import decontaminate_problem
from chimera_ray.stages.dedupe_problems import dedupe_problems
from chimera_ray.stages.dedupe_topics import dedupe_topics
from chimera_ray.stages.draft_problem import draft_problem
from chimera_ray.stages.expand_topics import expand_topics
from chimera_ray.stages.label_trajectory import label_trajectory
from chimera_ray.stages.nominate_topics import nominate_topics
from chimera_ray.stages.plan_drafts import plan_drafts
from chimera_ray.stages.plan_rollouts import plan_rollouts
from chimera_ray.stages.sample_trajectory import sample_trajectory
from chimera_ray.stages.validate_problem import validate_problem

STAGES: dict[str, AnyStage | AnyFold] = {
    stage.name: stage
    for stage in (
        expand_topics,
        dedupe_topics,
        nominate_topics,
        confirm_topic,
        plan_drafts,
        draft_problem,
        validate_problem,
        dedupe_problems,
        decontaminate_problem,
        plan_rollouts,
        sample_trajectory,
        label_trajectory,
    )
}

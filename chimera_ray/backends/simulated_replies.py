"""What the simulated teacher says in each role, if nothing happens to the reply on its way.

It errs at the rates of its configuration, and says what is true otherwise. Knows nothing about
prompts (see `simulated_prompts`) and nothing about replies that do not arrive whole.
"""

from collections.abc import Mapping
from functools import lru_cache
from random import Random
from typing import Any

from chimera_ray.backends.simulated_answers import (
    is_in_blind_spot,
    is_true_answer,
    same_answer,
    variant_of,
    wrong_answer,
)
from chimera_ray.backends.simulated_endings import (
    committed,
    read_ending,
    retracted,
    undecided,
    unsolved,
    without_answer,
)
from chimera_ray.backends.simulated_prompts import (
    Ask,
    Confirm,
    Draft,
    Expand,
    Label,
    Solve,
    Validate,
)
from chimera_ray.backends.simulated_world import (
    SEED_END,
    Item,
    find_item,
    make_item,
    task_of,
    topics_of,
)
from chimera_ray.metrics.topic_key import topic_key
from chimera_ray.model_config import SimulatedModel
from chimera_ray.schemas import CHECKS, digest
from chimera_ray.text.final_answer import final_answer

Said = Mapping[str, Any] | str
"""the fields of a JSON reply, or the solver's text"""

_RESPELT_RATE = 1 / 12
_MEDIAN_SENTENCES, _SPREAD, _MAX_SENTENCES = 20.0, 0.7, 400
_MAX_QUOTED_CHARS = 200

_MUSINGS = (
    "Let me set this up with care before I calculate anything.",
    "I read the statement again, to be sure that I use the right convention.",
    "That looks plausible, yet I want to see it from another side.",
    "Wait, I should make sure that nothing was counted twice here.",
    "Suppose for a moment that the opposite holds; then something has to break.",
    "The small case comes out as expected, which is encouraging.",
    "I write the intermediate result down, since it is needed again below.",
    "So far each step can be undone, so nothing has been lost.",
    "An independent check of the last line gives the same.",
    "The boundary of the range deserves a look of its own.",
    "Going back one step, the only doubtful point is the order of the operations.",
    "With that settled, the rest is bookkeeping.",
)
_PASSED = {
    "is_on_topic": "The problem belongs to the topic and needs its methods.",
    "is_clear": "Everything that it needs is defined in the text.",
    "is_verifiable": "There is exactly one answer, and it can be checked objectively.",
    "is_answer_correct": "My own solution arrives at the proposed answer.",
}
_FAILED = {
    "is_on_topic": "The problem is a routine exercise and barely touches the topic.",
    "is_clear": "A convention that the solution rests on is not stated.",
    "is_verifiable": "More than one answer could be defended.",
    "is_answer_correct": "My own solution arrives at another answer.",
}
_UNVERIFIED = "I do not know this problem, so the answer cannot be verified."

_key = lru_cache(maxsize=4096)(topic_key)


def compose(ask: Ask, rng: Random, config: SimulatedModel) -> Said:
    """What is asked, a source of chance, the rates of error → what is said."""
    match ask:
        case Expand():
            return _expand(ask, rng)
        case Confirm():
            return _confirm(ask)
        case Draft():
            return _draft(ask, rng, config)
        case Validate():
            return _validate(ask, rng, config)
        case Label():
            return _label(ask, rng, config)
        case Solve():
            return _solve(ask, rng, config)


def _expand(ask: Expand, rng: Random) -> Said:
    fresh = [name for name in _topics(ask.subject) if _key(name[1]) not in ask.known]
    listed: dict[str, list[str]] = {}
    num_left = ask.wanted
    for area, topic in rng.sample(fresh, len(fresh)):
        if num_left <= 0:
            break
        names = [topic, _respelt(topic, rng)] if rng.random() < _RESPELT_RATE else [topic]
        listed.setdefault(area, []).extend(names[:num_left])
        num_left -= len(names)
    return {"areas": [{"area": area, "topics": topics} for area, topics in listed.items()]}


@lru_cache(maxsize=256)
def _topics(subject: str) -> tuple[tuple[str, str], ...]:
    """Subject → (area, topic) of each of its topics."""
    return tuple((area, topic) for area, topics in topics_of(subject).items() for topic in topics)


def _respelt(topic: str, rng: Random) -> str:
    """Topic → another name with the same normal form."""
    left, of, right = topic.partition(" of ")
    spellings = [topic.upper(), topic.title(), f"The {topic}", topic.replace(" ", "  ")]
    spellings += [f"{right} {left.lower()}"] if of else [f"{topic}s"]
    key = _key(topic)
    return rng.choice([name for name in spellings if name != topic and _key(name) == key])


def _confirm(ask: Confirm) -> Said:
    for number, name in ask.candidates:
        if _key(name) == _key(ask.topic):
            return {"reason": f"{name} is another name of the topic.", "same_as": number}
    return {"reason": "None of them is the same field of study.", "same_as": None}


def _draft(ask: Draft, rng: Random, config: SimulatedModel) -> Said:
    named = digest("item", str(config.seed), ask.subject, ask.topic, ask.facet)
    item = make_item(task_of(ask.subject, ask.topic), int(named, 16) % SEED_END)
    answer = _answer(item, rng, config)
    return {
        "problem": item.problem,
        "reasoning": "\n".join(item.steps),
        "solution": " ".join((*item.steps, f"This gives the answer: {answer}")),
        "answer": answer,
    }


def _validate(ask: Validate, rng: Random, config: SimulatedModel) -> Said:
    failed: dict[str, str] = {}
    item = find_item(ask.problem)
    if item is None or not is_true_answer(item, ask.answer):
        is_deceived = rng.random() < config.false_accept_rate or _is_blind_to(item, config)
        if not is_deceived:
            why = _UNVERIFIED if item is None else _FAILED["is_answer_correct"]
            failed["is_answer_correct"] = why
    elif rng.random() < config.false_reject_rate:
        name = rng.choice(CHECKS)
        failed[name] = _FAILED[name]
    return {
        name: {"is_passed": name not in failed, "reason": failed.get(name, _PASSED[name])}
        for name in CHECKS
    }


def _is_blind_to(item: Item | None, config: SimulatedModel) -> bool:
    return item is not None and is_in_blind_spot(
        item, config.shared_blind_spot_rate, config.blind_spot_seed
    )


def _label(ask: Label, rng: Random, config: SimulatedModel) -> Said:
    answer = _stated_answer(ask.response)
    # The grader is given the reference, not the truth.
    is_equal = answer is not None and same_answer(
        find_item(ask.problem), ask.reference_answer, answer
    )
    error_rate = config.false_reject_rate if is_equal else config.false_accept_rate
    is_correct = answer is not None and is_equal != (rng.random() < error_rate)
    comparison = "The two answers say the same."
    if not is_correct:
        comparison = "The extracted answer differs from the reference answer."
    return {
        "extracted_answer": answer,
        "comparison": comparison,
        "is_correct": is_correct,
        "confidence": rng.randint(80, 100),
    }


def _stated_answer(response: str) -> str | None:
    """A response → what it commits to: without doubt if the simulated solver wrote it."""
    ending = read_ending(response)
    if ending is not None:
        return ending.answer
    lines = response.splitlines() or [""]
    return final_answer(response) or lines[-1].strip()[:_MAX_QUOTED_CHARS] or None


def _solve(ask: Solve, rng: Random, config: SimulatedModel) -> Said:
    item = find_item(ask.problem)
    if item is None:
        return f"{_thinking((), rng)}\n</think>{unsolved()}"
    answer, manner = _answer(item, rng, config), _manner(rng, config)
    way = "\n\n" + "\n".join(item.steps)
    match manner:
        case "no_answer":
            final_part = f"{way}{without_answer()}" if rng.random() < 0.5 else ""
        case "alternatives":
            one, two = rng.sample((answer, _other_answer(item, answer, rng)), 2)
            final_part = way + undecided(one, two, rng)
        case "retraction":
            final_part = way + retracted(_other_answer(item, answer, rng), answer, rng)
        case _:
            final_part = way + committed(answer, rng)
    return f"{_thinking(item.steps, rng)}\n</think>{final_part}"


def _manner(rng: Random, config: SimulatedModel) -> str:
    """How a trajectory ends, if not with one plain answer."""
    rates = {
        "no_answer": config.no_answer_rate,
        "alternatives": config.alternatives_rate,
        "retraction": config.retraction_rate,
    }
    # One draw for each, hit or not, so that a rate does not change the replies that it spares.
    hits = [name for name, rate in rates.items() if rng.random() < rate]
    return hits[0] if hits else ""


def _thinking(steps: tuple[str, ...], rng: Random) -> str:
    num_sentences = min(int(_MEDIAN_SENTENCES * rng.lognormvariate(0, _SPREAD)), _MAX_SENTENCES)
    return "\n".join((*steps, *rng.choices(_MUSINGS + steps, k=num_sentences)))


def _answer(item: Item, rng: Random, config: SimulatedModel) -> str:
    is_wrong = rng.random() < config.wrong_answer_rate
    return wrong_answer(item, rng.getrandbits(32)) if is_wrong else variant_of(item, rng)


def _other_answer(item: Item, answer: str, rng: Random) -> str:
    """An answer → another one: instead of the true one a wrong one, else the true one."""
    if is_true_answer(item, answer):
        return wrong_answer(item, rng.getrandbits(32))
    return variant_of(item, rng)

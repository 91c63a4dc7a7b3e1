"""What an answer says of its tokens → one usage; what it leaves out or cannot mean is estimated.

Servers differ in the fields' names and in what they count as output: xAI leaves reasoning out of
`completion_tokens`, Gemini shows it in `total_tokens` alone. Money is never guessed low: where two
counts contradict one another the larger one is taken. Fields of cost are not read: the prices of
the model file rule.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from chimera_ray.backends.forecast import estimated_tokens
from chimera_ray.llm import Request, Usage

MAX_COUNT = 16_000_000
"""tokens; longer than any context, so a larger count is none"""
MAX_CHARS_PER_TOKEN, MIN_DENSE_CHARS = 20, 400
"""of a text; no tokenizer writes so long a text with so few tokens"""
MIN_THOUGHT_CHARS = 120
"""of a text with its reasoning, which some servers show and do not count"""
_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens", "generated_tokens", "candidates_tokens")
_CACHED = (
    *("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_input_tokens"),
    "cached_content_tokens",
)
_BESIDE_INPUT = ("cache_read_input_tokens", "cache_creation_input_tokens")
"""Anthropic's, which `input_tokens` leaves out"""
_THOUGHT = ("reasoning_tokens", "thinking_tokens", "thoughts_tokens")
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def usage_of(said: object, request: Request, text: str, reasoning: str) -> tuple[Usage, bool]:
    """A body's `usage` and what the reply says → its usage, and whether any of it is estimated.

    Args:
        said: the field's value, whatever it is.
        request: what was asked, whose length is estimated where the server does not count it.
        text: of the reply, without its reasoning.
        reasoning: as far as it is shown.
    """
    fields = _fields(said)
    is_shown = bool(text or reasoning)
    total = _first(fields, ("total_tokens",)) or 0
    given = _first(fields, _INPUT) or None  # no prompt is empty
    taken = _first(fields, _OUTPUT)
    taken = None if is_shown and not taken else taken
    if given is None and taken is not None and total > taken:
        given = total - taken
    elif taken is None and given is not None and total > given:
        taken = total - given
    if given is None or taken is None:
        guess = estimated_usage(request, text, reasoning)
        given = guess.input_tokens if given is None else given
        taken = max(guess.output_tokens, total - given) if taken is None else taken
        thought = _thought(fields) or guess.reasoning_tokens
        taken = max(taken, thought)
        return Usage(given, min(_cached(fields), given), taken, thought), True
    return _held_together(fields, Usage(given, 0, taken), total, text, reasoning)


def estimated_usage(request: Request, text: str = "", reasoning: str = "") -> Usage:
    """What was asked and what was answered → about the tokens of both, by their lengths."""
    asked = sum(len(message.content) for message in request.messages)
    thought = estimated_tokens(len(reasoning))
    return Usage(estimated_tokens(asked), 0, estimated_tokens(len(text)) + thought, thought)


def _held_together(
    fields: Mapping[str, Any], usage: Usage, total: int, text: str, reasoning: str
) -> tuple[Usage, bool]:
    """Counts of input and output → the usage, with what the total and the text say besides."""
    given, _, taken, _ = usage
    cached, thought = _cached(fields), _thought(fields)
    hidden = total - given - taken if total else 0
    beside = _beside(fields, given, cached, hidden if total else None)
    is_estimated = hidden < 0
    given, hidden = given + beside, hidden - (beside if total else 0)
    if cached > given:  # so it is no part of it
        given, is_estimated = given + cached, True
    if hidden > 0:
        taken, thought = taken + hidden, max(thought, hidden)
    if thought > taken:  # so it is counted beside the output
        taken, is_estimated = taken + thought, True
    num_chars, least = len(text) + len(reasoning), MIN_DENSE_CHARS
    least = MIN_THOUGHT_CHARS if reasoning else least
    if num_chars >= least and num_chars > MAX_CHARS_PER_TOKEN * taken:
        taken, is_estimated = estimated_tokens(len(text)) + estimated_tokens(len(reasoning)), True
    return Usage(given, min(cached, given), taken, min(thought, taken)), is_estimated


def _beside(fields: Mapping[str, Any], given: int, cached: int, hidden: int | None) -> int:
    """Counts, and what a total has beyond them → tokens of input that the input's count lacks."""
    named = [name for name in _BESIDE_INPUT if name in fields]
    cache = sum(_count(fields[name]) or 0 for name in named)
    is_anthropic = bool(cache) and _first(fields, ("prompt_tokens",)) is None
    if hidden is None:
        return cache if is_anthropic else 0
    if cache and (hidden == cache or (is_anthropic and hidden > cache)):
        return cache
    return cached if cached > given and hidden >= cached else 0


def _fields(said: object) -> Mapping[str, Any]:
    """A `usage` as it came → its fields, by names with underscores."""
    if isinstance(said, list) and len(said) == 1:
        (said,) = said
    if not isinstance(said, dict):
        return {}
    if any(name in said for name in (*_INPUT, *_OUTPUT)):
        return said
    plain = ((_HUMP.sub("_", name).lower(), value) for name, value in said.items())
    return {name.replace("_token_count", "_tokens"): value for name, value in plain}


def _cached(fields: Mapping[str, Any]) -> int:
    return _first(_details(fields, _INPUT_DETAILS), _CACHED) or _first(fields, _CACHED) or 0


def _thought(fields: Mapping[str, Any]) -> int:
    return _first(_details(fields, _OUTPUT_DETAILS), _THOUGHT) or _first(fields, _THOUGHT) or 0


def _details(fields: Mapping[str, Any], groups: Iterable[str]) -> Mapping[str, Any]:
    for group in groups:
        if isinstance(details := fields.get(group), dict):
            return details
    return {}


def _first(fields: Mapping[str, Any], names: Iterable[str]) -> int | None:
    """Names → the count under the first of them that has one; None if there is none."""
    for name in names:  # without generators: it is a tenth of a call's time
        if name in fields and (count := _count(fields[name])) is not None:
            return count
    return None


def _count(said: object) -> int | None:
    """A field → the count of tokens that it is, also as a whole float or as digits."""
    if type(said) is int:
        return said if 0 <= said < MAX_COUNT else None
    if isinstance(said, str) and len(said) <= len(str(MAX_COUNT)) and said.isascii():
        said = int(said) if said.isdigit() else None
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said < MAX_COUNT:
        return None
    return int(said) if said == int(said) else None

"""Whether a model's calls are streamed: as its configuration says and its endpoint has taught.

Some servers answer thinking models by streams alone, and a gateway gives up on a connection that
has been silent for minutes, as an unstreamed call is until its end.
"""

import json
import logging
import re
from collections.abc import Mapping
from typing import Any, Literal

from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_error_body import ErrorBody, decoded, error_body
from chimera_ray.backends.openai_quotes import quotes_prompt
from chimera_ray.backends.openai_verdicts import Verdict, verdict_of
from chimera_ray.llm import Request
from chimera_ray.model_config import OpenAIModel

Way = Literal["whole", "streamed", "streamed without usage"]
GATEWAY_S = 100.0
"""of silence, after which the first gateways give up"""
LONG_TOKENS = 16_384
"""so many take most servers longer than that"""
SLOW_S = 30.0
"""of silence before a whole reply: others of the same model may take as long as a gateway waits"""
SILENCE_S = 10.0
"""a call that was lost after so long may have been cut for its silence"""
MAX_ERROR_BYTES = 8_192
"""of an error that comes as a 200"""
_GATEWAY_STATUSES = frozenset({408, 504, 522, 524})
_PASSING_STATUSES = frozenset({500, 502, 503, 520})
"""that a gateway may answer, too, when it has waited long enough"""
_FINAL_STATUSES = frozenset({400, 404, 405, 406, 415, 422, 501})
_REFUSING_STATUSES = _FINAL_STATUSES | {500}
_ABOUT_WAY: frozenset[Verdict] = frozenset({"other", "field", "passing"})
"""verdicts of refusals that may be about how a call was made"""
_STREAM = re.compile(r"\bstream(?:s|ed|ing)?\b|\bstream=|\bnon[-_ ]?stream|流式")
_DEMAND = re.compile(
    r"\b(?:only|requires?|must use)\b[^.]{0,40}\bstream|non[-_ ]?stream|[只仅].{0,6}流式"
    r"|\bstream(?:ing)?\b[^.]{0,20}(?:\brequired\b|\btrue\b)"
)
_OPTIONS = re.compile(r"stream[_ .]?options|include[_ ]?usage")
_LOG = logging.getLogger(__name__)


class Streaming:
    """How one model's calls are made, as far as its endpoint's answers have told."""

    def __init__(self, config: OpenAIModel) -> None:
        """Begins streamed if it is so configured, or if silence may outlast a gateway's patience.

        It may, if the token limit lets a reply be long, and no timeout ends the call before.
        """
        self._name, self._is_auto = config.name, config.stream == "auto"
        self._can_refuse_usage = config.api == "chat"  # the other API always tells it
        self._has_streamed = self._is_refused = False
        silent_s = min(config.timeouts.first_byte_s, config.timeouts.total_s)
        is_long = (config.max_output or 0) >= LONG_TOKENS and silent_s > GATEWAY_S
        begins = config.stream == "always" or (self._is_auto and is_long)
        self.way: Way = "streamed" if begins else "whole"

    def other(self, way: Way, answer: Answer, request: Request) -> Way | None:
        """A way and what came of it → the way that is worth another request; None: it stands."""
        found = _refusal(answer)
        if found is None:
            return None
        is_about = _speaks_of(_STREAM, *found, request)
        if way == "whole":
            return "streamed" if is_about and self._can_begin else None
        if way == "streamed" and self._can_refuse_usage:
            is_named = _speaks_of(_OPTIONS, *found, request)
            if is_named or (not self._has_streamed and _is_vague(*found, request)):
                return "streamed without usage"
        return "whole" if is_about else None

    def settle(self, first: Way, way: Way, answer: Answer) -> bool:
        """The answer to the last way that was tried → whether it counts, and not the first.

        A way that was taken is kept for the calls that follow.
        """
        is_taken = 200 <= answer.status < 300 and _refusal(answer) is None
        if is_taken:
            self._has_streamed = self._has_streamed or way != "whole"
            if way not in (first, self.way):
                self._is_refused = way == "whole"
                self._keep(way, f"the server refused a call that was made {first}")
        return way == first or is_taken or answer.status not in _FINAL_STATUSES

    def heed(self, answer: Answer, silent_s: float) -> None:
        """The answer to a call that was not streamed → streams from then on, if silence may harm.

        Args:
            answer: what came of it.
            silent_s: how long nothing came.
        """
        status = answer.status if (found := _refusal(answer)) is None else found[0]
        if status in _GATEWAY_STATUSES or (silent_s > SILENCE_S and status in _PASSING_STATUSES):
            self._stream_from_now(f"a call may have been cut by a gateway (HTTP {status})")
        elif 200 <= status < 300 and silent_s > SLOW_S:
            self._stream_from_now(f"a reply took {silent_s:.0f} s of silence")

    def lost(self, silent_s: float) -> None:
        """The connection of a call that was not streamed was lost after so long a silence."""
        if silent_s > SILENCE_S:
            self._stream_from_now(f"a connection was lost after {silent_s:.0f} s of silence")

    @property
    def _can_begin(self) -> bool:
        return self._is_auto and not self._is_refused

    def _stream_from_now(self, why: str) -> None:
        if self._can_begin and self.way == "whole":
            self._keep("streamed", why)

    def _keep(self, way: Way, why: str) -> None:
        self.way = way
        _LOG.warning("%s: calls are made %s from now on: %s", self._name, way, why)


def fields_of(way: Way, api: str) -> Mapping[str, Any]:
    """A way → the fields of a request that ask for it."""
    if way == "whole":
        return {}
    asks_usage = way == "streamed" and api == "chat"
    return {"stream": True, **({"stream_options": {"include_usage": True}} if asks_usage else {})}


def _refusal(answer: Answer) -> tuple[int, ErrorBody] | None:
    """An answer → the status and the words of its error, also of one that comes as a 200."""
    if answer.status >= 300:
        return answer.status, error_body(answer.body)
    body = answer.body
    if answer.stream is not None or len(body) > MAX_ERROR_BYTES or b'"error"' not in body:
        return None
    if not _is_error(body):
        return None
    said = error_body(body)
    return said.status or 400, said


def _is_error(body: bytes) -> bool:
    """The body of a 200 that names an error → whether it is one, and holds no reply."""
    try:
        said = json.loads(decoded(body))
    except (ValueError, RecursionError):
        is_cut = body.lstrip().startswith((b"{", b"["))
        return not is_cut and b'"choices":[{' not in b"".join(body.split())
    if isinstance(said, list):
        return any(isinstance(part, dict) and part.get("error") for part in said)
    if not isinstance(said, dict):
        return True
    held = [said, *(value for value in said.values() if isinstance(value, dict))]
    if any(each.get("choices") or "output" in each for each in held):
        return False
    return any(each.get("error") for each in held)


def demands_stream(answer: Answer, request: Request) -> bool:
    """An answer to a call that was not streamed → whether the server wants streams alone."""
    found = _refusal(answer)
    return found is not None and _speaks_of(_DEMAND, *found, request)


def _speaks_of(what: re.Pattern[str], status: int, said: ErrorBody, request: Request) -> bool:
    """Whether a refusal is about something, by a field that it names or by words of its own."""
    if status not in _REFUSING_STATUSES:
        return False
    if what.search(said.param.lower()):  # the field is named: nothing else is meant
        return True
    if verdict_of(status, said, request) not in _ABOUT_WAY or not what.search(said.marks):
        return False
    return not quotes_prompt(said.marks, request)


def _is_vague(status: int, said: ErrorBody, request: Request) -> bool:
    """Whether a refusal tells no reason that has nothing to do with the way."""
    return status in (400, 422) and verdict_of(status, said, request) == "other"

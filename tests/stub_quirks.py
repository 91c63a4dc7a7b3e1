"""What real endpoints do otherwise than OpenAI: a good reply → the answer that such a one sends.

Each quirk is named after what it does; `docs/endpoints.md` says whose it is. The usage of an answer
is what is truly billed for it, whatever the answer says: `Tally` keeps that.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from stub_faults import Answer, as_json, error

from chimera_ray.llm import Usage

HIDDEN_TOKENS = 2_809
"""of reasoning, where a quirk hides some"""
THOUGHT = "Two and two are four, and that settles it."
FREE = Usage()
Body = dict[str, Any]
Quirk = Callable[[Body, Usage], Answer]


def _usage(change: Callable[[Usage], Any]) -> Quirk:
    """A usage as this server writes it, of a bill that is as it was."""
    return lambda body, usage: Answer(200, as_json({**body, "usage": change(usage)}), usage=usage)


def _hidden(change: Callable[[Usage], Any]) -> Quirk:
    """The same, of a bill that has reasoning besides."""

    def answer(body: Body, usage: Usage) -> Answer:
        true = usage._replace(
            output_tokens=usage.output_tokens + HIDDEN_TOKENS, reasoning_tokens=HIDDEN_TOKENS
        )
        return Answer(200, as_json({**body, "usage": change(usage)}), usage=true)

    return answer


def _counts(usage: Usage, more: int = 0, **fields: Any) -> Body:
    given, taken = usage.input_tokens, usage.output_tokens
    total = given + taken + more
    return {"prompt_tokens": given, "completion_tokens": taken, "total_tokens": total, **fields}


def _ending(word: object, body: Body, usage: Usage) -> Answer:
    body["choices"][0]["finish_reason"] = word
    return Answer(200, as_json(body), usage=usage)


def _cut(word: object, body: Body, usage: Usage) -> Answer:
    message = body["choices"][0]["message"]
    message["content"] = message["content"][: len(message["content"]) // 2]
    return _ending(word, body, usage)


def _without_ending(body: Body, usage: Usage) -> Answer:
    del body["choices"][0]["finish_reason"]
    return Answer(200, as_json(body), usage=usage)


def _message(change: Callable[[str], Body], body: Body, usage: Usage) -> Answer:
    """A message that holds the text in this server's way, and reasoning beside it."""
    message = body["choices"][0]["message"]
    message |= change(message["content"])
    return Answer(200, as_json(body), usage=usage)


def _inside(said: object, body: Body, usage: Usage) -> Answer:
    """An error that comes as a 200 and costs nothing."""
    return Answer(200, as_json({"error": said}))


def _instead(change: Body, body: Body, usage: Usage) -> Answer:
    """A reply that was made and billed, in a body without it."""
    return Answer(200, as_json({**body, **change}), usage=usage)


def _refused(status: int, said: object, body: Body, usage: Usage) -> Answer:
    return Answer(status, said if isinstance(said, bytes) else as_json(said))


def _events(is_whole: bool, body: Body, usage: Usage) -> Answer:
    """The reply as a stream of events, with its usage in the last of them."""
    text = body["choices"][0]["message"]["content"]
    pieces = [text[at : at + 20] for at in range(0, len(text), 20)]
    if not is_whole:
        pieces = pieces[: len(pieces) // 2]
    ends = [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]
    ends.append({"choices": [], "usage": body["usage"]})
    said = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    lines = [f"data: {json.dumps(event)}\n\n" for event in (*said, *(ends if is_whole else ()))]
    end = "data: [DONE]\n\n" if is_whole else ""
    return Answer(200, ("".join(lines) + end).encode(), "text/event-stream", usage=usage)


def _marked(body: Body, usage: Usage) -> Answer:
    return Answer(200, b"\xef\xbb\xbf" + as_json(body), usage=usage)


def _part(kind: str, **fields: Any) -> Body:
    return {"type": kind, **fields}


def _harmony(text: str) -> str:
    head = f"<|channel|>analysis<|message|>{THOUGHT}<|end|>"
    return f"{head}<|start|>assistant<|channel|>final<|message|>{text}<|return|>"


USAGE: Mapping[str, Quirk] = {
    "reasoning_beside_completion": _hidden(
        lambda usage: _counts(
            usage, HIDDEN_TOKENS, completion_tokens_details={"reasoning_tokens": HIDDEN_TOKENS}
        )
    ),
    "reasoning_in_total_alone": _hidden(lambda usage: _counts(usage, HIDDEN_TOKENS)),
    "reasoning_beside_all": _hidden(
        lambda usage: _counts(usage, completion_tokens_details={"reasoning_tokens": HIDDEN_TOKENS})
    ),
    "zero_usage": _usage(lambda usage: _counts(FREE)),
    "zero_output": _usage(lambda usage: _counts(usage._replace(output_tokens=0))),
    "null_usage": _usage(lambda usage: None),
    "list_usage": _usage(lambda usage: [usage.input_tokens, usage.output_tokens]),
    "usage_as_text": _usage(lambda usage: {k: str(v) for k, v in _counts(usage).items()}),
    "usage_as_floats": _usage(lambda usage: {k: float(v) for k, v in _counts(usage).items()}),
    "usage_in_other_names": _usage(
        lambda usage: {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    ),
    "usage_in_camel_case": _usage(
        lambda usage: {"inputTokens": usage.input_tokens, "outputTokens": usage.output_tokens}
    ),
    "cache_beside_input": _usage(
        lambda usage: {
            "input_tokens": 1,
            "cache_read_input_tokens": usage.input_tokens - 1,
            "output_tokens": usage.output_tokens,
        }
    ),
    "cache_hits": _usage(
        lambda usage: _counts(usage, prompt_cache_hit_tokens=8, prompt_cache_miss_tokens=9)
    ),
    "no_completion_count": _usage(lambda usage: _counts(usage, completion_tokens=None)),
    "negative_usage": _usage(lambda usage: _counts(usage, prompt_tokens=-1, completion_tokens=-1)),
    "enormous_usage": _usage(lambda usage: _counts(usage, completion_tokens=10**12)),
    "one_token": _usage(lambda usage: _counts(usage, completion_tokens=1, total_tokens=None)),
    "total_below_parts": _usage(lambda usage: _counts(usage, -5)),
    "cost_besides": _usage(lambda usage: _counts(usage, cost=0.25)),
}
STOPS = ("eos", "eos_token", "end_turn", "STOP", "stop_sequence", "COMPLETE", "<|eot_id|>")
CUTS = ("max_tokens", "model_length", "MAX_TOKENS", "max_output_tokens")
BROKEN = ("insufficient_system_resource", "error", "abort", "network_error")
UNKNOWN = ("null", "whatever")
ENDINGS: Mapping[str, Quirk] = {
    **{f"ends_{word}": partial(_ending, word) for word in (*STOPS, *BROKEN, *UNKNOWN, "SAFETY")},
    **{f"cut_{word}": partial(_cut, word) for word in CUTS},
    "ends_null": partial(_ending, None),
    "no_ending": _without_ending,
    "cut_null": partial(_cut, None),
}
MESSAGES: Mapping[str, Quirk] = {
    name: partial(_message, change)
    for name, change in {
        "content_parts": lambda text: {
            "content": [
                _part("thinking", thinking=[_part("text", text=THOUGHT)]),
                _part("text", text=text),
            ]
        },
        "reasoning_details": lambda text: {
            "reasoning_details": [_part("reasoning.text", text=THOUGHT)],
            "reasoning": THOUGHT,
        },
        "harmony": lambda text: {"content": _harmony(text)},
        "thought_tag": lambda text: {"content": f"<thought>{THOUGHT}</thought>{text}"},
        "inline_beside_field": lambda text: {
            "content": f"<think>{THOUGHT}</think>{text}",
            "reasoning": THOUGHT,
        },
        "text_in_reasoning": lambda text: {"content": None, "reasoning_content": text},
    }.items()
}
WITHOUT_REPLY: Mapping[str, Quirk] = {
    "inside_401": partial(_inside, {"code": 401, "message": "No auth credentials found"}),
    "inside_402": partial(_inside, {"code": "402", "message": "Insufficient credits"}),
    "inside_403": partial(_inside, {"code": 403, "message": "Forbidden"}),
    "inside_429": partial(_inside, {"code": 429, "message": "Rate limited upstream"}),
    "inside_vague": partial(_inside, "Something went wrong"),
    "choices_null": partial(_instead, {"choices": None}),
    "choices_empty_without_usage": partial(_instead, {"choices": [], "usage": None}),
    "events": partial(_events, True),
    "events_cut": partial(_events, False),
    "byte_order_mark": _marked,
}
REFUSALS: Mapping[str, Quirk] = {
    "flagged": partial(
        _refused,
        403,
        {
            "error": {
                "code": 403,
                "message": "This model requires moderation and your input was flagged",
                "metadata": {"reasons": ["violence"], "provider_name": "x"},
            }
        },
    ),
    "safety_check": partial(
        _refused,
        403,
        {"code": "No permission", "error": "Failed check: SAFETY_CHECK_TYPE_BIO"},
    ),
    "bad_key_in_a_list": partial(_refused, 400, [{"error": {"message": "API key not valid."}}]),
    "forbidden_text": partial(_refused, 403, b"Forbidden"),
    "never_fits": lambda body, usage: error(
        429,
        "Request too large on tokens per min (TPM): Limit 30000, Requested 40000. The input or "
        "output tokens must be reduced in order to run successfully.",
        "rate_limit_exceeded",
    ),
    "context_size": partial(
        _refused,
        400,
        {"error": {"message": "the request exceeds the available context size", "code": 400}},
    ),
    "capacity": partial(_refused, 498, {"error": {"message": "Flex tier capacity exceeded"}}),
    "seed_unknown": partial(
        _refused,
        422,
        {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]},
    ),
}
QUIRKS: Mapping[str, Quirk] = {**USAGE, **ENDINGS, **MESSAGES, **WITHOUT_REPLY, **REFUSALS}
UNUSABLE_QUIRKS = frozenset(
    {*(f"ends_{word}" for word in BROKEN), "cut_null", "events_cut"}
    | {name for name in WITHOUT_REPLY if name.startswith(("inside", "choices"))}
)
"""whose answer has status 200 and no reply that a client could use"""


def quirky(name: str, body: Body, usage: Usage) -> Answer:
    """A quirk's name, a good reply and its usage → the answer, with what it truly costs."""
    return QUIRKS[name](body, usage)

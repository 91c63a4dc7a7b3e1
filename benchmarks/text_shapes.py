"""The text functions of the package, each with the shapes of text that could make it slow.

One line adds a function: where it is, its own shapes, its bound if it has one, and how it is called
if it takes more than a text. The shapes of EVERY are tried on all of them.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

MAX_CHARS = 2_000_000


class Shape(NamedTuple):
    """A text as long as wanted: start, unit again and again, middle, closing as often, end."""

    unit: str
    start: str = ""
    middle: str = ""
    closing: str = ""
    end: str = ""

    @property
    def name(self) -> str:
        """As a table shows it: the unit, and what else there is."""
        others = (self.start, self.middle, self.closing, self.end)
        around = [repr(part) for part in others if part]
        return " ".join((f"{self.unit!r} ×n", *around))

    def text(self, num_chars: int) -> str:
        """The number of characters → the text."""
        rest = num_chars - len(self.start) - len(self.middle) - len(self.end)
        times = max(rest, 0) // (len(self.unit) + len(self.closing))
        return self.start + self.unit * times + self.middle + self.closing * times + self.end


class Subject(NamedTuple):
    """A function of one text."""

    path: str
    """module:function, below chimera_ray"""
    own_shapes: tuple[Shape, ...] = ()
    max_chars: int = MAX_CHARS
    call: Callable[[Any, str], object] = lambda function, text: function(text)

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        module, _, function = self.path.partition(":")
        return f"{module.rpartition('.')[2]}.{function}"

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """All that are tried."""
        return (*self.own_shapes, *EVERY)


@cache
def function_of(subject: Subject) -> Callable[..., object]:
    """A subject → the function itself."""
    module, _, name = subject.path.partition(":")
    function: Callable[..., object] = getattr(import_module(f"chimera_ray.{module}"), name)
    return function


EVERY = (
    *map(Shape, (" ", "\n", " \n", "\t", "a", "aB ", "a1", "1", "1,", "1.", "1 ", "é", "中")),
    *map(Shape, ("a\u0301", "\\")),
    *map(Shape, ("\\a", "\\\\ ", "{", "}", "{}", "(", "[", "$", "$a$ ", '"', '\\"', "'", "’s")),
    *map(Shape, (".", ". ", ",", ", ", "-", "- ", "*", "_", "^", "<", "</", "/", "#", "|", "=")),
    *map(Shape, ("\x00", "\u200b", "²", "₂", "α", "а", "\ud800", "non ", "a of ", "and ", "<a>")),
    *map(Shape, ("&", "~", "`")),
    Shape("{", middle="a", closing="}"),
    Shape("(", middle="a", closing=")"),
    Shape(" ", start="a", end="a"),
    Shape("\n", start="a", end="a"),
    Shape("1", start="a ", end="a"),
)  # fmt: skip

_FINAL = (
    Shape(". ", start="Answer: x "),
    Shape(r"\boxed{"),
    Shape(r"\boxed{", middle="5", closing="}"),
    Shape(r"\frac{", start=r"\boxed{5}", closing="}"),
    Shape("Answer: 5\n"),
    Shape("the answer is "),
    Shape("answer ("),
    Shape("the "),
    Shape(r"\boxed{5} "),
    Shape("<answer>"),
    Shape("(a) ", end=r"\boxed{5}"),
    Shape("1 a ", start="\\boxed{5}\n\nExplanation: "),
    Shape("1,1", start=r"\boxed{5} because "),
    Shape("I hope this helps ", start=r"\boxed{5} "),
    Shape("let me know ", start=r"\boxed{5} "),
    Shape(r"\end{a", start=r"\boxed{5} \end{a}"),
    Shape("\n", start="Answer:"),
    Shape("$", start="Answer: "),
    Shape("Answer: $\n"),
    Shape("答", start="答案："),
)
_CHANNEL = "<|channel|>final"
_THINKING = (
    *map(Shape, ("</think>", "<think>", "<|channel|>", "[THINK]", "<|channel|> ")),
    Shape(" ", start=_CHANNEL),
    Shape(" ", start="<|start|>", end=_CHANNEL),
    Shape("assistant ", start=_CHANNEL),
    Shape("a", start="<|channel|>"),
    Shape(" ", start=f"{_CHANNEL}<|message|>5<|return|>", end="a"),
    Shape("<details", start="<details>"),
)
_PAGES = (
    *map(Shape, ("<pre", "<pre>", "<title ", "<h1>a</h1", "<script ", "<style>", "<head ")),
    *map(Shape, ("<html><head><style>", "<script></script ", "</head ", "&#9", "data:")),
    Shape("<head>", start="<html>", end="</head>"),
    Shape("9", start="<html>&#", end=";"),
)
_SECRETS = (
    *map(Shape, ("://a:", "://", "https://a", "https://", ":", "://:1", "a:b@", "sk-", "hf-")),
    *map(
        Shape, ("eyJ-", "eyJaaaaaaaa-", "AKIA", "bearer ", "basic\t", "-----BEGIN ", "?a", "&key")
    ),
    *map(Shape, ("?key=&", "sig;", "\x1b[0m", "a-", "1a")),
)
_JSON = (
    Shape('\\"'),
    Shape('{"a":'),
    Shape('{"'),
    Shape('{"a": "\\'),
    Shape('{"a":', middle="1", closing="}"),
    Shape('{"a":['),
    Shape("{ "),
    Shape('{"a"}'),
    Shape('{"a": 1} '),
    Shape("\\", start='{"a": "', end='"}'),
    Shape(r"\frac ", start='{"a": "', end='"}'),
    Shape(r"\\frac\nu ", start='{"a": "', end='"}'),
    Shape("$", start='{"a": "', end='"}'),
    Shape(r"$\theta", start='{"a": "', end='"}'),
    Shape("\\n", start='{"a": "', end='"}'),
    Shape("1", start='{"a": ', end="}"),
    Shape(", ", start='{"a": 1', end="}"),
    *_THINKING,
)
_SUBJECT = "A\n<subject>M</subject>\n"
_PROBLEM = (
    Shape("</problem>"),
    Shape("\n</problem>\n<answer>\n"),
    Shape("\n</reference_answer>\n<response>\n"),
    Shape("<\u200b/\u200bproblem>"),
    Shape("< "),
    Shape("Catalogue number: "),
    Shape("Catalogue number: a/1"),
    Shape("\n<", end="}"),
    Shape("x; ", start=f"{_SUBJECT}<wanted>5</wanted>\n<known>\nM: ", end="</known>\n}"),
    Shape("1. a\n", start=f"{_SUBJECT}<topic>x</topic>\n<candidates>\n", end="</candidates>\n}"),
)
_ANSWERS = (
    Shape("1+"),
    Shape("x^"),
    Shape("x^{", middle="2", closing="}"),
    Shape(r"\frac{", middle="1", closing="}{2}"),
    Shape(r"\sqrt{", middle="2", closing="}"),
    Shape("1, "),
    Shape("(1, "),
    Shape("10 cm "),
    Shape(r"\text{"),
    Shape("- "),
    Shape("9"),
    Shape("x y "),
    Shape("1,000"),
)
_WORDS = (
    Shape("a-b"),
    Shape("1,000"),
    Shape("don't "),
    Shape("$x$-"),
    Shape("a b a "),
    Shape("a. "),
)


def _both(function: Callable[[str, str], object], text: str) -> object:
    return function(text, text[:-1] + "7")


def _storable(function: Callable[[Any], object], text: str) -> object:
    from chimera_ray.llm import Reply

    return function(Reply(text, reasoning=text))


def _rendered(function: Callable[..., str], text: str) -> object:
    return function(
        "label_trajectory", language="English", problem=text, reference_answer=text, response=text
    )


def _sent(function: Callable[[bytes], object], text: str) -> object:
    return function(text.encode("utf-8", "replace"))


def _as_page(function: Callable[[bytes], object], text: str) -> object:
    return _sent(function, f"<html>{text}")


def _counted(function: Callable[[str, int], object], text: str) -> object:
    return function(text, 8)


def _tried(function: Callable[[str], object], text: str) -> object:
    from chimera_ray.errors import ParseError

    try:
        return function(text)
    except (ParseError, ValueError):
        return None


SUBJECTS = (
    Subject("text.final_answer:read_final_answer", _FINAL),
    Subject("text.reasoning:split_reasoning", _THINKING),
    Subject("text.json_reply:json_object", _JSON, call=_tried),
    Subject("text.latex_escapes:repaired", _JSON, call=_tried),
    Subject("text.latex_escapes:is_text", _JSON),
    Subject("text.skeleton:skeleton", _PROBLEM),
    Subject("text.placeholders:is_placeholder", _WORDS),
    Subject("text.placeholders:is_placeholder_name", _WORDS),
    Subject("text.placeholders:is_placeholder_answer", _WORDS),
    Subject("prompts:repeats_prompt", _WORDS, call=lambda f, text: f("draft_problem", text)),
    Subject("prompts:render", _PROBLEM, call=_rendered),
    Subject("metrics.answers.match:equal_by_rule", _ANSWERS, 20_000, _both),
    Subject("metrics.answers.normal_text:normal_text", _ANSWERS, 20_000),
    Subject("metrics.answers.reading:read", _ANSWERS, 20_000),
    Subject("metrics.words:words", _WORDS),
    Subject("metrics.words:plain_text", _WORDS),
    Subject("metrics.words:ngrams", _WORDS, call=_counted),
    Subject("metrics.latex:one_delimiter", _ANSWERS),
    Subject("metrics.latex:plain_commands", _ANSWERS),
    Subject("metrics.look_alikes:as_it_looks", _WORDS),
    Subject("metrics.look_alikes:in_one_script", _WORDS),
    Subject("metrics.problem_tokens:problem_tokens", _WORDS, 100_000),
    Subject("metrics.same_problem:read_problem", _WORDS, 100_000),
    Subject("metrics.topic_key:topic_key", _WORDS),
    Subject("backends.simulated_prompts:read_prompt", _PROBLEM),
    Subject("backends.simulated_world:find_item", _PROBLEM),
    Subject("backends.simulated_endings:read_ending", _FINAL),
    Subject("report:plain"),
    Subject("backends.openai_error_body:error_body", _PAGES, call=_as_page),
    Subject("credentials:redacted", _SECRETS),
    Subject("credentials:is_secret", _SECRETS, call=lambda f, text: f("headers.a", text)),
    Subject("backends.openai_replies:_storable"),
    Subject("llm:_storable", call=_storable),
    Subject("backends.rate_headers:duration_s", (Shape("1s"), Shape("1.5ms"))),
)

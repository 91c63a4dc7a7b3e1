"""What endpoints answer and what is made of it, as `docs/endpoints.md`: written from the test data.

PYTHONPATH=. python tests/endpoint_page.py     write the page
"""

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from endpoint_answers import KEY, KEY_NAME, Made, Told, made_of, told

from chimera_ray.backends.openai_error_body import error_body
from chimera_ray.backends.openai_passage import MAX_REFUSED, PER_CALL
from chimera_ray.text.shown import markdown

PAGE = Path(__file__).parents[1] / "docs" / "endpoints.md"
NUM_NAMED, EXAMPLE_CHARS = 6, 90
HEAD = f"""# What endpoints answer, and what is done

Endpoints that speak OpenAI's protocol differ in how they refuse, how they end a reply, where they
put the thinking and what they count. Each line below stands for answers as they were seen (in
public reports) or documented; all of them, with their sources, are in `tests/data/endpoints`, and a
test holds the code to them. This page is written by `tests/endpoint_page.py` from what the code
does; a test compares them.

A *row* is one piece of work of a stage. A row that fails is tried again by the next run; a run that
stops keeps what it has. The server's own words are shown with each error, without the prompt and
without what may be a key.

A 403 that gives no reason, as a firewall's page, may be about every call or about what one prompt
says. It fails its row alone, inside a 200 as well, until the *refusals in a row*, with no call
answered between them, are more than {MAX_REFUSED} and more than {PER_CALL} for each call of the
model that is under way: then the run stops. A call that is refused for what it says is answered
too; an attempt that is made again counts neither way. In a batch such a refusal is always its row's
own, as the endpoint has taken the batch.
"""
SECTIONS: Sequence[tuple[str, str, Sequence[tuple[str, str]]]] = (
    (
        "access",
        "The key, the account and the place",
        (
            ("key_(echoed|of_another)", "the key is echoed; it is neither shown nor kept"),
            ("key_waf", "a firewall's page or code"),
            ("country", "a country or an address that is not served"),
            ("key", "a key that is wrong, missing, expired, leaked, or may not do this"),
        ),
    ),
    ("money", "Money", (("", "nothing left to spend, whatever the status is"),)),
    (
        "models",
        "The model and the address",
        (
            ("model", "a model that is not known, not loaded or no chat model"),
            ("", "an address that is no chat endpoint"),
        ),
    ),
    (
        "content",
        "What a prompt says",
        (
            ("flag", "one prompt is not wanted (400, 403, 421, 424, 446, 451, 498, inside a 200)"),
            ("noflag", "the account is blocked, in words that speak of policies"),
        ),
    ),
    (
        "length",
        "How long a request is",
        (
            ("long", "longer than the context"),
            ("", "larger than a whole minute's limit, or than the gateway takes"),
        ),
    ),
    (
        "fields",
        "Fields of the request",
        (
            ("field", "a field that is not known; the setting that leaves it out is named"),
            ("value", "a value that is not taken"),
            ("stream", "only streams are served; `stream: always` sends them"),
            ("", "the prompt's words, quoted, name a field"),
        ),
    ),
    (
        "formats",
        "Structured output",
        (
            ("format_not", "another reason, to a request with `response_format`"),
            ("", "`response_format` refused, or nothing that tells another reason"),
        ),
    ),
    (
        "limits",
        "Rate limits",
        (
            ("wait", "`retry-after`, `x-ratelimit-reset`, a field or words say when to come again"),
            ("", "asked too often"),
        ),
    ),
    (
        "outages",
        "Outages",
        (
            ("page|text", "pages and texts of gateways"),
            ("busy|loading", "too busy, or still loading"),
            ("", "broken, out of time, or no reply yet (202, 204)"),
        ),
    ),
    ("rows", "Anything else with 400 or 422", (("", "a request that is wrong, in any shape"),)),
    (
        "bodies",
        "A 200 that is no reply",
        (
            (
                "(error_(null|empty)|code_zero|base_resp_zero)",
                "a reply beside an error that is none",
            ),
            ("(sse_)?error_403", "a refusal inside, without a reason"),
            ("(error|choice_error|base_resp|code|success|detail|sse_error)", "an error inside"),
            ("", "odd bodies: empty, cut, with blanks or a mark before, other shapes"),
        ),
    ),
    ("finish_reasons", "How a reply ended", (("", ""),)),
    (
        "thinking",
        "Where the thinking is",
        (
            ("harmony", "channels of Harmony, with or without their marks"),
            ("json_in", "the JSON that was asked for, in the reasoning field"),
            (".*(tag|think|tokens?)", "tags in the text: `<think>`, `<thought>`, `[THINK]` …"),
            ("", "fields and content parts"),
        ),
    ),
    (
        "usage",
        "What is counted",
        (
            ("(xai|gateway_drops|gemini|cliproxy|litellm|perplexity|kimi_all)", "hidden reasoning"),
            (".*cache", "cached input"),
            ("", "other counts"),
        ),
    ),
)
"""file, heading, and the beginnings of its rows' names with what they have in common"""
_DONE = {
    "stop_run": "the run stops and says why",
    "row_failed": "the row fails",
    "doubtful": "the row fails; too many such refusals in a row stop the run",
    "context": "the row fails: `context_too_long`",
    "refusal": "the row is refused; the run goes on",
    "weaker": "asked once more in a weaker way; that way is kept if it helps",
    "truncated": "the row fails: `truncated`",
    "reply": "taken",
    "empty": "the row fails; the empty reply is paid and counted",
    "aborted": "the row fails; the reply is paid and counted",
}


class _Line(NamedTuple):
    common: str
    done: str


def page() -> str:
    """All answers → the page."""
    rows = [*told()]
    parts = [HEAD]
    for kind, heading, groups in SECTIONS:
        lines: dict[_Line, list[Told]] = {}
        for row in (row for row in rows if row.kind == kind):
            common = next(said for start, said in groups if re.match(start, row.id))
            lines.setdefault(_Line(common, _done(kind, made_of(row))), []).append(row)
        parts.append(_section(kind, heading, groups, lines))
    return "\n".join(parts)


def _section(
    kind: str, heading: str, groups: Sequence[tuple[str, str]], lines: dict[_Line, list[Told]]
) -> str:
    head = ["what is answered", "seen at", "answers", "what is done"]
    table = [_cells(head), "|---|---|---:|---|"]
    order = {common: at for at, (_, common) in enumerate(groups)}
    for (common, done), rows in sorted(lines.items(), key=lambda line: order[line[0].common]):
        told_as = _words(rows) if kind == "finish_reasons" else f"{common}{_example(rows)}"
        table.append(_cells([told_as, _named(rows), str(len(rows)), done]))
    return "\n".join([f"## {heading}", "", *table, ""])


def _done(kind: str, made: Made) -> str:
    """What a call made of an answer → what is done, in words."""
    if made.outcome == "retry":
        done = "tried again" + (", and less is asked" if made.is_limited else "")
        return f"{done}; the attempt is paid and counted" if made.usage else done
    done = _DONE[made.outcome]
    if kind == "usage":
        return "estimated, and said to be" if made.is_estimated else "counted exactly"
    return done


def _named(rows: Sequence[Told]) -> str:
    """Answers → who gives them."""
    names = [*dict.fromkeys(name for row in rows for name in row.endpoint.split(", "))]
    more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return ", ".join(names[:NUM_NAMED]) + more


def _words(rows: Sequence[Told]) -> str:
    """Answers → the finish reasons in them."""
    found = (re.search(r'"finish_reason": ("[^"]*"|null)', row.body) for row in rows)
    words = dict.fromkeys(match[1].strip('"') if match else "none" for match in found)
    return ", ".join(markdown(word or "empty") for word in words)


def _example(rows: Sequence[Told]) -> str:
    """Answers → the shortest words in which one of them says it, with its status."""
    said = [(" ".join(error_body(row.body.encode()).words.split()), row.status) for row in rows]
    plain = [(words, status) for words, status in said if words.isascii() and len(words) > 12]
    if not plain or "$" in min(plain)[0]:
        return ""
    words, status = min(plain, key=lambda pair: (len(pair[0]) > EXAMPLE_CHARS, -len(pair[0])))
    return f": {status} “{markdown(words[:EXAMPLE_CHARS])}”"


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    os.environ[KEY_NAME] = KEY
    PAGE.write_text(page(), encoding="utf-8")

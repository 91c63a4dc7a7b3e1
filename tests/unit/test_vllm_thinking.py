"""Where a reply's thinking ends, for every way in which models and templates write it."""

import re
from collections.abc import Sequence

import pytest

from chimera_ray.backends.vllm_thinking import CLOSE, OPEN, Split, Thinking

TAG_IDS = {OPEN: 1, CLOSE: 2}
USER = "<|user|>How much?<|assistant|>"
TEMPLATE_OPENS, MODEL_OPENS = f"{USER}{OPEN}\n", USER
HYBRID_OFF = f"{USER}{OPEN}\n\n{CLOSE}\n\n"


class _Tokenizer:
    """One token for each character; the tags are tokens of their own, or are not."""

    def __init__(self, has_tags: bool = True, hides_tags: bool = False) -> None:
        self._has_tags, self._hides_tags = has_tags, hides_tags

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        assert not add_special_tokens
        if not self._has_tags:
            return [ord(letter) for letter in text]
        parts = re.split(f"({OPEN}|{CLOSE})", text)
        return [
            token
            for part in parts
            for token in ([TAG_IDS[part]] if part in TAG_IDS else map(ord, part))
        ]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        tags = {token: tag for tag, token in TAG_IDS.items()} if self._has_tags else {}
        if self._hides_tags and skip_special_tokens:
            tags = dict.fromkeys(tags, "")
        return "".join(tags.get(token, chr(token)) for token in ids)


ONE, HIDDEN, SEVERAL = _Tokenizer(), _Tokenizer(hides_tags=True), _Tokenizer(has_tags=False)
each_tokenizer = pytest.mark.parametrize(
    "tokenizer", [ONE, HIDDEN, SEVERAL], ids=["one_token", "one_special_token", "several_tokens"]
)
each_whole_tag = pytest.mark.parametrize(
    "tokenizer", [ONE, HIDDEN], ids=["one_token", "one_special_token"]
)


def _spelt(text: str) -> list[int]:
    """A text whose tags are spelt out, character by character."""
    return [ord(letter) for letter in text]


def _split(tokenizer: _Tokenizer, prompt: str, reply: str, at_first: bool = False) -> Split:
    ids, given = tokenizer.encode(prompt), tokenizer.encode(reply)
    return Thinking(tokenizer).split(ids, given, at_first=at_first)


@each_tokenizer
@pytest.mark.parametrize(
    ("prompt", "opening"),
    [(TEMPLATE_OPENS, ""), (MODEL_OPENS, f"{OPEN}\n"), (MODEL_OPENS, f"\n{OPEN}")],
    ids=["template_opens", "model_opens", "model_opens_after_a_line"],
)
def test_split_cuts_at_the_closing_tag_whoever_opened(
    tokenizer: _Tokenizer, prompt: str, opening: str
) -> None:
    thinking = f"{opening}six times seven\n{CLOSE}"
    found = _split(tokenizer, prompt, f"{thinking}\n\nIt is 42.")
    assert found == Split("six times seven", "It is 42.", len(tokenizer.encode(thinking)))


@each_tokenizer
@pytest.mark.parametrize("prompt", [HYBRID_OFF, MODEL_OPENS], ids=["hybrid_off", "no_thinker"])
def test_split_of_a_reply_without_thinking_is_all_final(tokenizer: _Tokenizer, prompt: str) -> None:
    assert _split(tokenizer, prompt, " It is 42.\n") == Split(None, "It is 42.", 0)


@each_whole_tag
@pytest.mark.parametrize(
    ("prompt", "opening"),
    [(TEMPLATE_OPENS, ""), (MODEL_OPENS, OPEN)],
    ids=["template_opens", "model_opens"],
)
def test_split_of_thinking_that_was_cut_has_no_final_part(
    tokenizer: _Tokenizer, prompt: str, opening: str
) -> None:
    reply = f"{opening}six times"
    found = _split(tokenizer, prompt, reply)
    assert found == Split("six times", "", len(tokenizer.encode(reply)))


@each_tokenizer
@pytest.mark.parametrize(
    ("at_first", "reasoning", "final"),
    [(False, "a</think>b", "c"), (True, "a", "b</think>c")],
    ids=["last", "first"],
)
def test_split_of_several_closing_tags_cuts_at_the_one_that_counts(
    tokenizer: _Tokenizer, at_first: bool, reasoning: str, final: str
) -> None:
    found = _split(tokenizer, TEMPLATE_OPENS, f"a{CLOSE}b{CLOSE}c", at_first)
    shown = "" if tokenizer is HIDDEN else CLOSE
    expected = [text.replace(CLOSE, shown) for text in (reasoning, final)]
    assert [found.reasoning, found.final_part] == expected


@each_whole_tag
def test_split_tag_that_is_merely_spelt_out_cuts_nothing(tokenizer: _Tokenizer) -> None:
    ids = [*_spelt(f"I could say {CLOSE} here"), TAG_IDS[CLOSE], *_spelt(f"{CLOSE} is a tag")]
    found = Thinking(tokenizer).split(tokenizer.encode(TEMPLATE_OPENS), ids, at_first=False)
    assert found.reasoning == f"I could say {CLOSE} here"
    assert found.final_part == f"{CLOSE} is a tag"


@each_tokenizer
@pytest.mark.parametrize("reply", ["", CLOSE, f"{OPEN}{CLOSE}", f"{OPEN}\n\n{CLOSE}\n\n"])
def test_split_of_next_to_nothing_has_no_final_part(tokenizer: _Tokenizer, reply: str) -> None:
    for prompt in (TEMPLATE_OPENS, MODEL_OPENS, HYBRID_OFF):
        found = _split(tokenizer, prompt, reply)
        assert (found.reasoning or "", found.final_part) == ("", "")
        assert found.num_reasoning_tokens <= len(tokenizer.encode(reply))


def test_split_tag_in_the_user_s_text_does_not_open_the_reply() -> None:
    prompt = f"<|user|>Is {OPEN} a tag?<|assistant|>"
    assert _split(ONE, prompt, "It is.") == Split(None, "It is.", 0)


@pytest.mark.parametrize(
    ("prompt", "is_opened"),
    [
        (f"<s>Is this one: {OPEN}<e>\n<s>me\n", False),
        (f"<s>Is this one: {OPEN}<e>\n<s>me\n{OPEN}\n", True),
        (f"<s>Is this one: {OPEN}<e>\n<s>me\n{OPEN}\n\n{CLOSE}", False),
        (f"<s>Is this one: {CLOSE}<e>\n<s>me\n{OPEN}", True),
    ],
)
def test_split_tag_that_ends_the_user_s_text_says_nothing_of_the_reply(
    prompt: str, is_opened: bool
) -> None:
    ends_of_turns = frozenset(map(ord, "<>"))
    thinking, ids = Thinking(ONE, ends_of_turns), ONE.encode(prompt)
    assert thinking.is_open(ids, ONE.encode("It is")) is is_opened
    found = thinking.split(ids, ONE.encode("It is"), at_first=False)
    assert found == (Split("It is", "", 5) if is_opened else Split(None, "It is", 0))


# ---- is it still thinking? ------------------------------------------------------------------


@each_whole_tag
@pytest.mark.parametrize(
    ("prompt", "reply", "is_open"),
    [
        (TEMPLATE_OPENS, "", True),
        (TEMPLATE_OPENS, "six times", True),
        (TEMPLATE_OPENS, f"six{CLOSE}", False),
        (TEMPLATE_OPENS, f'six{CLOSE}{{"answer', False),
        (MODEL_OPENS, f"{OPEN}six", True),
        (MODEL_OPENS, f"{OPEN}six{CLOSE}", False),
        (MODEL_OPENS, '{"answer', False),
        (HYBRID_OFF, '{"answer', False),
    ],
)
def test_is_open_while_all_of_it_is_thinking(
    tokenizer: _Tokenizer, prompt: str, reply: str, is_open: bool
) -> None:
    ids, given = tokenizer.encode(prompt), tokenizer.encode(reply)
    assert Thinking(tokenizer).is_open(ids, given) is is_open


def test_is_open_is_not_known_where_the_tags_are_several_tokens() -> None:
    ids, given = SEVERAL.encode(TEMPLATE_OPENS), SEVERAL.encode("six")
    assert not Thinking(SEVERAL).is_open(ids, given)

"""Token ids of a reply → its thinking and its final part, whoever opened the thinking.

Cut where the closing tag's own token stands, so that a tag that is merely spelt out cuts nothing;
knows no vLLM, only a tokenizer.
"""

from collections.abc import Sequence, Set
from typing import NamedTuple, Protocol

OPEN, CLOSE = "<think>", "</think>"
LAST = 8
"""tokens of a prompt in which its template can have opened, or ended, the thinking"""


class Tokenizer(Protocol):
    """What is needed of a Hugging Face tokenizer."""

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """Ids → text."""
        ...

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Text → ids."""
        ...


class Split(NamedTuple):
    """A reply in two."""

    reasoning: str | None
    """None: there was none"""
    final_part: str
    num_reasoning_tokens: int


class Thinking:
    """A model's thinking format."""

    def __init__(self, tokenizer: Tokenizer, special_ids: Set[int] = frozenset()) -> None:
        """Finds out whether the tags are tokens of their own.

        Args:
            tokenizer: the model's.
            special_ids: tokens that no message holds; what follows the last is the template's own.
        """
        self._tokenizer = tokenizer
        self._open, self._close = (self._id(tag) for tag in (OPEN, CLOSE))
        self._turns = special_ids - {self._open, self._close}

    def is_open(self, prompt: Sequence[int], ids: Sequence[int]) -> bool:
        """A prompt and what follows so far → whether that is all thinking, and goes on."""
        if self._close is None:
            return False
        return self._is_opened(prompt, ids) and self._close not in ids

    def split(self, prompt: Sequence[int], ids: Sequence[int], *, at_first: bool) -> Split:
        """A prompt and its whole reply → thinking and final part.

        Args:
            prompt: tells whether the chat template opened the thinking.
            ids: of the reply.
            at_first: a schema holds after the first closing tag; else the last one counts, since
                thinking may quote it.
        """
        places = [place for place, token in enumerate(ids) if token == self._close]
        if not places:
            if self._close is not None and self._is_opened(prompt, ids):
                return Split(self._text(ids).strip().removeprefix(OPEN).strip(), "", len(ids))
            return self._split_text(self._text(ids), len(ids), at_first)
        place = places[0] if at_first else places[-1]
        reasoning = self._text(ids[:place]).strip().removeprefix(OPEN).strip()
        return Split(reasoning, self._text(ids[place + 1 :]).strip(), place + 1)

    def _is_opened(self, prompt: Sequence[int], ids: Sequence[int]) -> bool:
        tag = None
        for token in prompt[-LAST:]:
            if token in self._turns:
                tag = None
            elif token in (self._open, self._close):
                tag = token
        return (tag is not None and tag == self._open) or self._open in ids[:4]

    def _split_text(self, text: str, num_tokens: int, at_first: bool) -> Split:
        """For vocabularies in which the tags are several tokens."""
        reasoning, tag, final = text.partition(CLOSE) if at_first else text.rpartition(CLOSE)
        if self._close is not None or not tag:
            return Split(None, text.strip(), 0)
        count = min(
            len(self._tokenizer.encode(reasoning + tag, add_special_tokens=False)), num_tokens
        )
        return Split(reasoning.strip().removeprefix(OPEN).strip(), final.strip(), count)

    def _text(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def _id(self, tag: str) -> int | None:
        """A tag → its id, if it is one token."""
        ids = self._tokenizer.encode(tag, add_special_tokens=False)
        return ids[0] if len(ids) == 1 else None

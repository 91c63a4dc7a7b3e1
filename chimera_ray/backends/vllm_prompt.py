"""Messages → the token ids of a prompt, by the model's own chat template.

What a problem says is text: a turn that it pretends to end is not ended.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from chimera_ray.llm import Message


class AddedToken(Protocol):
    """What is needed of a token that stands beside a tokenizer's vocabulary."""

    content: str
    special: bool


class ChatTokenizer(Protocol):
    """What is needed of a Hugging Face tokenizer, or of Mistral's own."""

    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, str]],
        *,
        add_generation_prompt: bool,
        tokenize: bool,
        return_dict: bool,
        **kwargs: object,
    ) -> Sequence[int]:
        """Messages → ids."""
        ...


class Prompts:
    """A model's chat template, and the words that mean something to it."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        """Learns the tokenizer's special tokens."""
        self._tokenizer = tokenizer
        # Mistral's own tokenizer has none, since it never reads a text as special.
        added: Mapping[int, AddedToken] = getattr(tokenizer, "added_tokens_decoder", {})
        self.special_ids = frozenset(place for place, token in added.items() if token.special)
        """tokens that no message of a prompt holds"""
        special = {added[place].content for place in self.special_ids}
        longest_first = sorted((text for text in special if len(text) > 1), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def ids_of(self, messages: Sequence[Message], args: Mapping[str, object]) -> list[int]:
        """Messages and the template's arguments → ids, up to where the reply begins.

        Raises:
            TemplateError: of Jinja; the template does not take these messages.
        """
        said = [{"role": message.role, "content": self._plain(message)} for message in messages]
        return list(
            self._tokenizer.apply_chat_template(
                said, add_generation_prompt=True, tokenize=True, return_dict=False, **args
            )
        )

    def _plain(self, message: Message) -> str:
        """A message's text, with a space in each special token, which is then none any more."""
        return self._special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", message.content)

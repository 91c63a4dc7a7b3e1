"""A server's words → what of them may be shown: no prompt, no secret, no control characters."""

import re

from chimera_ray.backends.openai_headers import secrets_of
from chimera_ray.llm import Request
from chimera_ray.model_config import OpenAIModel

SHOWN_CHARS = 200
QUOTE_CHARS = 16
"""so long a run of the prompt in a server's words is a quotation"""
KEY_CHARS, MIN_KEY_CHARS = 8, 4
"""so long a run of a secret is too much of it; what is shorter is none"""
_ESCAPES = re.compile(r"\\+[nrt]?|[\s\"']")
"""what a quotation may write in another way than the prompt does"""


def shown(said: str, config: OpenAIModel, request: Request, num_chars: int = SHOWN_CHARS) -> str:
    """A server's words → one line of them, empty if they quote the prompt or a secret."""
    words = " ".join(said.split())[:num_chars]
    if quotes_prompt(words, request) or _quotes_secret(words, config):
        return ""
    return "".join(char if char.isprintable() else "\ufffd" for char in words)


def quotes_prompt(words: str, request: Request) -> bool:
    """Whether words hold a run of what was asked, however it is escaped; capitals do not count."""
    plain = _ESCAPES.sub("", words).lower()
    prompts = (_ESCAPES.sub("", message.content).lower() for message in request.messages)
    return any(_shares(plain, prompt, QUOTE_CHARS) for prompt in prompts)


def _quotes_secret(words: str, config: OpenAIModel) -> bool:
    return any(
        len(secret) >= MIN_KEY_CHARS and _shares(words, secret, min(KEY_CHARS, len(secret)))
        for secret in secrets_of(config)
    )


def _shares(words: str, secret: str, num_chars: int) -> bool:
    runs = {words[at : at + num_chars] for at in range(len(words) - num_chars + 1)}
    return any(run in secret for run in runs)

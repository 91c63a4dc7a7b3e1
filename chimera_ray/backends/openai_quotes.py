"""A server's words → what of them may be shown: neither prompt nor key, no control characters."""

import os
import re

from chimera_ray.credentials import HIDDEN, redacted
from chimera_ray.llm import Request
from chimera_ray.model_config import OpenAIModel

SHOWN_CHARS = 300
QUOTE_CHARS = 16
"""so long a run of the prompt in a server's words is a quotation"""
KEY_CHARS, MIN_KEY_CHARS = 8, 4
"""so long a run of the key is too much of it; what is shorter is no key"""
SURE_KEY_CHARS = 12
"""so long a key is no word that a reply may hold, as `EMPTY` is"""
_ESCAPES = re.compile(r"\\+[nrt]?|[\s\"']")
"""what a quotation may write in another way than the prompt does"""
_LIKE_A_KEY = re.compile(
    r"\S*\*{2,}\S*|[\w-]{2,}(?:\.{3}|…)\w\S*|\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{16,}"
)
"""what a server made unreadable, or a long run of letters and digits"""


def shown(said: str, config: OpenAIModel, request: Request, num_chars: int = SHOWN_CHARS) -> str:
    """A server's words → one line of them, empty if they quote the prompt or the key."""
    words = without_key(redacted(" ".join(said.split())), config)[:num_chars]
    if quotes_prompt(words, request) or _quotes_key(words, config):
        return ""
    return "".join(char if char.isprintable() else "\ufffd" for char in words)


def without_key(said: str, config: OpenAIModel) -> str:
    """A reply's text → the same without the key that its call carried."""
    for key in _keys(config):
        if len(key) >= SURE_KEY_CHARS:
            said = said.replace(key, HIDDEN)
    return said


def masked(said: str, config: OpenAIModel) -> str:
    """A server's words about a key → the same without what may be one, whole or with stars."""
    return _LIKE_A_KEY.sub(lambda found: found[0] if found[0] in config.name else HIDDEN, said)


def quotes_prompt(words: str, request: Request) -> bool:
    """Whether words hold a run of what was asked, however it is escaped; capitals do not count."""
    plain = _ESCAPES.sub("", words).lower()
    prompts = (_ESCAPES.sub("", message.content).lower() for message in request.messages)
    return any(_shares(plain, prompt, QUOTE_CHARS) for prompt in prompts)


def _quotes_key(words: str, config: OpenAIModel) -> bool:
    return any(_shares(words, key, min(KEY_CHARS, len(key))) for key in _keys(config))


def _keys(config: OpenAIModel) -> list[str]:
    """A model's configuration → the secrets that its calls carry."""
    key = os.environ.get(config.api_key_env or "", "").strip()
    return [key] if len(key) >= MIN_KEY_CHARS else []


def _shares(words: str, secret: str, num_chars: int) -> bool:
    runs = {words[at : at + num_chars] for at in range(len(words) - num_chars + 1)}
    return any(run in secret for run in runs)

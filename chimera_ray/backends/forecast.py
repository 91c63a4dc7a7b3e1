"""About what a call will use, learnt from the calls before it."""

from chimera_ray.llm import Request, Usage

CHARS_PER_TOKEN = 4
FIRST_OUTPUT_TOKENS = 1_000
"""until there has been a reply"""
WEIGHT = 0.05
"""of the newest reply"""


def estimated_tokens(num_chars: int) -> int:
    """Characters → about as many tokens."""
    return -(-num_chars // CHARS_PER_TOKEN)


class Forecast:
    """What the next call of one model will use: its prompt's length, and a running mean."""

    def __init__(self, max_tokens: int | None) -> None:
        """Nothing is known but the limit on output tokens, if there is one."""
        self._output_tokens = float(min(max_tokens or FIRST_OUTPUT_TOKENS, FIRST_OUTPUT_TOKENS))

    def usage(self, request: Request) -> Usage:
        """Request → about what its call will use."""
        num_chars = sum(len(message.content) for message in request.messages)
        return Usage(estimated_tokens(num_chars), 0, round(self._output_tokens))

    def learn(self, usage: Usage) -> None:
        """Takes in what a call has used."""
        self._output_tokens += WEIGHT * (usage.output_tokens - self._output_tokens)

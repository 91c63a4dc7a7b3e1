"""How a stage's fields are asked for: in the configured way, or in a weaker one the server takes.

A 400 or 422 may mean the way, the prompt or anything else, and servers rarely say which. So each is
tried in a weaker way before it counts, and the weaker way is kept once it is clear that it helps.
"""

from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_error_body import error_body
from chimera_ray.backends.openai_verdicts import names_format
from chimera_ray.model_config import Structured

_WEAKER: dict[Structured, Structured] = {"json_schema": "json_object", "json_object": "none"}
MAX_DOUBTS = 3
"""calls that only a weaker way helped, though no answer named the way, until that is kept"""


class StructuredOutput:
    """The way that one model's calls ask for fields, as far as its server's answers have told."""

    def __init__(self, configured: Structured) -> None:
        """Begins with the configured way."""
        self.way: Structured = configured
        self._has_worked = False
        self._num_doubts = 0

    def weaker(self, way: Structured, refusal: Answer) -> Structured:
        """A way and the answer that may refuse it → the way to try next.

        One step weaker where the answer names the way; else the one that surely is not refused,
        so that a row which is wrong for another reason is sent twice at most.
        """
        return _WEAKER[way] if names_way(refusal) else "none"

    def took(self, way: Structured) -> None:
        """A call with fields has its reply in this way."""
        if way == self.way:
            self._has_worked = True

    def helped(self, refused: Structured, refusal: Answer, way: Structured) -> None:
        """A call whose way was refused has its reply in a weaker one, which may be kept."""
        if refused != self.way:  # another call has settled it
            return
        self._num_doubts += 1
        is_doubted = not self._has_worked and self._num_doubts >= MAX_DOUBTS
        if names_way(refusal) or is_doubted:
            self.way, self._has_worked, self._num_doubts = way, True, 0


def names_way(refusal: Answer) -> bool:
    """Whether an answer speaks of the way in which fields are asked for."""
    return names_format(error_body(refusal.body))

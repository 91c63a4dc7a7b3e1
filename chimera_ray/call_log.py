"""The calls of one piece of work: what an earlier try paid for, and which seed comes next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chimera_ray.schemas import Call, digest


@dataclass(slots=True)
class CallLog:
    """The calls of one piece of work: those made now, and those that an earlier try paid for."""

    work_id: str
    earlier: Sequence[Call] = ()
    calls: list[Call] = field(default_factory=list)
    on_call: Callable[[], None] = lambda: None
    """told of each call that was made, replayed ones aside"""
    is_cut_final: bool = True
    """a reply that was cut in its second chance too is not asked for anew"""

    def take_earlier(self, role: str, prompt_id: str) -> Call | None:
        """The reply already paid for, if there is one."""
        nth = sum(
            c.status == "ok" for c in self.calls if (c.role, c.prompt_id) == (role, prompt_id)
        )
        same = [c for c in self.earlier if (c.role, c.prompt_id) == (role, prompt_id)]
        usable = [call for call in same if call.status == "ok"]
        return usable[nth] if nth < len(usable) else None

    def withdraw(self, role: str, prompt_id: str, why: str) -> None:
        """A question → the last reply to it is used up, since it proved unusable later on."""
        for place in range(len(self.calls) - 1, -1, -1):
            call = self.calls[place]
            if (call.role, call.prompt_id, call.status) == (role, prompt_id, "ok"):
                self.calls[place] = call._replace(status="unparsable", error=why)
                return

    def next_seed(self, role: str, prompt_id: str) -> int:
        """A question → the seed of its next call: by how many were made of it, in any try."""
        return self._seed(role, prompt_id, len(self._known(role, prompt_id)))

    def cut(self, role: str, prompt_id: str) -> tuple[Call, ...]:
        """A question → its last call that was cut at its limit, and that one's second chance.

        Shapes:
            none; one, whose second chance is due; or two, both of them cut.
        """
        known = self._known(role, prompt_id)
        # A record lists the calls of its own try before the older ones; the seeds tell their age.
        age = {self._seed(role, prompt_id, num): num for num in range(len(known))}
        pair: tuple[Call, ...] = ()
        for call in sorted(known.values(), key=lambda call: age.get(call.seed, -1)):
            if call.status == "truncated" and len(pair) == 1:
                pair = (*pair, call)
            elif call.status == "truncated":
                pair = (call,) if call.finish_reason == "length" else ()
            elif call.status == "ok":
                pair = ()
        return pair

    def _known(self, role: str, prompt_id: str) -> dict[int, Call]:
        """A question → its calls by seed; of a call's attempts, the one that ended it."""
        both = [
            call
            for call in (*self.earlier, *self.calls)
            if (call.role, call.prompt_id) == (role, prompt_id)
        ]
        return {call.seed: call for call in sorted(both, key=lambda call: call.attempts)}

    def _seed(self, role: str, prompt_id: str, num_tries: int) -> int:
        return int(digest("seed", self.work_id, role, prompt_id, str(num_tries))[:8], 16) >> 1

"""A model's raw output → its reasoning and its final part."""

_OTHER_TAGS = (
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
)
"""each counts only where the output begins with it, since it may be a word of the answer"""
_CHANNEL, _FINAL_CHANNEL = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"
_ENDS = ("<|return|>", "<|end|>")


def split_reasoning(text: str) -> tuple[str | None, str]:
    """Raw output → its reasoning and its final part, cut at the last `</think>`.

    The last one, because reasoning may quote the tag, and a final part that lost its beginning
    still ends with its answer, while a final part that holds reasoning may show another answer.
    The opening tag may be missing: some chat templates open the reasoning themselves. Without a
    closing tag all is final part, or, after an opening tag, all is reasoning that was cut.
    """
    start = text.lstrip()
    for opening, closing in _OTHER_TAGS:
        if start.startswith(opening):
            return _cut(start.removeprefix(opening), closing)
    if start.startswith(("<|start|>assistant" + _CHANNEL, _CHANNEL)):
        reasoning, final = _cut(start.partition(_CHANNEL)[2], _FINAL_CHANNEL)
        for end in _ENDS:
            final = final.removesuffix(end).rstrip()
        return reasoning.partition(_ENDS[1])[0].strip(), final
    if "</think>" in text or start.startswith("<think>"):
        return _cut(start.removeprefix("<think>"), "</think>")
    return None, text


def is_blank(text: str) -> bool:
    """Text → whether nobody would see anything of it: white space, controls, zero-width marks."""
    return not any(char.isprintable() and not char.isspace() for char in text)


def _cut(text: str, closing: str) -> tuple[str, str]:
    """Text after an opening tag → reasoning and final part; unclosed, it is all reasoning."""
    reasoning, tag, final = text.rpartition(closing)
    return (reasoning.strip(), final.strip()) if tag else (text.strip(), "")

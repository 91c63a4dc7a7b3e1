"""A model's raw output → its reasoning and its final part."""


def split_reasoning(text: str) -> tuple[str | None, str]:
    """Raw output → its reasoning and its final part, cut at the last `</think>`.

    The last one, because reasoning may quote the tag, and a final part that lost its beginning
    still ends with its answer, while a final part that holds reasoning may show another answer.
    The opening tag may be missing: some chat templates open the reasoning themselves. Without a
    closing tag all is final part, or, after an opening tag, all is reasoning that was cut.
    """
    reasoning, tag, final = text.rpartition("</think>")
    if tag:
        return reasoning.strip().removeprefix("<think>").strip(), final.strip()
    start = text.lstrip()
    if start.startswith("<think>"):
        return start.removeprefix("<think>").strip(), ""
    return None, text


def is_blank(text: str) -> bool:
    """Text → whether nobody would see anything of it: white space, controls, zero-width marks."""
    return not any(char.isprintable() and not char.isspace() for char in text)

"""Prompts: one Markdown file per stage, or per call of a stage, filled by Jinja.

They are package data because they are identity: a changed prompt is a changed stage fingerprint.
Undefined fields are errors, and LaTeX braces pass through untouched.
"""

import re
from functools import cache
from pathlib import Path

import jinja2

_FOLDER = Path(__file__).parent
_JINJA = jinja2.Environment(
    undefined=jinja2.StrictUndefined,
    loader=jinja2.FileSystemLoader(_FOLDER),
    keep_trailing_newline=False,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,  # noqa: S701  (the reader is a model, not a browser)
)


def render(name: str, **fields: object) -> str:
    """A prompt's name and its fields → the text that is sent.

    Fields come from models and are not to be trusted: none of them can close a tag that the prompt
    itself opens around its material.
    """
    return _template(name).render(**fields).strip()


def sources(stage: str) -> dict[str, str]:
    """A stage's name → the source texts of its prompts, by name: what its fingerprint covers."""
    paths = sorted(_FOLDER.glob("*.md"))
    names = {path.stem: path for path in paths if path.stem.split(".")[0] == stage}
    return {name: path.read_text(encoding="utf-8") for name, path in names.items()}


@cache
def _template(name: str) -> jinja2.Template:
    """A prompt's template, in which whatever is filled in loses the prompt's own closing tags."""
    source = (_FOLDER / f"{name}.md").read_text(encoding="utf-8")
    tags = sorted(set(re.findall(r"</(\w+)>", source)))
    if not tags:
        return _JINJA.get_template(f"{name}.md")
    closing = re.compile(rf"<(?=\s*/\s*(?:{'|'.join(tags)})\b)", re.IGNORECASE)

    def fence(value: object) -> object:
        return closing.sub("&lt;", value) if isinstance(value, str) else value

    return _JINJA.overlay(finalize=fence).get_template(f"{name}.md")

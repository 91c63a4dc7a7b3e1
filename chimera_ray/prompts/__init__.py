"""Prompts: one Markdown file per stage, or per call of a stage, filled by Jinja.

They are package data because they are identity: a changed prompt is a changed stage fingerprint.
Undefined fields are errors, and LaTeX braces pass through untouched.
"""

import re
from functools import cache, lru_cache
from pathlib import Path

import jinja2

from chimera_ray.text.placeholders import Passages, copies_prompt, prompt_passages
from chimera_ray.text.skeleton import skeleton

_FOLDER = Path(__file__).parent
_NOT_PLAIN = re.compile(r"[^\x20-\x7e\n\t\r]")
_JINJA = jinja2.Environment(
    undefined=jinja2.StrictUndefined,
    loader=jinja2.FileSystemLoader(_FOLDER),
    keep_trailing_newline=False,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,  # noqa: S701  (the reader is a model, not a browser)
)
_GLOBALS = dict(_JINJA.globals)


def render(name: str, **fields: object) -> str:
    """A prompt's name and its fields → the text that is sent.

    Fields come from models and are not to be trusted: none of them can close a tag that the prompt
    itself opens around its material.
    """
    template = _template(name)
    # Shared, so that it is not looked up in a chain of dicts, which costs as much as all the rest.
    context = template.new_context(_GLOBALS | fields, shared=True)
    return template.environment.concat(template.root_render_func(context)).strip()


def sources(stage: str) -> dict[str, str]:
    """A stage's name → the source texts of its prompts, by name: what its fingerprint covers."""
    paths = sorted(_FOLDER.glob("*.md"))
    names = {path.stem: path for path in paths if path.stem.split(".")[0] == stage}
    return {name: path.read_text(encoding="utf-8") for name, path in names.items()}


def repeats_prompt(name: str, text: str, *also: str) -> bool:
    """A prompt's name and a part of a reply to it → whether that says the prompt again.

    Args:
        name: of the prompt, whose instructions count and whose filled-in material does not.
        text: what the model wrote.
        also: material that counts after all, as a draft's facet does.
    """
    return copies_prompt(text, _passages(name, also))


@lru_cache(maxsize=256)
def _passages(name: str, also: tuple[str, ...]) -> Passages:
    source = (_FOLDER / f"{name}.md").read_text(encoding="utf-8")
    return prompt_passages(source, *also)


@cache
def _template(name: str) -> jinja2.Template:
    """A prompt's template, in which whatever is filled in loses the prompt's own closing tags."""
    source = (_FOLDER / f"{name}.md").read_text(encoding="utf-8")
    tags = sorted(set(re.findall(r"</(\w+)>", source)))
    if not tags:
        return _JINJA.get_template(f"{name}.md")
    closing = re.compile(rf"<(?=\s*+[/\\]\s*+(?:{'|'.join(tags)})(?![a-z0-9_]))")

    def fence(value: object) -> object:
        return _fenced(value, closing) if isinstance(value, str) else value

    return _JINJA.overlay(finalize=fence).get_template(f"{name}.md")


def _fenced(text: str, closing: re.Pattern[str]) -> str:
    """Text → the same, each bracket that opens a closing tag, or what looks like one, disarmed."""
    is_plain = _NOT_PLAIN.search(text) is None
    seen, positions = (text.lower(), None) if is_plain else skeleton(text)
    kept: list[str] = []
    end = 0
    for found in closing.finditer(seen):
        position = found.start() if positions is None else positions[found.start()]
        kept += [text[end:position], "&lt;"]
        end = position + 1
    return "".join([*kept, text[end:]])

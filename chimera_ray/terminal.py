"""What a person reads is shown by this: texts as text, whoever wrote them, and whole.

No text is markup, what would act on a terminal is written out, and nothing is cut off unsaid:
tables fold, and a terminal that is too narrow wraps what it is given.
"""

import shutil

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from chimera_ray.text.shown import block, line, shortened

SHOWN_CHARS = 700
WIDTH = 140
"""columns, where there is no terminal"""
MIN_WIDTH = 80
"""columns of what is shown on a narrower terminal"""


def console() -> Console:
    """The terminal as wide as it is; a file, a pipe or a narrow terminal wide enough."""
    found = Console()
    width = None if found.width >= MIN_WIDTH else MIN_WIDTH
    width = width if found.is_terminal else WIDTH
    return Console(width=width, markup=False, emoji=False, highlight=False)


def is_live(on: Console) -> bool:
    """Whether a display can be drawn there over and over in one place."""
    is_wide = shutil.get_terminal_size().columns >= MIN_WIDTH
    return on.is_terminal and not on.is_dumb_terminal and is_wide


def plain(text: str, max_chars: int = SHOWN_CHARS) -> Text:
    """A text of several lines → the same, safe for a terminal and not longer than wanted."""
    return Text(block(shortened(text, max_chars)))


def said(text: str, style: str = "") -> Text:
    """A text → one line of it, safe for a terminal and whole."""
    return Text(line(text), style)


def say(on: Console, text: str) -> None:
    """Prints one line, however long."""
    on.print(said(text), soft_wrap=True)


class Grid(Table):
    """A table of texts and numbers; none of its cells is markup or cut off."""

    def __init__(self, title: str | None, *texts: str, caption: str | None = None) -> None:
        """A title, and the names of its columns of text."""
        super().__init__(
            title=None if title is None else said(title),
            title_justify="left",
            caption=None if caption is None else said(caption),
            caption_justify="left",
        )
        self.add_texts(*texts)

    def add_texts(self, *names: str) -> None:
        """Columns of text, to the left."""
        for name in names:
            self.add_column(said(name), overflow="fold")

    def add_numbers(self, *names: str) -> None:
        """Columns of numbers, to the right."""
        for name in names:
            self.add_column(said(name), justify="right", overflow="fold")

    def add(self, *cells: RenderableType, style: str | None = None, ends: bool = False) -> None:
        """A row; a string is one line of text."""
        texts = (said(cell) if isinstance(cell, str) else cell for cell in cells)
        self.add_row(*texts, style=style, end_section=ends)

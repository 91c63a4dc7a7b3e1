"""Text that acts on its reader, sent through every place that shows a text."""

import html
import json
import re
import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hostile import HOSTILE, require_harmless, require_whole
from rich.console import Console, RenderableType
from runs import STAGES as PAPER
from runs import Run, built, config_of, records_of

from chimera_ray import report_check, report_plan
from chimera_ray.account import account_for
from chimera_ray.build import Manifest
from chimera_ray.config import ROLES, Config, read_config
from chimera_ray.graph import build_graph
from chimera_ray.ledger.parts import is_part, part_name, write_part
from chimera_ray.llm import Usage
from chimera_ray.model_check import Answer
from chimera_ray.plan import plan_run
from chimera_ray.progress import Progress
from chimera_ray.report import preview, status, summary
from chimera_ray.status import read_status
from chimera_ray.terminal import MIN_WIDTH, WIDTH, console

TEXTS = [text for name, text in HOSTILE.items() if name != "halves"]
"""a configuration takes no half of a character"""
SUBJECTS = {text[:200]: 1 for text in TEXTS}
OWN_ESCAPES = re.compile("\x1b\\[[0-9;?]*[A-Za-z]")
"""colours and cursor movements that rich itself writes"""


def _name(role: str) -> str:
    return f"{role} {TEXTS[ROLES.index(role)]} {TEXTS[ROLES.index(role) + 4]}"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A recipe in which every text that a user or a file can give is hostile."""
    folder = tmp_path_factory.mktemp("[red]out")
    items = [{"id": text, "problem": f"What is {n} + {n}?"} for n, text in enumerate(TEXTS)]
    path = folder / "items|[b].jsonl"
    path.write_text("\n".join(map(json.dumps, items)))
    benchmark = {"name": TEXTS[1], "path": str(path)}
    return config_of(
        folder / "[/b]<script>",
        drafts=1,
        stages=(*PAPER[:5], "decontaminate_problem", *PAPER[5:]),
        subjects=SUBJECTS,
        params={"decontaminate_problem": {"benchmarks": [benchmark]}},
        models={role: {"name": _name(role)} for role in ROLES},
    )


@pytest.fixture(scope="module")
def manifest(config: Config) -> Manifest:
    """That recipe, run to its end, some rows with reasons and details as hostile."""
    run = Run(config)
    for name, outcome in (("draft_problem", "rejected"), ("expand_topics", "rejected")):
        standing = run.stage(name)
        records = records_of(standing)
        for at, text in enumerate([*TEXTS[:2], HOSTILE["halves"], TEXTS[5]]):
            records[at] = records[at]._replace(
                outcome=outcome, reason=text[:60], detail=text, outputs=()
            )
        for part in filter(is_part, run.store.names(standing.folder)):
            run.store.delete(f"{standing.folder}/{part}")
        write_part(run.store, standing.folder, part_name("tests", 0), records)
    return built(config)


def _page(shown: RenderableType, width: int = 400) -> str:
    """What a console that knows of nothing prints."""
    written = StringIO()
    Console(file=written, width=width).print(shown)
    return written.getvalue()


def test_summary_and_status_show_every_text_as_text(config: Config, manifest: Manifest) -> None:
    run = build_graph(config).run_name
    found = read_status(Run(config).store, run)
    for page in (_page(summary(manifest)), _page(status(found))):
        require_harmless(page)
        for role in manifest.account.roles:
            require_whole(page, *_words(_name(role)))
        require_whole(page, *_words(TEXTS[0][:60]))
    require_whole(_page(summary(manifest)), *_words(str(config.output_dir)))


def _words(text: str) -> list[str]:
    """The printable words of a text; a table may break it between any two."""
    return re.findall("[a-z0-9]{2,}", text)


def test_preview_shows_every_text_as_text(config: Config, manifest: Manifest) -> None:
    page = _page(preview(Run(config).standings, 20))
    require_harmless(page)
    for text in TEXTS[:2]:
        require_whole(page, *_words(text))


def test_plan_shows_every_text_as_text(config: Config, manifest: Manifest) -> None:
    store = Run(config).store
    plan = plan_run(config, build_graph(config), store)
    page = _page(report_plan.plan(plan, config))
    require_harmless(page)
    for role in ROLES:
        require_whole(page, *_words(_name(role)))


def test_card_shows_every_text_as_text(manifest: Manifest) -> None:
    assert manifest.published is not None
    card = (Path(manifest.published.folder) / "README.md").read_text(encoding="utf-8")
    require_harmless(card)
    prose, _, rest = card.partition("```json")
    fenced, _, _ = rest.partition("```")
    json.loads(fenced)
    assert "<script" not in card
    assert "](" not in card
    for line in prose.splitlines():
        if line.startswith("|"):
            assert line.count("|") in (3, 6, 7)
    assert "items" not in fenced  # the benchmark's file, which is this machine's alone
    for subject in manifest.published.by_subject:
        require_whole(html.unescape(prose), *_words(subject))


def test_card_has_the_headings_of_its_template_and_no_other(manifest: Manifest) -> None:
    assert manifest.published is not None
    card = (Path(manifest.published.folder) / "README.md").read_text(encoding="utf-8")
    titles = re.findall("^#+ (.*)$", card.split("---\n", 2)[2], re.MULTILINE)
    assert titles[1:] == ["How it was made", "Overlap with benchmarks", "Columns"]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_model_check_shows_every_text_as_text(text: str) -> None:
    answer = Answer("stop", Usage(1, 0, 2, 0), 0.1, 1.0, text, text)
    model: Any = type("Model", (), {"name": text, "num_gpus": 1})
    require_harmless(_page(report_check.part(answer, model)))
    written = StringIO()
    lines = report_check.EngineLines(Console(file=written, width=80), 1.0)
    lines([_note(text)])
    require_harmless(written.getvalue())
    assert written.getvalue().count("\n") == 1


def _note(text: str) -> dict[str, Any]:
    counts = dict.fromkeys(("cache_tokens", "num_running", "num_generated", "since"), 0)
    return {"model": text, "state": text, **counts}


class _Carrier:
    """Carries nothing, and says when it was asked for the engines a second time."""

    def __init__(self, text: str) -> None:
        self.is_shown = threading.Event()
        self._text, self._asked = text, 0

    def carry(self, standings: object) -> None:
        return

    def engines(self) -> list[dict[str, Any]]:
        self._asked += 1
        if self._asked > 1:
            self.is_shown.set()
        return [_note(self._text)]

    def in_flight(self) -> dict[str, int]:
        return {}

    def notices(self) -> list[str]:
        return [self._text]

    def close(self) -> None:
        return


@pytest.mark.parametrize("is_terminal", [False, True], ids=["pipe", "terminal"])
def test_progress_shows_every_text_as_text(
    config: Config, manifest: Manifest, is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    run, carrier = Run(config), _Carrier(" ".join(TEXTS))
    written = StringIO()
    page = Console(file=written, width=400, force_terminal=is_terminal)
    with Progress(run.graph, run.store, carrier, run.id, 0.01, page) as progress:
        progress.watch(run.standings)
        assert carrier.is_shown.wait(30)
    shown = OWN_ESCAPES.sub("", written.getvalue()).replace("\r", "")
    require_harmless(shown)
    require_whole(shown, "solver[/b]", "javascript:alert(1)")


@pytest.mark.parametrize("name", ["models", "recipe", "output_dir", "runtime"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_error_of_a_configuration_keeps_its_words(name: str, text: str) -> None:
    with pytest.raises(Exception, match=name) as caught:
        read_config({name: {text: text}})
    assert type(caught.value).__name__ == "ConfigError"


EACH_PAGE: dict[str, Callable[[Manifest, Config], RenderableType]] = {
    "summary": lambda manifest, config: summary(manifest),
    "preview": lambda manifest, config: preview(Run(config).standings, 5),
    "plan": lambda manifest, config: report_plan.plan(
        plan_run(config, build_graph(config), Run(config).store), config
    ),
}


@pytest.mark.parametrize("page", EACH_PAGE.values(), ids=EACH_PAGE)
@pytest.mark.parametrize("columns", ["20", "60", "200"])
def test_page_on_a_terminal_of_any_width_is_whole(
    config: Config,
    manifest: Manifest,
    page: Callable[[Manifest, Config], RenderableType],
    columns: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = page(manifest, config)
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    on = console()
    assert on.width == max(int(columns), MIN_WIDTH)
    with on.capture() as captured:
        on.print(shown)
    narrow = OWN_ESCAPES.sub("", captured.get())
    require_harmless(narrow)
    wide = OWN_ESCAPES.sub("", _page(shown, 2_000))
    assert sorted(_signs(narrow)) == sorted(_signs(wide))


def _signs(page: str) -> str:
    """A page → its signs, without spaces and the frames of its tables."""
    return re.sub(r"[\s\u2500-\u257f]", "", page)


def test_page_in_a_pipe_or_without_colour_has_no_escapes(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    on = console()
    assert on.width == WIDTH
    with on.capture() as captured:
        on.print(summary(manifest))
    assert "\x1b" not in captured.get()
    assert "…" not in captured.get()


def test_account_of_hostile_names_is_what_the_ledger_says(
    config: Config, manifest: Manifest
) -> None:
    run = Run(config)
    assert account_for(run.standings, run.store) == manifest.account
    assert manifest.account.models["solver"] == [_name("solver")]

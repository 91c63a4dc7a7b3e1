"""What a person reads: the account of a run as tables, and rows as a preview shows them."""

from collections.abc import Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from chimera_ray.account import Account, RoleAccount
from chimera_ray.audit import Audit
from chimera_ray.audit_labels import Measure
from chimera_ray.build import Manifest
from chimera_ray.card import Published
from chimera_ray.contamination import Contamination
from chimera_ray.frontier import Standing
from chimera_ray.ledger.index import ACCEPTED, FAILED, REJECTED
from chimera_ray.schemas import Problem
from chimera_ray.status import Status
from chimera_ray.terminal import Grid, plain, said

FORM_LABELS = 20
"""labels of a form of answer from which on it is shown without an error, too"""


def summary(manifest: Manifest) -> RenderableType:
    """A manifest → what happened, and what to do next."""
    account, published = manifest.account, manifest.published
    lines = _account_lines(
        account,
        manifest.models,
        manifest.benchmarks,
        manifest.audit,
        manifest.warnings,
        manifest.paid_by_this_execution,
    )
    if manifest.contamination is not None:
        lines.append(contamination_table(manifest.contamination))
    if manifest.unpublished is not None:
        lines.append(said(manifest.unpublished))
    if published is not None:
        lines += _published_lines(published)
    return Group(*lines)


def _published_lines(published: Published) -> list[Text]:
    lines = [
        said(
            f"{published.examples:,} examples ({published.correct:,} correct) over "
            f"{published.topics:,} topics: {published.folder}"
        )
    ]
    if published.left_out:
        lines.append(
            said(
                f"left out of the data set, which has columns of these names already: "
                f"{', '.join(published.left_out)}"
            )
        )
    return lines


def status(found: Status) -> RenderableType:
    """A run's status → the same tables as at its end."""
    account = found.account
    if account.is_complete and found.is_finished:
        state = "finished"
    elif any(stage.todo for stage in account.stages):
        state = "not finished; the same command goes on from here"
    else:
        state = "worked off" if found.is_finished else "worked off, not published"
    lines = _account_lines(
        account, found.models, found.benchmarks, found.audit, found.warnings, None
    )
    if found.unpublished is not None:
        lines.append(said(found.unpublished))
    return Group(said(f"{found.run}: {state}", "bold"), *lines)


def _account_lines(
    account: Account,
    models: dict[str, str],
    benchmarks: Sequence[str],
    audit: Audit | None,
    warnings: Sequence[str],
    paid_now: dict[str, RoleAccount] | None,
) -> list[RenderableType]:
    lines: list[RenderableType] = [stage_table(account), role_table(account, models, paid_now)]
    if account.declined_checks:
        lines.append(checks_table(account))
    if audit is not None:
        lines.append(audit_table(audit))
        if audit.forms:
            lines.append(forms_table(audit))
    lines += [said(warning) for warning in warnings]
    lines.append(said(_decontamination(account, benchmarks)))
    lines += [said(f"set aside, corrupt: {path}", "red") for path in account.set_aside]
    num_estimated = sum(counts.is_usage_estimated for counts in account.roles.values())
    if num_estimated:
        lines.append(
            said(
                f"{num_estimated:,} calls did not say what they used: their tokens, and so their "
                "cost, are estimated from the lengths of their texts."
            )
        )
    failed = sum(stage.failed for stage in account.stages)
    if failed:
        lines.append(said(f"{failed:,} rows failed; the same command again tries them alone."))
    return lines


def _decontamination(account: Account, benchmarks: Sequence[str]) -> str:
    if not any(stage.stage == "decontaminate_problem" for stage in account.stages):
        return "Decontamination: not in this recipe; nothing was compared with any benchmark."
    if not benchmarks:
        return "Decontamination: no benchmark was configured, so nothing was compared."
    return f"Decontamination: compared with {', '.join(benchmarks)}."


def stage_table(account: Account) -> Grid:
    """An account → one line for each stage."""
    table = Grid("Stages", "stage")
    table.add_numbers("inputs", "accepted", "rejected", "failed", "to do", "outputs")
    table.add_texts("reasons")
    for stage in account.stages:
        reasons = {**stage.rejected_reasons, **stage.failed_reasons}
        if stage.repeats:
            reasons["repeated inputs"] = stage.repeats
        table.add(
            stage.stage,
            *(
                f"{count:,}"
                for count in (
                    stage.inputs,
                    stage.accepted,
                    stage.rejected,
                    stage.failed,
                    stage.todo,
                    stage.outputs,
                )
            ),
            ", ".join(f"{reason} {count:,}" for reason, count in reasons.items()),
        )
    return table


def role_table(
    account: Account, models: dict[str, str], paid_now: dict[str, RoleAccount] | None
) -> Grid:
    """An account → one line for each role: calls, tokens and cost, in all and of this run."""
    table = Grid("Calls behind these rows, each once", "role", "model")
    table.add_numbers("calls", "input tokens", "output tokens", "cost USD")
    if paid_now is not None:
        table.add_numbers("calls of this run")
    for role, counts in account.roles.items():
        now = [] if paid_now is None else [f"{paid_now.get(role, RoleAccount()).calls:,}"]
        table.add(role, models.get(role, ""), *_spent(counts), *now)
    total = _total(account.roles)
    now = [] if paid_now is None else [f"{_total(paid_now).calls:,}"]
    table.add("all", "", *_spent(total), *now, ends=True)
    return table


def checks_table(account: Account) -> Grid:
    """An account → why declined problems fell, by verifier and check."""
    table = Grid("Declined problems by failed check", "verifier")
    checks = sorted({check for found in account.declined_checks.values() for check in found})
    table.add_numbers(*checks)
    for verifier, found in account.declined_checks.items():
        table.add(verifier, *(f"{found.get(check, 0):,}" for check in checks))
    return table


def audit_table(audit: Audit) -> Grid:
    """An audit against the simulated truth → what the pipeline let through."""
    table = Grid("Audit against the simulated truth", "measure")
    table.add_numbers("value", "of", "share (95% interval)")
    for measure in audit.measures:
        table.add(measure.name, f"{measure.count:,}", f"{measure.total:,}", _share_of(measure))
    return table


def forms_table(audit: Audit) -> Grid:
    """An audit against the simulated truth → its labels by form of answer.

    Left to the manifest: forms of few labels without an error.
    """
    shown = [
        found
        for found in audit.forms
        if found.labels >= FORM_LABELS or found.wrong_by_rule.count or found.wrong_by_grader.count
    ]
    left = (
        f"{len(audit.forms) - len(shown)} more forms, of fewer than {FORM_LABELS} labels each and "
        "without an error, are in the manifest"
    )
    table = Grid("Labels by form of answer (95% intervals)", "form", caption=left)
    table.add_numbers("labels", "equal pairs decided by rule", "wrong accepts by rule")
    table.add_numbers("errors by grader")
    for found in shown:
        measures = (found.by_rule, found.wrong_by_rule, found.wrong_by_grader)
        table.add(
            found.form,
            f"{found.labels:,}",
            *(f"{m.count:,} of {m.total:,}  {_share_of(m)}" for m in measures),
        )
    return table


def _share_of(measure: Measure) -> str:
    interval = measure.interval
    if interval is None:
        return "-"
    return f"{measure.share:.3f} ({interval[0]:.3f}-{interval[1]:.3f})"


def contamination_table(found: Contamination) -> Grid:
    """A run's overlap with its benchmarks → the paper's Table 4, and the highest pairs by id."""
    title = f"Highest Jaccard with any of {found.items:,} benchmark items, unweighted"
    table = Grid(title, "n-grams", "problems")
    table.add_numbers("of so many", "mean")
    table.add_texts("highest pairs")
    for score in found.scores:
        for name, overlap in (("published", score.published), ("judged", score.judged)):
            mean = "-" if overlap.mean is None else f"{overlap.mean:.3g}"
            pairs = [
                said(f"{pair.problem_id} {pair.item_id} {pair.jaccard:.3f}")
                for pair in overlap.highest
            ]
            shown = Text("\n").join(pairs)
            table.add(f"Score_{score.ngram_words}", name, f"{overlap.problems:,}", mean, shown)
    return table


def preview(standings: Sequence[Standing], max_rows: int) -> RenderableType:
    """Standings → a few of each stage's rows, as a person would want to read them."""
    panels: list[RenderableType] = []
    for standing in standings:
        lines: list[RenderableType] = []
        places = np.arange(min(max_rows, len(standing.inputs.ids)))
        known = standing.found.position[places]
        records = standing.index.records(known[known >= 0])
        for position in known:
            if position < 0:
                continue
            record = records[int(position)]
            if not record.outputs:
                lines.append(said(f"{record.outcome}: {record.reason} ", "yellow"))
                lines.append(plain(f"  {record.detail}"))
            for output in record.outputs[:max_rows]:
                lines += [*_fields(standing, output.payload), Text("")]
            more = len(record.outputs) - max_rows
            if more > 0:
                lines.append(said(f"… and {more} more", "dim"))
        counts = ", ".join(
            f"{standing.count(code)} {name}"
            for code, name in ((ACCEPTED, "accepted"), (REJECTED, "rejected"), (FAILED, "failed"))
        )
        title = said(f"{standing.node.name}: {counts}")
        panels.append(Panel(Group(*lines), title=title, title_align="left"))
    return Group(*panels)


def _fields(standing: Standing, payload: str) -> list[RenderableType]:
    """A row's fields that its stage has added, one to a line."""
    row = standing.node.gives.model_validate_json(payload)
    known = standing.node.takes.model_fields
    added = [
        Text.assemble((f"{name}: ", "bold cyan"), plain(str(value)))
        for name, value in row
        if name not in known
    ]
    if added or not isinstance(row, Problem):
        return [*added] or [plain(" / ".join(str(value) for _, value in row))]
    return [plain(f"passed: {row.problem}", 200)]


def _spent(counts: RoleAccount) -> list[str]:
    tokens = [f"{counts.input_tokens:,}", f"{counts.output_tokens:,}"]
    return [f"{counts.calls:,}", *tokens, f"{counts.cost_usd:,.2f}"]


def _total(roles: dict[str, RoleAccount]) -> RoleAccount:
    fields = RoleAccount.model_fields
    sums = {name: sum(getattr(role, name) for role in roles.values()) for name in fields}
    return RoleAccount(**sums)

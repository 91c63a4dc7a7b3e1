"""What a person reads of a plan: rows, calls, money and time as ranges, and what they rest on."""

from collections.abc import Callable

from rich.console import Group, RenderableType

from chimera_ray.config import Config
from chimera_ray.model_config import ModelConfig, OpenAIModel, VllmModel
from chimera_ray.plan import Budget, Plan, Spend, StagePlan
from chimera_ray.plan_estimate import Range
from chimera_ray.plan_gpu import EnginePlan
from chimera_ray.plan_node import NodePlan
from chimera_ray.terminal import Grid, said

TEXTS = ("stage", "role", "model", "node", "stages", "bound by", "prices of", "from")
UNITS = {"B": 1e9, "M": 1e6, "k": 1e3}


def plan(found: Plan, config: Config) -> RenderableType:
    """A plan → its tables, and what is to be known about them."""
    models = {role: config.models.of(role) for role in found.roles}
    return Group(
        said(f"{found.run}: what it takes (expected, and 95% of draws between low and high)"),
        rows_table(found),
        calls_table(found),
        roles_table(found, models),
        *([gpus_table(found), hours_table(found)] if found.engines else []),
        time_table(found),
        *(said(line) for line in [*_gpu_lines(found, config), *_budget_lines(found)]),
        *(said(line) for line in _notes(found, models, config)),
    )


def rows_table(found: Plan) -> Grid:
    """A plan → one line for each stage: rows in and out."""
    table = _table("Rows", "stage", "inputs", "done", "outputs a further row", "from", "outputs")
    for stage in found.stages:
        table.add(
            stage.stage,
            _range(stage.inputs),
            f"{stage.num_done:,}",
            _range(Range(*stage.share[:3]), _share),
            _rows_from(stage),
            _range(stage.outputs),
        )
    return table


def calls_table(found: Plan) -> Grid:
    """A plan → one line for each stage and role: calls that are paid, and what is to come."""
    titles = ("paid", "to come", "input tokens", "output tokens", "USD", "from")
    table = _table("Calls by stage and role: paid, and to come", "stage", "role", *titles)
    for asked in found.asked:
        plural = "" if asked.num_measured == 1 else "s"
        measured = f"{asked.num_measured:,} call{plural}" if asked.num_measured else "assumed"
        measured = measured if asked.to_come.calls.high else "-"
        paid = f"{asked.paid.calls:,}"
        table.add(asked.stage, asked.role, paid, *_spend(asked.to_come), measured)
    table.add_section()
    paid = f"{sum(asked.paid.calls for asked in found.asked):,}"
    table.add("all", "", paid, *_spend(found.to_come))
    return table


def roles_table(found: Plan, models: dict[str, ModelConfig]) -> Grid:
    """A plan and its models → one line for each role: paid and to come together."""
    titles = ("paid USD", "calls", "tokens", "USD")
    table = _table("By role, paid and to come", "role", "model", "prices of", *titles)
    for role, spend in found.roles.items():
        model = models[role]
        paid = sum(asked.paid.cost_usd for asked in found.asked if asked.role == role)
        table.add(role, model.name, _prices_of(model), _usd(paid), *_in_all(spend))
    table.add_section()
    paid = sum(asked.paid.cost_usd for asked in found.asked)
    table.add("all", "", "", _usd(paid), *_in_all(found.in_all))
    return table


def gpus_table(found: Plan) -> Grid:
    """A plan → one line for each engine and node: what fits, by GPU and by engine."""
    titles = ("GPUs", "GiB a GPU", "KiB a token", "cache tokens", "mean", "longest")
    table = _table(
        "GPUs: weights, cache of an engine, and sequences that it holds", "model", "node", *titles
    )
    table.add_texts("at once by")
    for engine in found.engines:
        for node in engine.nodes:
            if node.misfit:
                table.add(engine.model, node.node, *["-"] * 6, "does not fit")
                continue
            counts = (node.cache_tokens, node.mean_sequences, node.longest_sequences)
            table.add(
                engine.model,
                node.node,
                f"{node.num_gpus} x {node.gpu}" if node.num_gpus else "-",
                f"{node.weights_gib:,.1f}",
                f"{node.kv_kib_per_token:,.3g}",
                *("-" if count is None else f"{count:,}" for count in counts),
                node.bound_by,
            )
    return table


def hours_table(found: Plan) -> Grid:
    """A plan → one line for each engine and node: time and money of what is to come."""
    titles = ("output tokens/s", "hours", "GPU hours", "USD")
    table = _table("GPU hours of what is to come", "model", "node", "nodes", *titles)
    for engine, node in _fitting(found):
        rate = "rate not known" if node.num_gpus else "-"
        price = "price not known" if node.hours else "-"
        table.add(
            engine.model,
            node.node,
            str(node.num_nodes),
            rate if node.tokens_per_s is None else _range(node.tokens_per_s),
            "-" if node.hours is None else _range(node.hours, _hours),
            "-" if node.gpu_hours is None else _range(node.gpu_hours, _hours),
            price if node.cost_usd is None else _range(node.cost_usd, _usd),
        )
    return table


def _fitting(found: Plan) -> list[tuple[EnginePlan, NodePlan]]:
    return [(engine, node) for engine in found.engines for node in engine.nodes if not node.misfit]


def time_table(found: Plan) -> Grid:
    """A plan → one line for each segment of stages that overlap."""
    table = _table("Time of what is to come, at least", "stages", "time", "bound by")
    for segment in found.segments:
        table.add(
            " + ".join(segment.stages), _range(segment.seconds, _time), segment.bound_by or "-"
        )
    table.add_section()
    table.add("all", _range(found.seconds, _time), "")
    return table


def _table(title: str, *columns: str) -> Grid:
    """A title and columns → an empty table, texts to the left and numbers to the right."""
    table = Grid(title)
    for name in columns:
        table.add_texts(name) if name in TEXTS else table.add_numbers(name)
    return table


def _rows_from(stage: StagePlan) -> str:
    if stage.share.num_measured:
        return f"{stage.share.num_measured:,} rows"
    return "known" if stage.share.low == stage.share.high else "assumed"


def _spend(spend: Spend) -> list[str]:
    counts = (spend.calls, spend.input_tokens, spend.output_tokens)
    return [*(_range(count) for count in counts), _range(spend.cost_usd, _usd)]


def _in_all(spend: Spend) -> list[str]:
    return [_range(spend.calls), _range(spend.tokens), _range(spend.cost_usd, _usd)]


def _range(found: Range, say: Callable[[float], str] | None = None) -> str:
    if found.low == found.high:
        return f"{found.point:,.0f}" if say is None else say(found.point)
    point = _count(found.point, 3) if say is None else say(found.point)
    low, high = (_count(end, 2) if say is None else say(end) for end in (found.low, found.high))
    return point if low == high == point else f"{point} ({low}-{high})"


def _count(value: float, digits: int) -> str:
    """A number → its first digits, from a thousand on."""
    for unit, size in UNITS.items():
        if round(value) >= size:
            scaled = value / size
            return f"{scaled:.{max(digits - len(str(int(scaled))), 0)}f}{unit}"
    return f"{value:.0f}"


def _share(value: float) -> str:
    return f"{value:.3f}"


def _usd(value: float) -> str:
    return f"{value:,.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _hours(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _has_prices(model: ModelConfig) -> bool:
    return bool(model.prices.input_usd or model.prices.output_usd or model.prices.reasoning_usd)


def _prices_of(model: ModelConfig) -> str:
    if isinstance(model, VllmModel):
        return "-"
    return (model.prices.as_of or "no date") if _has_prices(model) else "no prices"


def _gpu_lines(found: Plan, config: Config) -> list[str]:
    """What the totals take of GPUs, and what they come to with it."""
    lines = []
    for engine in found.engines:
        node = engine.chosen
        if node is None or node.cost_usd is None:
            continue
        price = config.plan.nodes[node.node]
        minutes = "-".join(f"{end:g}" for end in config.plan.load_minutes)
        lines.append(
            f"{engine.model} is planned on {node.num_nodes} x {node.node} at "
            f"{price.usd_per_hour:,.2f} USD an hour ({price.source or 'no source'}, "
            f"{price.as_of or 'no date'}), {minutes} minutes of loading included."
        )
    if lines:
        lines.append(f"GPU hours to come: {_range(found.gpu_usd, _usd)} USD.")
        total = _range(found.total_usd, _usd)
        lines.append(f"Calls, paid and to come, and GPU hours to come: {total} USD in all.")
    return lines


def _budget_lines(found: Plan) -> list[str]:
    return [_budget_line(budget) for budget in found.budgets] or [
        "No cap is set: runtime.max_cost_usd, runtime.max_total_tokens."
    ]


def _budget_line(budget: Budget) -> str:
    """A cap → whether the forecast fits, at its high end and at its point."""
    is_usd = budget.key == "runtime.max_cost_usd"
    cap = f"{budget.cap:,.2f} USD" if is_usd else f"{budget.cap:,.0f} tokens"
    if budget.in_all.high <= budget.cap:
        return f"The cap of {cap} fits ({budget.key})."
    if budget.in_all.point <= budget.cap:
        share = budget.cap / budget.in_all.high
        return f"The cap of {cap} may be reached, at the earliest at about {share:.0%} of the run."
    return f"The cap of {cap} is reached at about {budget.share:.0%} of the run ({budget.key})."


def _notes(found: Plan, models: dict[str, ModelConfig], config: Config) -> list[str]:
    notes = []
    if free := _names(models, _is_unpriced):
        notes.append(f"No prices are set for {free}: what they cost is not in this plan.")
    notes += _gpu_notes(found, config)
    if open_limits := _names(models, _has_open_limits):
        notes.append(
            f"Limits that are null are learnt while running and not in the time: {open_limits}."
        )
    if any(not asked.num_measured and asked.to_come.calls.high > 0 for asked in found.asked):
        notes.append(
            "Assumed numbers are those of conf/plan; a preview measures them: "
            "jobs/build_dataset.py runtime=preview runtime.preview_rows=20"
        )
    return notes


def _gpu_notes(found: Plan, config: Config) -> list[str]:
    """What of the GPUs is not known, so that it is in no total; and whose rates are used."""
    notes = []
    for engine in found.engines:
        node = engine.chosen
        if node is None:
            lacking = "its shape" if engine.shape is None else "a node of its accelerator"
            key = f"models.{engine.roles[0]}.shape" if engine.shape is None else "plan.nodes"
            notes.append(
                f"GPUs are not in this plan: what {engine.model} costs is machines' time, and "
                f"{lacking} is not known ({key})."
            )
        elif node.hours is None and not engine.is_cpu:
            key = f"plan.gpu_rates.{engine.model}.{node.gpu}"
            notes.append(f"GPU hours are not in this plan: set {key}, measured or read.")
        elif node.cost_usd is None and not engine.is_cpu:
            key = f"plan.nodes.{node.node}.usd_per_hour"
            notes.append(f"GPU hours are not in the USD of this plan: {key} is not known.")
        if node is not None and node.hours is not None:
            rate = config.plan.gpu_rates[engine.model][node.gpu]
            dated = f", {rate.as_of}" if rate.as_of else ", not dated"
            notes.append(f"Rate of {engine.model} on {node.gpu}: {rate.source}{dated}.")
    return notes


def _names(models: dict[str, ModelConfig], is_meant: Callable[[ModelConfig], bool]) -> str:
    return ", ".join(sorted({model.name for model in models.values() if is_meant(model)}))


def _is_unpriced(model: ModelConfig) -> bool:
    return isinstance(model, OpenAIModel) and not _has_prices(model)


def _has_open_limits(model: ModelConfig) -> bool:
    if not isinstance(model, OpenAIModel) or model.batch is not None:
        return False
    limits = model.limits
    return limits.requests_per_minute is None or limits.tokens_per_minute is None

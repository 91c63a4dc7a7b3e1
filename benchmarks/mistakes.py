"""What a new user gets wrong: command lines, with the environment and the folder they are given in.

OUT stands for that folder, PORT for the port of a provider that knows one key and no model.
`make_mistakes.py` makes them; docs/errors.md lists what comes of each.
"""

from dataclasses import dataclass, field

SMALL = (
    "runtime=preview",
    "recipe.subjects=[{name: Physics, target_topics: 1}]",
)
"""a run of seconds, without Ray"""
KEY = "sk-not-a-real-key-0123"


@dataclass(frozen=True)
class Mistake:
    """One mistake, and what is made of it."""

    title: str
    arguments: tuple[str, ...]
    code: int = 2
    job: str = "build_dataset"
    env: dict[str, str] = field(default_factory=dict)
    folder: str = "empty"
    """how OUT is prepared, in `mistake_folders`"""
    needs_ray: bool = False


def _openai(**fields: str) -> tuple[str, ...]:
    """Fields of the expander's model → overrides that have it asked over HTTP."""
    given = {"base_url": "http://127.0.0.1:PORT/v1", "api_key_env": "MY_KEY", **fields}
    values = (f"models.expander.{name}={value}" for name, value in given.items())
    return ("model@models.expander=openai_compatible", *values, *SMALL)


DECONTAMINATE = "recipe.params.decontaminate_problem.benchmarks"
STAGES = "recipe.stages=[expand_topics, draft_problem]"
VLLM = ("model@models.solver=smollm2_vllm", "runtime=preview")
RIGHT = {"MY_KEY": KEY}
MISTAKES = {
    # ---- the command line
    "key": Mistake("a misspelt key", ("runtime.pool.actor=2",)),
    "plus": Mistake("a new key without +", ("recipe.params.plan_rollouts.num=2",)),
    "param": Mistake("a parameter that its stage lacks", ("+recipe.params.plan_rollouts.num=2",)),
    "group": Mistake("a misspelt group", ("recpie=demo",)),
    "recipe": Mistake("an unknown recipe", ("recipe=dmeo",)),
    "model": Mistake("an unknown model file", ("model@models.solver=gpt5",)),
    "runtime": Mistake("an unknown runtime", ("runtime=laptop",)),
    "role": Mistake("a model without its role", ("model@solver=gpt_5",)),
    "no_role": Mistake("a role that does not exist", ("+models.judge=gpt_5",)),
    "quotes": Mistake("special characters, unquoted", ("recipe.subjects=[{name: C (new)}]",)),
    "comma": Mistake("a list without brackets", ("recipe.stages=expand_topics,plan_drafts",)),
    "equals": Mistake("an override without =", ("output_dir", "outputs")),
    "flag": Mistake("an unknown flag", ("--output_dir=outputs",)),
    "missing": Mistake("a value that is missing", ("output_dir=???",)),
    "nowhere": Mistake("an interpolation of nothing", ("output_dir=${nowhere}",)),
    "not_text": Mistake(
        "a configuration file that is no UTF-8",
        ("--config-dir=OUT/conf", "recipe=mine"),
        folder="latin_1",
    ),
    "no_recipe": Mistake("no recipe", ("recipe=null",)),
    "alone": Mistake("a flag that goes with another", ("--resolve",)),
    # ---- the recipe
    "stage": Mistake("an unknown stage", ("recipe.stages=[expand_topic]",)),
    "order": Mistake("stages in an order that does not fit", (STAGES,)),
    "twice": Mistake(
        "a subject twice",
        ("recipe.subjects=[{name: Physics, target_topics: 2}, {name: physics, target_topics: 2}]",),
    ),
    "no_subjects": Mistake("no subject", ("recipe.subjects=[]",)),
    "negative": Mistake("a negative number", ("runtime.pool.actors=-1",)),
    "name": Mistake("a recipe's name with capitals", ("recipe.name=Chimera",)),
    "sampling": Mistake("a temperature out of range", ("+models.solver.sampling.temperature=3",)),
    "no_benchmark": Mistake(
        "a benchmark file that is not there",
        (f"{DECONTAMINATE}=[{{name: hle, path: OUT/hle.jsonl}}]",),
    ),
    "column": Mistake(
        "a benchmark without a column of problems",
        (f"{DECONTAMINATE}=[{{name: hle, path: OUT/rows.jsonl}}]",),
        folder="benchmarks",
    ),
    "not_parquet": Mistake(
        "a benchmark that is no Parquet file",
        (f"{DECONTAMINATE}=[{{name: hle, path: OUT/rows.parquet}}]",),
        folder="benchmarks",
    ),
    "no_text": Mistake(
        "a benchmark whose problems are no text",
        (f"{DECONTAMINATE}=[{{name: hle, path: OUT/null.jsonl}}]",),
        folder="benchmarks",
    ),
    "address": Mistake(
        "a benchmark by its address",
        (f'{DECONTAMINATE}=[{{name: hle, path: "https://host/hle.jsonl"}}]',),
    ),
    "plan": Mistake(
        "a plan's range upside down",
        ("plan.stages.draft_problem.roles.drafter.output_tokens=[2, 1]",),
        job="plan_run",
    ),
    # ---- keys
    "unset": Mistake("a key's variable that is not set", _openai(api_key_env="MY_KEY")),
    "value": Mistake("a key in place of its variable's name", _openai(api_key_env=KEY)),
    "password": Mistake("a password in base_url", _openai(base_url="https://me:pass@host/v1")),
    "interpolated": Mistake("a key by oc.env", _openai(api_key_env="${oc.env:MY_KEY}"), env=RIGHT),
    "extra_body": Mistake("a key in extra_body", _openai(extra_body="{api_key: my-own-key}")),
    "two_lines": Mistake("a key of two lines", _openai(), env={"MY_KEY": f"{KEY}\nexport OTHER=1"}),
    "header": Mistake(
        "a key in a header",
        (*_openai(), "+models.expander.headers={X-Auth: my-own-key}"),
    ),
    "wrong_key": Mistake("a wrong key", _openai(), 1, env={"MY_KEY": "sk-wrong-0123456789"}),
    # ---- endpoints
    "wrong_model": Mistake("a wrong model", _openai(name="gpt-6"), 1, env=RIGHT),
    "scheme": Mistake("a URL without http://", _openai(base_url="localhost:8000/v1")),
    "port": Mistake("a URL with a port too high", _openai(base_url="http://host:80000/v1")),
    "blank": Mistake("a URL with a blank", _openai(base_url="'http://my host/v1'")),
    "wrong_path": Mistake(
        "a URL with a wrong path",
        _openai(base_url="http://127.0.0.1:PORT/v9"),
        1,
        env=RIGHT,
    ),
    "nobody": Mistake(
        "a URL where nobody answers",
        (
            *_openai(base_url="http://127.0.0.1:9/v1"),
            "models.expander.retry={first_wait_s: 0.1, unreachable_s: 1}",
        ),
        1,
        env=RIGHT,
    ),
    "no_host": Mistake(
        "a host that does not exist",
        (
            *_openai(base_url="http://no-such-host.invalid/v1"),
            "models.expander.retry={first_wait_s: 0.1, unreachable_s: 1}",
        ),
        1,
        env=RIGHT,
    ),
    "limits": Mistake(
        "two limits for one endpoint",
        (
            "model@models.expander=openai_compatible",
            "model@models.drafter=openai_compatible",
            "models.drafter.limits.max_in_flight=3",
        ),
    ),
    "no_vllm": Mistake("vLLM is not installed", VLLM),
    "no_weights": Mistake(
        "a model's folder that is not there", (*VLLM, "models.solver.path=OUT/weights")
    ),
    "no_tokenizer": Mistake(
        "a model without its tokenizer", (*VLLM, "models.solver.path=OUT"), folder="weights"
    ),
    "not_served": Mistake(
        "no model of vLLM to be checked", ("runtime=preview",), job="check_model"
    ),
    # ---- where it is written
    "file": Mistake("output_dir is a file", ("output_dir=OUT/file",), folder="file"),
    "below_file": Mistake(
        "output_dir lies below a file", ("output_dir=OUT/file/x",), folder="file"
    ),
    "read_only": Mistake("a read-only folder", SMALL, folder="read_only"),
    "full": Mistake("a full disk", SMALL, 1, folder="full"),
    "long": Mistake("a name too long for a file", ("output_dir=OUT/" + "x" * 300,)),
    "bucket": Mistake("a store without a bucket", ("output_dir=s3://",)),
    "relative": Mistake("a relative folder on a cluster", ("runtime=cluster", "output_dir=here")),
    "uri": Mistake("an address of no known storage", ("output_dir=gopher://host/x",)),
    "uri_key": Mistake("a key in output_dir", ("output_dir=s3://me:my-own-key@bucket/x",)),
    "no_run": Mistake("a status of no run", (), job="show_status"),
    # ---- a run that goes on, or went wrong before
    "going_on": Mistake("the same run once more", (*SMALL, "runtime=local"), folder="going_on"),
    "format": Mistake("a ledger of another format", SMALL, 1, folder="format"),
    "damaged": Mistake("a run whose files are damaged", (), 0, "show_status", folder="damaged"),
    "spent": Mistake(
        "a budget that is spent",
        (*SMALL, "runtime.max_total_tokens=1"),
        3,
    ),
    # ---- the machine
    "old_python": Mistake("a Python that is too old", SMALL, folder="old_python"),
    "no_packages": Mistake("another Python, without the packages", SMALL, folder="no_packages"),
    "no_ray": Mistake(
        "no Ray at ray_address",
        (*SMALL, "runtime=cluster", "runtime.ray_address=127.0.0.1:9"),
        1,
        needs_ray=True,
    ),
    "other_program": Mistake(
        "a port that another program has taken, as ray_address",
        (*SMALL, "runtime=cluster", "runtime.ray_address=127.0.0.1:PORT"),
        1,
        needs_ray=True,
    ),
    "ray_http": Mistake(
        "RAY_ADDRESS with http://",
        (*SMALL, "runtime=cluster"),
        env={"RAY_ADDRESS": "http://127.0.0.1:8265"},
    ),
    "ray_url": Mistake(
        "ray_address without a port", (*SMALL, "runtime=cluster", "runtime.ray_address=localhost")
    ),
}

"""Every stage's schema, as strict structured output takes it."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import pytest

from chimera_ray.backends.strict_schema import strict_schema
from chimera_ray.llm import ReplySchema
from chimera_ray.stages import STAGES
from chimera_ray.stages.expand_topics import reply_schema

SUPPORTED = {
    *("type", "properties", "required", "additionalProperties", "description", "enum", "const"),
    *("items", "minItems", "maxItems", "anyOf", "$ref", "$defs"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("pattern", "format"),
}
"""OpenAI's guide to structured outputs, "Supported schemas" """
MAX_DEPTH, MAX_PROPERTIES = 10, 5_000


def _schemas() -> dict[str, ReplySchema]:
    modules = {name: import_module(stage.run.__module__) for name, stage in STAGES.items()}
    found = {name: getattr(module, "SCHEMA", None) for name, module in modules.items()}
    found["expand_topics"] = reply_schema(wanted=5)
    return {name: schema for name, schema in found.items() if schema is not None}


SCHEMAS = _schemas()
each_schema = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)


def _parts(schema: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[Mapping[str, Any], int]]:
    """A schema → itself and every schema within, with its depth."""
    yield schema, depth
    for key in ("properties", "$defs"):
        for part in schema.get(key, {}).values():
            yield from _parts(part, depth + (key == "properties"))
    for part in [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())]:
        yield from _parts(part, depth + 1)


def test_schemas_of_all_stages_that_ask_for_fields_are_found() -> None:
    assert set(SCHEMAS) == {
        "confirm_topic",
        "draft_problem",
        "expand_topics",
        "label_trajectory",
        "validate_problem",
    }


@each_schema
def test_strict_schema_of_a_stage_is_closed_and_asks_for_every_field(schema: ReplySchema) -> None:
    strict = strict_schema(schema.json_schema)
    assert strict["type"] == "object"  # the root; anyOf may not stand there
    for part, _ in _parts(strict):
        if part.get("type") == "object":
            assert part["additionalProperties"] is False
            assert part["properties"]
            assert part["required"] == list(part["properties"])
        else:
            assert "properties" not in part


@each_schema
def test_strict_schema_of_a_stage_has_no_keyword_that_is_refused(schema: ReplySchema) -> None:
    strict = strict_schema(schema.json_schema)
    parts = list(_parts(strict))
    assert {key for part, _ in parts for key in part} <= SUPPORTED
    assert all(list(part) == ["$ref"] for part, _ in parts if "$ref" in part)
    assert max(depth for _, depth in parts) <= MAX_DEPTH
    assert sum(len(part.get("properties", ())) for part, _ in parts) <= MAX_PROPERTIES
    named = {part["$ref"].removeprefix("#/$defs/") for part, _ in parts if "$ref" in part}
    assert named == set(strict.get("$defs", {}))


@each_schema
def test_strict_schema_of_a_stage_keeps_the_fields_in_their_order(schema: ReplySchema) -> None:
    strict = strict_schema(schema.json_schema)
    plain = [list(part.get("properties", {})) for part, _ in _parts(schema.json_schema)]
    assert [list(part.get("properties", {})) for part, _ in _parts(strict)] == plain
    assert strict_schema(strict) == strict


def test_strict_schema_leaves_the_stages_own_as_it_was() -> None:
    before = {"type": "object", "title": "T", "properties": {"a": {"type": "string", "title": "A"}}}
    given = {**before, "properties": {"a": {**before["properties"]["a"]}}}  # type: ignore[index]
    strict_schema(given)
    assert given == before


def test_strict_schema_fields_may_be_named_like_keywords() -> None:
    named: Any = {name: {"type": "string", "default": "x"} for name in ("title", "default", "$ref")}
    strict = strict_schema({"type": "object", "properties": named})
    assert strict["properties"] == {name: {"type": "string"} for name in named}
    assert strict["required"] == list(named)


def test_strict_schema_reaches_into_lists_choices_and_definitions() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "integer", "default": 1}}}
    strict = strict_schema(
        {
            "type": "object",
            "properties": {
                "list": {"type": "array", "items": inner},
                "choice": {"anyOf": [inner, {"type": "null"}], "default": None},
                "pair": {"type": "array", "prefixItems": [inner]},
                "other": {"$ref": "#/$defs/Other", "description": "said beside it"},
            },
            "$defs": {"Other": inner},
        }
    )
    closed = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "additionalProperties": False,
        "required": ["a"],
    }
    said = strict["properties"]
    assert said["list"]["items"] == said["choice"]["anyOf"][0] == said["pair"]["prefixItems"][0]
    assert said["list"]["items"] == strict["$defs"]["Other"] == closed
    assert said["other"] == {"$ref": "#/$defs/Other"}

"""A stage's JSON schema → the subset that strict structured output takes."""

from collections.abc import Mapping
from typing import Any

_UNKNOWN = frozenset({"title", "default", "minLength", "maxLength"})
"""keywords that strict mode refuses or that say nothing; the stage's own parser still judges"""


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema → the same, every object closed and all of its fields required.

    Source:
        OpenAI's guide to structured outputs, section "Supported schemas".
    """
    kept = {key: value for key, value in schema.items() if key not in _UNKNOWN}
    for key in ("properties", "$defs"):
        if key in kept:
            kept[key] = {name: strict_schema(part) for name, part in kept[key].items()}
    if isinstance(kept.get("items"), Mapping):
        kept["items"] = strict_schema(kept["items"])
    for key in ("anyOf", "prefixItems"):
        if key in kept:
            kept[key] = [strict_schema(part) for part in kept[key]]
    if "$ref" in kept:
        return {"$ref": kept["$ref"]}  # strict mode takes nothing beside it
    if kept.get("type") == "object":
        properties = kept.get("properties", {})
        kept |= {"additionalProperties": False, "required": list(properties)}
    return kept

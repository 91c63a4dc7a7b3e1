"""An error of composing → one line that says what to mend."""

import re
import shlex

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import OverrideParseException


def why(exc: Exception) -> str:
    """An error of composing → where it is, what it says, and how to write what cannot be read."""
    said = re.split("Config search path:|See https://hydra.cc|full_key:", str(exc))[0]
    said = said.replace("To append to your", "If it is not misspelt: to append to your")
    said = re.sub(r"(use \+[^\s=]+=).+", r"\1...", said, flags=re.DOTALL)  # it may be a secret
    if not isinstance(exc, OverrideParseException) and "Ambiguous value" not in said:
        place = getattr(exc, "full_key", None)
        return f"{place}: {said}" if place and place not in said else said
    override = getattr(exc, "override", None) or said.partition("'")[2].partition("'")[0]
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override}: an override is written key=value, without spaces around the ="
    mended = shlex.quote(f"{key}={quoted(value)}") + f"; a list is '{key}=[a, b]'"
    if value[:1] in "[{":
        mended = """each text inside, as in 'key=[{name: "a (b)"}, "c=d"]'; or close the bracket"""
    return f"{override}: quote special characters, for Hydra and for the shell: {mended}"


def quoted(value: str) -> str:
    """A text → the same as Hydra's grammar quotes it; quotes that it begins or ends with go."""
    inner = value.strip("\"'") if value[:1] in "\"'" else value
    return QuotedString(inner, Quote.double).with_quotes()

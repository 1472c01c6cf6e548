"""The settings model in words: what each key is for, what it accepts, and what is wrong with a given value.

Pure functions of the model's JSON schema, so that errors, documentation and the example file cannot disagree with it.
"""

from __future__ import annotations

import difflib
import textwrap
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Schema = dict[str, Any]
Place = tuple[int | str, ...]

_KINDS = {
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "array": "a list",
    "object": "a section",
}
_UNITS = (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))
_COMMENT_WIDTH = 116
_HEADING = "# Settings of ScienceBox GPU, with their defaults. A key that is left out has its default."
_TEXT_TAG = "tag:yaml.org,2002:str"


def size(count: int) -> str:
    """A number of bytes as people write it: `4 GiB`."""
    for name, unit in _UNITS:
        if count >= unit and count % (unit // 4) == 0:
            return f"{count / unit:g} {name}"
    return f"{count} bytes"


def error(detail: Mapping[str, Any], schema: Schema, tree: yaml.Node | None, source: str) -> str:
    """One pydantic error as a sentence that begins with its place in the file."""
    where: Place = tuple(detail["loc"])
    key = ".".join(str(part) for part in where)
    place = f"{source}:{line(tree, where)}"
    if detail["type"] == "extra_forbidden":
        return f"{place}: unknown key `{key}`; {nearest(str(where[-1]), find(schema, where[:-1]))}"
    if detail["type"] == "value_error":
        message = detail["msg"].removeprefix("Value error, ")
        return f"{place}: {key}: {message}" if key else f"{place}: {message}"
    return f"{place}: `{key}` must be {accepts(find(schema, where))}; given: {short(detail['input'])}"


def accepts(schema: Schema) -> str:
    """What a value must be, to follow "must be": `a whole number from 1 to 65535`."""
    if "accepts" in schema:
        return str(schema["accepts"])
    if "enum" in schema:
        *others, last = [f"`{value}`" for value in schema["enum"]]
        return f"{', '.join(others)} or {last}" if others else last
    if "anyOf" in schema:
        return accepts(next(choice for choice in schema["anyOf"] if choice.get("type") != "null"))
    if schema.get("type") == "array":
        least = "at least one of " if schema.get("minItems") else ""
        return f"a list, {least}each {'a section' if '$ref' in schema['items'] else accepts(schema['items'])}"
    if schema.get("type") == "object":
        return f"a section with the keys {', '.join(schema['properties'])}"
    return _KINDS.get(schema.get("format", ""), _KINDS[schema["type"]]) + _range(schema)


def find(schema: Schema, where: Place) -> Schema:
    """The part of the schema that describes the value at `where`."""
    part = schema
    for step in where:
        part = part["items"] if isinstance(step, int) else part["properties"][step]
        if "$ref" in part:
            part = {**schema["$defs"][part["$ref"].rsplit("/", 1)[-1]]}
    return part


def line(node: yaml.Node | None, where: Place) -> int:
    """The line, from 1, of the deepest part of `where` that the file has."""
    found = node.start_mark.line + 1 if node else 1
    for part in where:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == part), None)
            if pair is None:
                return found
            found, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            found = node.start_mark.line + 1
        else:
            return found
    return found


def doubtful_keys(node: yaml.Node | None, where: tuple[str, ...] = ()) -> Iterator[tuple[str, int]]:
    """Keys that would silently not mean what was written, each as (what is wrong, line).

    YAML readers keep the last of a key given twice, and take `on:` for true.
    """
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from doubtful_keys(item, where)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        at = key.start_mark.line + 1
        name = str(key.value)
        path = ".".join((*where, name))
        if key.tag != _TEXT_TAG:
            yield f"the key `{path}` is not text; known keys are words", at
        elif name in seen:
            yield f"`{path}` stands in line {seen[name]} already", at
        seen.setdefault(name, at)
        yield from doubtful_keys(value, (*where, name))


def reference(schema: Schema, defaults: Mapping[str, Any]) -> str:
    """Every key with its documentation and default, as a settings file that can be used as it is."""
    return "\n".join([_HEADING, *_document(schema, schema, defaults, 0)]) + "\n"


def definitions(schema: Schema) -> Schema:
    """The model's schema as `$defs` of another one, which then refers to `#/$defs/Settings`.

    A key without a value means its default, which the model sees to before its schema applies.
    """
    sections = {**schema["$defs"], "Settings": {key: value for key, value in schema.items() if key != "$defs"}}
    return {
        name: {**section, "properties": {key: _or_nothing(part) for key, part in section["properties"].items()}}
        for name, section in sections.items()
    }


def _or_nothing(schema: Schema) -> Schema:
    kinds = schema.get("type", [])
    allowed = {"type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]} if kinds else {}
    return {**schema, **allowed, **({"enum": [*schema["enum"], None]} if "enum" in schema else {})}


def _document(schema: Schema, root: Schema, defaults: Mapping[str, Any], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, part in schema["properties"].items():
        section = root["$defs"][part["$ref"].rsplit("/", 1)[-1]] if "$ref" in part else None
        if depth == 0:
            yield ""
        yield from _comment(section["description"] if section else _about(part), indent)
        if section:
            yield f"{indent}{name}:"
            yield from _document(section, root, defaults[name], depth + 1)
        else:
            yield f"{indent}{name}: {_value(defaults[name], part)}".rstrip()


def _about(schema: Schema) -> str:
    """A key's documentation, with what it accepts where the documentation does not say so itself."""
    text = str(schema["description"])
    return f"{text} Accepts {accepts(schema)}." if "accepts" in schema or _range(schema) else text


def _comment(text: str, indent: str) -> list[str]:
    lead = f"{indent}# "
    return textwrap.wrap(text, _COMMENT_WIDTH, initial_indent=lead, subsequent_indent=lead, break_on_hyphens=False)


def _value(value: Any, schema: Schema) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(item, schema['items']) for item in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return size(value) if schema.get("format") == "size" else str(value)


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f", {low} or more"
    return f", {high} or less" if high is not None else ""


def nearest(name: str, section: Schema) -> str:
    """What an unknown key of a section was probably meant to be, else which keys there are."""
    known: Sequence[str] = list(section["properties"])
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean `{close[0]}`?" if close else f"known here: {', '.join(known)}"


def short(value: Any) -> str:
    """A given value, as an error quotes it."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""The values that the chart is installed with: read, merged as helm does it, and checked. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from sciencebox import explain
from sciencebox.settings import Settings, SettingsError, read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Tree = dict[str, Any]
SETTINGS = "sciencebox"  # the key with what else is deploy/sciencebox.yaml
_EXECUTION = re.compile(r"execution error at \([^)]*\): (.*)", re.DOTALL)
_SCHEMA = re.compile(r"^- at '([^']*)': (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Values:
    """A file of values on top of the chart's own."""

    merged: Tree
    settings: Settings

    def get(self, *path: str, default: Any = None) -> Any:
        """The value at a path, or the default where a part of the path is missing or empty."""
        found: Any = self.merged
        for part in path:
            found = found.get(part) if isinstance(found, dict) else None
        return default if found is None else found


def read(text: str, source: str, defaults: Mapping[str, Any], schema: explain.Schema) -> Values:
    """The values of a file; `source` names it in errors. Raises SettingsError, with all that is wrong at once."""
    tree, given, faults = read_yaml(text, source, SETTINGS)
    merged = merge(dict(defaults), given)
    faults += [f"{source}:{explain.line(tree, where)}: {what}" for where, what in _unknown(given, schema, ())]
    try:
        settings = Settings.model_validate(merged.get(SETTINGS) or {})
    except ValidationError as error:
        model = Settings.model_json_schema()
        below = _below(tree, SETTINGS)
        faults += [explain.error(dict(detail), model, below, source) for detail in error.errors()]
    if faults:
        raise SettingsError("\n".join(faults))
    return Values(merged, settings)


def merge(below: Tree, above: Mapping[str, Any]) -> Tree:
    """Sections are merged, anything else is replaced, and what is set to nothing is taken out: as helm does it."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(under, dict):
            merged[key] = merge(under, value)
        else:
            merged[key] = value
    return merged


def in_words(said: str) -> str:
    """What helm's error says to whoever wrote the values: its own sentence, without where in a template it stands."""
    if found := _EXECUTION.search(said):
        return found[1].split("\n\nUse --debug")[0].strip()
    if faults := _SCHEMA.findall(said):
        places = (place.strip("/").replace("/", ".") for place, _ in faults)
        return " ".join(f"`{place or 'values'}`: {what}." for place, (_, what) in zip(places, faults, strict=True))
    lines = [line.strip().removeprefix("Error: ") for line in said.splitlines() if line.strip()]
    several = [line.removeprefix("* ") for line in lines if line.startswith("* ")]
    return " ".join(several or lines[-1:]) or "helm gave no reason."


def images(rendered: str) -> list[str]:
    """Every image that pods of a rendered chart are made from, each once."""
    found: set[str] = set()
    for document in yaml.safe_load_all(rendered):
        found.update(_images(document))
    return sorted(found)


def _images(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "image" and isinstance(value, str):
                yield value
            else:
                yield from _images(value)
    elif isinstance(part, list):
        for value in part:
            yield from _images(value)


def _unknown(values: Any, schema: explain.Schema, where: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys that the chart does not have, each with its place and what was probably meant. Settings have their own."""
    if not isinstance(values, dict) or schema.get("additionalProperties", True) is not False:
        return
    for key, value in values.items():
        here = (*where, str(key))
        if key not in schema["properties"]:
            name = ".".join(here)
            yield here, f"unknown value `{name}`; {explain.nearest(str(key), schema)}"
        elif here != (SETTINGS,):
            yield from _unknown(value, schema["properties"][key], here)


def _below(tree: yaml.Node | None, name: str) -> yaml.Node | None:
    """The node under a key at the top of a document."""
    pairs = tree.value if isinstance(tree, yaml.MappingNode) else []
    return next((value for key, value in pairs if key.value == name), None)

"""One TOML file a process: its text in, a checked frozen dataclass out.

The file has one table, named after the process (`[node]`, `[aggregator]`), whose keys are the
fields of the dataclass; a field that is a dataclass itself is a table within. Unknown keys are
errors, so that a misspelt one is not a silent default.
"""

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from coeval.errors import BadConfig

Config = TypeVar("Config")

NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "text"}


def parse_toml(text: str, *, where: str) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        BadConfig: it is not TOML; the message names line and column.
    """
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise BadConfig(f"{where}: not TOML: {exc}") from exc


def read_table(tables: Mapping[str, Any], name: str, kind: type[Config], *, where: str) -> Config:
    """The configuration in a file's table `name`.

    Args:
        tables: what `parse_toml` returned.
        name: the process: `node` or `aggregator`.
        kind: the dataclass.
        where: the file's name, for messages.

    Raises:
        BadConfig: another table is there or this one is not, a key is unknown or missing, or a
            value is wrong; the message names file and key.
    """
    for other in tables:
        if other != name:
            raise BadConfig(f"{where}: expected one table [{name}], got {other!r} beside it")
    if name not in tables:
        raise BadConfig(f"{where}: no table [{name}]; put the keys below it")
    if not isinstance(tables[name], dict):
        raise BadConfig(f"{where}: {name!r} must be a table [{name}]")
    return _build(tables[name], kind, where=where, path=name)


def _build(table: Mapping[str, Any], kind: type[Config], *, where: str, path: str) -> Config:
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in fields:
            near = get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(fields)}"
            raise BadConfig(f"{where}: unknown key {path}.{key}; {hint}")
        values[key] = _value(value, hints[key], where=where, path=f"{path}.{key}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING
        if required and field.default_factory is dataclasses.MISSING and name not in values:
            raise BadConfig(f"{where}: {path}.{name} is missing")
    try:
        return kind(**values)
    except BadConfig as exc:
        raise BadConfig(f"{where}: {path}.{exc}") from exc


def _value(value: Any, kind: Any, *, where: str, path: str) -> Any:
    """A TOML value as the field's type: text, numbers, paths, lists, maps of them, tables."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, dict):
            raise BadConfig(f"{where}: {path} must be a table")
        return _build(value, kind, where=where, path=path)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        if value not in parts:
            raise BadConfig(
                f"{where}: {path} must be one of {', '.join(map(str, parts))}, got {value!r}"
            )
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise BadConfig(f"{where}: {path} must be a list, got {value!r}")
        return tuple(
            _value(item, parts[0], where=where, path=f"{path}[{k}]") for k, item in enumerate(value)
        )
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise BadConfig(f"{where}: {path} must be a table")
        return {
            key: _value(item, parts[1], where=where, path=f"{path}.{key}")
            for key, item in value.items()
        }
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if type(value) is not kind:
        raise BadConfig(f"{where}: {path} must be {NAMES.get(kind, str(kind))}, got {value!r}")
    return value

"""YAML as recipes use it: plain data only, YAML 1.2 scalars, and the line of every value kept for messages.

PyYAML's own rules would read `1e-4` as a string, `no` as false and `1:30` as 90; Python tags would build objects.
Here a tag, an alias or a key that stands twice is refused with the file and line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from ms_plm.common.errors import UserError
from ms_plm.common.files import replacing_file

_FLOAT = (
    r"[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_SCALARS = {  # tag -> (pattern of the whole scalar, first characters)
    "tag:yaml.org,2002:bool": (re.compile(r"(true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    "tag:yaml.org,2002:null": (re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "tag:yaml.org,2002:int": (re.compile(r"[-+]?(0|[1-9][0-9]*)$"), "-+0123456789"),
    "tag:yaml.org,2002:float": (re.compile(f"({_FLOAT})$"), "-+0123456789."),
}
_PLAIN_TAGS = {*_SCALARS, *(f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map"))}


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars above and no others (no dates, no base 60, no merge keys)."""

    yaml_implicit_resolvers: ClassVar[dict] = {}


class _Dumper(yaml.SafeDumper):
    """Quotes whatever either set of rules would read as something other than a string."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, False)  # list items stand under their key, indented


for _tag, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(_tag, _pattern, list(_first))
    _Dumper.add_implicit_resolver(_tag, _pattern, list(_first))


@dataclass(frozen=True)
class Document:
    """The content of a YAML file and the line of every key path, such as `("train", "steps")`."""

    values: dict[str, Any]
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)


def _plain(node: yaml.Node, loader: _Loader, where: str, path: tuple[str, ...], lines: dict) -> Any:
    """The value of a node; records lines and refuses tags and keys that stand twice."""
    line = node.start_mark.line + 1
    if node.tag not in _PLAIN_TAGS:
        raise UserError(
            f"{where}:{line}: the tag {node.tag.replace('tag:yaml.org,2002:', '!!')} is refused: a recipe holds "
            f"plain data and cannot build Python objects. Write the value itself: a number, a quoted text, "
            "a list [a, b] or a mapping {key: value}."
        )
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, loader, where, path, lines) for item in node.value]
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_object(node)
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key_line = key_node.start_mark.line + 1
        key = _plain(key_node, loader, where, path, lines)
        if not isinstance(key, str):
            raise UserError(
                f"{where}:{key_line}: the key {key!r} is not a name; put it in quotes if it is meant as one."
            )
        key_path = (*path, key)
        if key in result:
            first = f" (first on line {lines[key_path]})" if key_path in lines else ""
            raise UserError(f"{where}:{key_line}: {'.'.join(key_path)} stands twice{first}. Keep one of them.")
        lines[key_path] = key_line
        result[key] = _plain(value_node, loader, where, key_path, lines)
    return result


def _parse(text: str, where: str) -> tuple[Any, dict[tuple[str, ...], int]]:
    lines: dict[tuple[str, ...], int] = {}
    try:
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.AliasEvent):
                raise UserError(
                    f"{where}:{event.start_mark.line + 1}: the alias *{event.anchor} is refused. "
                    "Write the value out, or put what recipes share into a file that they name with `base:`."
                )
        loader = _Loader(text)
        node = loader.get_single_node()
        return (None if node is None else _plain(node, loader, where, (), lines)), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}" if mark else where
        raise UserError(f"{place}: this is not YAML: {error.problem or error.context}. {_hint(error)}") from error
    except yaml.YAMLError as error:  # characters that YAML does not allow
        raise UserError(f"{where}: this is not YAML: {' '.join(str(error).split())}.") from error
    except RecursionError as error:
        raise UserError(f"{where}: nested too deeply to be a recipe.") from error


def _hint(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if "\\t" in problem:
        return "Indent with spaces, not tabs."
    if "mapping values are not allowed" in problem or "expected <block end>" in problem:
        return "Check the indentation above this line, and put a text that holds ': ' in quotes."
    if "document" in problem:
        return "A recipe is one document: remove the line `---`."
    return "Put texts that hold [ ] { } : # or quotes in quotes."


def read_yaml(path: Path, where: str | None = None) -> Document:
    """Read a YAML file that holds a mapping. `where` names the file in messages (default: the path).

    Raises:
        UserError: missing, not UTF-8, not YAML, not a mapping, or holding a tag, an alias or a key twice.
    """
    where = where or str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{where}: no such file.") from error
    except IsADirectoryError as error:
        raise UserError(f"{where}: this is a folder; expected a YAML file.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not a text in UTF-8 ({error.reason} at byte {error.start}).") from error
    values, lines = _parse(text, where)
    if not isinstance(values, dict):
        found = "nothing" if values is None else type(values).__name__
        raise UserError(f"{where}: expected `key: value` lines, found {found}.")
    return Document(values, lines)


def parse_value(text: str, where: str) -> Any:
    """A value as written on the command line: a YAML scalar, list or mapping."""
    return _parse(text, where)[0]


def write_yaml(path: Path, values: dict[str, Any], header: str = "") -> None:
    """Write plain data so that `read_yaml` gives the same back; the file is replaced in one step."""
    text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    with replacing_file(path) as temporary:
        temporary.write_text(comment + text, encoding="utf-8")

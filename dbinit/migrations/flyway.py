"""Folders of Flyway: `V1_1__name.sql`, `U1_1__name.sql`, `R__name.sql`, `B1_1__name.sql`, and callbacks. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .model import Hook, Kind, Migration, Part, Transaction, checksum_of
from .problems import NO_VALUE, Problem
from .reading import Named, Reading, read_version
from .text import FileText, base_name

__all__ = ["read_flyway"]

_VERSIONED = re.compile(
    r"(?P<prefix>[VUB])(?P<version>[0-9]+(?:[._][0-9]+)*?)(?:__(?P<name>.*))?\.sql", re.ASCII | re.DOTALL
)
_REPEATABLE = re.compile(r"R__(?P<name>.+)\.sql", re.DOTALL)
_ALMOST = re.compile(r"(?:[VUB][0-9]|R_).*\.sql", re.DOTALL)
_CALLBACK = re.compile(r"(?P<event>[a-z][A-Za-z]+)(?:__(?P<name>.*))?\.sql", re.DOTALL)
_HOOKS = {
    "beforeMigrate": Hook.BEFORE_ALL,
    "afterMigrate": Hook.AFTER_ALL,
    "beforeEachMigrate": Hook.BEFORE_EACH,
    "afterEachMigrate": Hook.AFTER_EACH,
    "afterMigrateError": Hook.ON_ERROR,
}
# Callbacks that Flyway would run while it migrates or takes back.
_OTHER_EVENTS = re.compile(
    r"(?:before|after)(?:Connect|Validate|ValidateError|Undo|UndoError|EachUndo|EachUndoError|Repeatables|Versioned"
    r"|EachMigrateError|Each(?:Migrate|Undo)Statement(?:Error)?|MigrateApplied|MigrateOperationFinish|CreateSchema)"
    r"|createSchema"
)
_SETTING = re.compile(r"^[ \t]*(?!#)(?P<key>[^\s=][^=\r\n]*)(?:=(?P<value>[^\r\n]*))?", re.MULTILINE)
_TRUTH = {"true": True, "false": False}
_GIVE = "; give it one with --placeholder NAME=VALUE, FLYWAY_PLACEHOLDERS_NAME or InitOptions(placeholders=...)"
_PLACEHOLDER = re.compile(r"\$\{(?P<name>[^}]*)(?P<end>\}?)", re.DOTALL)


class _Conf(NamedTuple):
    """What `V1__name.sql.conf` says about a script."""

    transaction: Transaction = Transaction.BY_CONTENT
    replaces: bool = True


def read_flyway(texts: Sequence[FileText], placeholders: Mapping[str, str]) -> Reading:
    """Read a folder of Flyway, and put the values of the placeholders in."""
    reader = _Reader(texts, placeholders)
    for text in texts:
        reader.read(text)
    reader.reading.pair(reader.ups, reader.downs)
    reader.reading.pair(reader.baselines, [])
    return reader.reading


class _Reader:
    """Reads file after file."""

    def __init__(self, texts: Sequence[FileText], placeholders: Mapping[str, str]) -> None:
        self.reading = Reading()
        self.ups: list[Migration] = []
        self.downs: list[tuple[Named, Part]] = []
        self.baselines: list[Migration] = []
        self._repeatable: dict[str, str] = {}
        self._confs = {text.file.name: _conf(text) for text in texts if text.file.name.endswith(".conf")}
        self._values = {name.lower(): value for name, value in placeholders.items()}

    def read(self, text: FileText) -> None:
        """Read a file; Flyway passes over what is named otherwise, which is a mistake if it is nearly right."""
        name = base_name(text.file.name)
        if match := _VERSIONED.fullmatch(name):
            self._read_versioned(text, match)
        elif match := _REPEATABLE.fullmatch(name):
            self._read_repeatable(text, match["name"])
        elif (match := _CALLBACK.fullmatch(name)) and match["event"] in _HOOKS:
            self.reading.hooks.setdefault(_HOOKS[match["event"]], []).append(self._part(text))
        elif match and _OTHER_EVENTS.fullmatch(match["event"]):
            what = f"Flyway would run this callback, and dbinit has none for {match['event']}; do it in another way"
            self.reading.problems.append(Problem(text.path, what))
        elif _ALMOST.fullmatch(name):
            what = "Flyway would pass over this name; name it like V1__name.sql, U1__name.sql or R__name.sql"
            self.reading.problems.append(Problem(text.path, what))

    def _read_versioned(self, text: FileText, match: re.Match[str]) -> None:
        version = read_version(text, match["version"], self.reading.problems)
        if version is None:
            return
        part, name = self._part(text), match["name"] or ""
        if match["prefix"] == "U":
            self.downs.append((Named(text, version, name), part))
        elif match["prefix"] == "V":
            self.ups.append(Migration(text.file, version, name, part, None, text.checksum()))
        else:
            self.baselines.append(Migration(text.file, version, name, part, None, text.checksum(), Kind.BASELINE))

    def _read_repeatable(self, text: FileText, name: str) -> None:
        if name in self._repeatable:
            what = f"this has the same name as {self._repeatable[name]}; rename one of them"
            self.reading.problems.append(Problem(text.path, what))
        self._repeatable[name] = text.path
        part = self._part(text)
        # Another value of a placeholder is another script.
        digest = checksum_of(part.text)
        self.reading.migrations.append(Migration(text.file, None, name, part, None, digest, Kind.REPEATABLE))

    def _part(self, text: FileText) -> Part:
        conf = self._confs.get(f"{text.file.name}.conf", _Conf())
        part = text.part(transaction=conf.transaction)
        return part._replace(text=self._replaced(text)) if conf.replaces else part

    def _replaced(self, text: FileText) -> str:
        def value(match: re.Match[str]) -> str:
            found = self._values.get(match["name"].lower()) if match["end"] else None
            if found is None:
                what = f"{NO_VALUE} {match[0]:.60}{_GIVE if match['end'] else ''}"
                text.problems.append(text.problem(match.start(), what))
            return found or ""

        return _PLACEHOLDER.sub(value, text.text)


def _conf(text: FileText) -> _Conf:
    """Read the settings of a script; mistakes go to the file's problems."""
    conf = _Conf()
    for match in _SETTING.finditer(text.text):
        key, value = match["key"].strip(), (match["value"] or "").strip()
        if key == "executeInTransaction" and value in _TRUTH:
            conf = conf._replace(transaction=Transaction.BY_CONTENT if _TRUTH[value] else Transaction.NO)
        elif key == "placeholderReplacement" and value in _TRUTH:
            conf = conf._replace(replaces=_TRUTH[value])
        elif key != "encoding" or value.upper() not in {"UTF-8", "UTF8"}:
            what = (
                f"{key}={value} is nothing that dbinit can do; it knows executeInTransaction and placeholderReplacement"
            )
            text.problems.append(text.problem(match.start(), what))
    return conf

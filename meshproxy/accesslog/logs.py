# -*- test-case-name: tests.accesslog.test_logs -*-
"""
The access logs of a listener, a connection manager or a tcp_proxy, compiled from
C{envoy.config.accesslog.v3.AccessLog}.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from meshproxy.accesslog.commands import FormatError
from meshproxy.accesslog.contents import FILE_OPERATORS, FindSecret, secretOperators
from meshproxy.accesslog.expressionvalues import expressionOperators
from meshproxy.accesslog.files import LogFile, LogFiles
from meshproxy.accesslog.filters import LogFilter, RuntimeInteger, compileFilter, configuredInteger
from meshproxy.accesslog.formatter import DEFAULT_FORMAT, Formatter, Operators, compileFormat
from meshproxy.accesslog.jsonformat import compileJSONFormat
from meshproxy.accesslog.operators import OPERATORS
from meshproxy.config.cel.functions import compileOptions
from meshproxy.config.structs import structValue
from meshproxy.net.turn import turn

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import StreamInfo
    from meshproxy.config import Section

__all__ = [
    "AccessLogContext",
    "AccessLogs",
    "checkFormatters",
    "compileAccessLogs",
    "compileBodyFormat",
    "compileFormatString",
    "compileFormatters",
]

_PACKAGE = "envoy.extensions.access_loggers."
_FILE = _PACKAGE + "file.v3.FileAccessLog"
_STANDARD = {
    _PACKAGE + "stream.v3.StdoutAccessLog": "/dev/stdout",
    _PACKAGE + "stream.v3.StderrAccessLog": "/dev/stderr",
}

# The extensions of formats. The operators of the first ones are always there.
_CEL = "envoy.extensions.formatter.cel.v3.Cel"
_BUILT_IN = (
    "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery",
    "envoy.extensions.formatter.metadata.v3.Metadata",
)
_FILE_CONTENT = "envoy.extensions.formatter.file_content.v3.FileContent"
_SECRET = "envoy.extensions.formatter.generic_secret.v3.GenericSecret"
_FORMATTERS = (_CEL, *_BUILT_IN, _FILE_CONTENT, _SECRET)


# Writes the lines of some streams.
_Write = Callable[[Sequence["StreamInfo"]], None]


class AccessLogContext:
    """
    What access logs need of the process.

    @ivar files: The open files.
    @ivar runtime: The runtime's integers.
    @ivar findSecret: The secrets that formats may show.
    """

    __slots__ = ("files", "findSecret", "runtime")

    def __init__(
        self, files: LogFiles, runtime: RuntimeInteger = configuredInteger, findSecret: FindSecret | None = None
    ) -> None:
        self.files = files
        self.runtime = runtime
        self.findSecret = findSecret


class AccessLogs:
    """
    Several logs as one. It is false if there are none, so that nobody needs to gather facts for nothing.

    @ivar log: Write the line of a stream to each log that takes it: C{log(info, "DownstreamEnd")}.
    """

    _log = Logger()

    __slots__ = ("_ended", "_files", "_held", "_writers", "log")

    def __init__(
        self,
        writers: Sequence[_Write],
        held: Sequence[LogFile] = (),
        files: LogFiles | None = None,
    ) -> None:
        """
        @param writers: What writes lines to one log.
        @param held: The files that L{close} gives back to C{files}.
        """
        self._writers = tuple(writers)
        self._held = list(held)
        self._files = files
        self._ended: list[StreamInfo] = []
        self.log = _together(self._writers)

    def __bool__(self) -> bool:
        return bool(self._writers)

    def logEnd(self, info: StreamInfo, logType: str = "DownstreamEnd") -> None:
        """
        The same as C{log(info, logType)} for a stream that is over, and does not change any more. Within a turn
        of the reactor the lines of all such streams are made together at its end, which costs less than making each by
        itself: the same code runs again and again.
        """
        info.logType = logType
        if not turn.active:
            for write in self._writers:
                write((info,))
            return
        if not self._ended:
            turn.written.append(self)
        self._ended.append(info)

    def flush(self) -> None:
        """
        Write the lines of the streams that ended during the turn.
        """
        ended, self._ended = self._ended, []
        if len(self._writers) == 1:
            self._writers[0](ended)
            return
        # Several logs may share a file: line by line, they stand there as if each had been written at once.
        for info in ended:
            for write in self._writers:
                write((info,))

    def failed(self) -> None:
        """
        Making a line raised.
        """
        self._log.failure("an access log cannot be written")

    def close(self) -> Deferred[None]:
        """
        Give up the files.

        @return: Fires when what waited in those that nobody else has was written.
        """
        self.flush()
        held, self._held = self._held, []
        closing = [self._files.release(file) for file in held] if self._files is not None else []
        return gatherResults(closing).addCallback(lambda _: None)


def _together(writers: tuple[_Write, ...]) -> Callable[[StreamInfo, str], None]:
    def log(info: StreamInfo, logType: str) -> None:
        info.logType = logType
        for write in writers:
            write((info,))

    return log


def compileAccessLogs(
    sections: Sequence[Section], context: AccessLogContext, kind: type[AccessLogs] = AccessLogs
) -> AccessLogs:
    """
    Compile a list of C{AccessLog}. Faults are recorded, and the logs that have them left out.

    @param kind: What to make of them.
    """
    writers: list[_Write] = []
    held: list[LogFile] = []
    for section in sections:
        wanted = section.child("filter")
        test = None if wanted is None else compileFilter(wanted, context.runtime)
        opened = _openLog(section, context)
        if opened is not None:
            file, formatter = opened
            held.append(file)
            writers.append(_writer(file, formatter, test))
    return kind(writers, held, context.files)


def _writer(file: LogFile, formatter: Formatter, test: LogFilter | None) -> _Write:
    lines, format = formatter.lines(), formatter.format

    def write(infos: Sequence[StreamInfo]) -> None:
        if infos and not file.add(lines(infos), len(infos)):
            # There is no room for all of them.
            for info in infos:
                file.write(format(info))

    if test is None:
        return write
    return lambda infos: write([info for info in infos if test(info)])


def _openLog(section: Section, context: AccessLogContext) -> tuple[LogFile, Formatter] | None:
    config = section.any("typed_config")
    if config is None:
        if not section.has("typed_config"):
            section.refuse("an access log needs a typed_config")
        return None
    if config.typeName == _FILE:
        path = config.get("path")
        formatter = _fileFormat(config, context)
    elif config.typeName in _STANDARD:
        path = _STANDARD[config.typeName]
        child = config.child("log_format")
        formatter = None if child is None else compileFormatString(child, context.findSecret)
    else:
        near = (_FILE, *_STANDARD)
        section.refuse(f"{config.typeName} is not an access log that this program has", "typed_config", near)
        return None
    try:
        return context.files.open(path), formatter or compileFormat(DEFAULT_FORMAT)
    except OSError as error:
        config.refuse(f"cannot open {path}: {error.strerror}", "path" if config.typeName == _FILE else "")
        return None


def _fileFormat(config: Section, context: AccessLogContext) -> Formatter | None:
    kind = config.oneof("access_log_format")
    if kind is None:
        return None
    if kind == "format":
        return compileFormat(config.get("format"), config, "format")
    child = config.child(kind)
    if child is None:
        return None
    if kind == "log_format":
        return compileFormatString(child, context.findSecret)
    return _structFormat(child, False)


def compileFormatString(section: Section, findSecret: FindSecret | None = None) -> Formatter:
    """
    Compile C{envoy.config.core.v3.SubstitutionFormatString}, which local replies use as well.

    @param findSecret: The secrets that it may show; without it, it may show none.
    """
    operators = compileFormatters(section, findSecret)
    omitEmpty = section.get("omit_empty_values")
    kind = section.oneof("format")
    if kind == "text_format":
        return compileFormat(section.get("text_format"), section, "text_format", omitEmpty, operators)
    if kind == "json_format":
        return _structFormat(section.childOrEmpty("json_format"), omitEmpty, operators)
    return _sourceFormat(section.childOrEmpty("text_format_source"), omitEmpty, operators)


def checkFormatters(section: Section) -> None:
    """
    Look at the C{formatters} of a message whose formats have no more operators than there are without any.
    """
    if compileFormatters(section) is not OPERATORS:
        section.refuse("only formatters that add no operators are implemented here", "formatters")


def compileFormatters(section: Section, findSecret: FindSecret | None = None) -> Operators:
    """
    The operators that there are with the C{formatters} of a message.

    @param findSecret: See L{compileFormatString}.
    """
    operators: Operators = OPERATORS
    for index, extension in enumerate(section.children("formatters")):
        config = extension.any("typed_config")
        if config is not None and config.typeName not in _FORMATTERS:
            section.refuse(f"{config.typeName} is not a formatter that this program has", f"formatters[{index}]")
        elif config is not None and config.typeName == _CEL and config.has("cel_config"):
            operators = {**operators, **expressionOperators(compileOptions(config.child("cel_config")))}
        elif config is not None and config.typeName == _FILE_CONTENT:
            operators = {**operators, **FILE_OPERATORS}
        elif config is not None and config.typeName == _SECRET:
            if findSecret is None:
                section.refuse("secrets cannot be shown here", f"formatters[{index}]")
                continue
            found = {name: findSecret(held) for name, held in config.entries("secret_configs").items()}
            known = {name: read for name, read in found.items() if read is not None}
            if len(known) == len(found):
                operators = {**operators, **secretOperators(known)}
            else:
                # What is wrong is told; so that an operator is not as well, it shows nothing.
                operators = {**operators, "SECRET": lambda command: lambda info: None}
    return operators


def compileBodyFormat(section: Section, findSecret: FindSecret | None = None) -> tuple[Formatter, bytes]:
    """
    Compile C{SubstitutionFormatString} as the format of a body.

    @param findSecret: See L{compileFormatString}.

    @return: With it, the C{content-type} of what it makes.
    """
    usual = "application/json" if section.oneof("format") == "json_format" else "text/plain"
    return compileFormatString(section, findSecret), (section.get("content_type") or usual).encode("utf-8")


def _sourceFormat(source: Section, omitEmpty: bool, operators: Operators) -> Formatter:
    """
    A format in an C{envoy.config.core.v3.DataSource}.
    """
    kind = source.oneof("specifier") or ""
    if kind == "inline_bytes":
        data: bytes = source.get(kind)
        return compileFormat(data.decode("utf-8", "surrogateescape"), source, kind, omitEmpty, operators)
    given: str = source.get(kind) if kind else ""
    text: str
    if kind == "environment_variable":
        text = os.environ.get(given, "")
        if given not in os.environ:
            source.refuse(f"there is no environment variable {given}", kind)
    elif kind == "filename":
        text = _fileText(source, given)
    else:
        text = given
    return compileFormat(text, source, kind, omitEmpty, operators)


def _fileText(source: Section, path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as error:
        source.refuse(f"cannot read {path}: {error.strerror}", "filename")
        return ""


def _structFormat(section: Section, omitEmpty: bool, operators: Operators = OPERATORS) -> Formatter:
    try:
        return compileJSONFormat(structValue(section), omitEmpty, operators=operators)
    except FormatError as error:
        section.refuse(error.why, "", error.near)
        return Formatter("", lambda info: "", "")

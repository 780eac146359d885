# -*- test-case-name: tests.accesslog -*-
"""
Access logs: what is known about a stream, the operators that show it, filters and sinks.
"""

from meshproxy.accesslog.commands import FormatError
from meshproxy.accesslog.files import LogFiles
from meshproxy.accesslog.formatter import DEFAULT_FORMAT, Formatter, compileFormat
from meshproxy.accesslog.jsonformat import compileJSONFormat
from meshproxy.accesslog.logs import AccessLogContext, AccessLogs, compileAccessLogs, compileFormatString
from meshproxy.accesslog.streaminfo import Address, ConnectionInfo, StreamInfo

__all__ = [
    "DEFAULT_FORMAT",
    "AccessLogContext",
    "AccessLogs",
    "Address",
    "ConnectionInfo",
    "FormatError",
    "Formatter",
    "LogFiles",
    "StreamInfo",
    "compileAccessLogs",
    "compileFormat",
    "compileFormatString",
    "compileJSONFormat",
]

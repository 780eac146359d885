# -*- test-case-name: tests.controlplane.cli.test_client -*-
"""
The API, as a command asks it.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode, urlsplit

__all__ = ["APIClient", "CommandFailed", "Locate", "path"]

#: For a line of a body, the name of the file that it stands in, and its line there.
Locate: TypeAlias = Callable[[int], tuple[str, int]]

_PATIENCE = 30.0


class CommandFailed(Exception):
    """
    A command cannot do what it was asked for. Its text is for the user.

    @ivar code: The exit status.
    @ivar status: The status of the answer that says so, or 0.
    """

    def __init__(self, why: str, code: int = 1, status: int = 0) -> None:
        super().__init__(why)
        self.code = code
        self.status = status


def path(*segments: str, **query: object) -> str:
    """
    A path of the API.

    @param query: Query parameters; those that are L{None} or empty are left out.
    """
    told = {name: value for name, value in query.items() if value not in (None, "", False)}
    text = "/" + "/".join(quote(segment, safe="") for segment in segments)
    return f"{text}?{urlencode(told)}" if told else text


class APIClient:
    """
    Requests to one control plane.
    """

    def __init__(
        self, server: str, token: str = "", context: ssl.SSLContext | None = None, patience: float = _PATIENCE
    ) -> None:
        """
        @param server: C{http://HOST:PORT} or C{https://...}.
        @param token: A bearer token, or nothing.
        @param context: How a server on https is verified, and what is shown to it.
        @param patience: Seconds to wait for an answer.

        @raise CommandFailed: If the address is none.
        """
        parts = urlsplit(server)
        try:
            port = parts.port
        except ValueError as error:
            raise CommandFailed(f"--server: {error}: {server!r}", 2) from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise CommandFailed(f"--server is http://HOST:PORT or https://HOST:PORT, not {server!r}", 2)
        self.server = server
        self._isTLS = parts.scheme == "https"
        self._host = parts.hostname
        self._port = port or (443 if self._isTLS else 80)
        self._token = token
        self._context = context
        self._patience = patience

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        contentType: str = "application/json",
        locate: Locate | None = None,
    ) -> Any:
        """
        One request.

        @param locate: Tells where a line of the body stands: the name of a file, and the line there.

        @return: The JSON of the answer.

        @raise CommandFailed: If there is no answer, or one that says what is wrong.
        """
        connection = self._connect(self._patience)
        try:
            response = self._send(connection, method, target, body, contentType)
            data = response.read()
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()
        if response.status >= 400:
            raise CommandFailed(_explain(response.status, data, locate), status=response.status)
        return _parse(data)

    def json(self, method: str, target: str, value: object) -> Any:
        """
        One request with a body in JSON.
        """
        return self.ask(method, target, json.dumps(value).encode("utf-8"))

    def follow(self, target: str) -> Iterator[Any]:
        """
        The lines of an answer that goes on.
        """
        connection = self._connect(None)
        try:
            response = self._send(connection, "GET", target, None, "")
            if response.status >= 400:
                raise CommandFailed(_explain(response.status, response.read()))
            while line := response.readline():
                yield _parse(line)
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _connect(self, timeout: float | None) -> HTTPConnection:
        if self._isTLS:
            context = self._context or ssl.create_default_context()
            return HTTPSConnection(self._host, self._port, timeout=timeout, context=context)
        return HTTPConnection(self._host, self._port, timeout=timeout)

    def _send(self, connection: HTTPConnection, method: str, target: str, body: bytes | None, contentType: str) -> Any:
        headers: dict[str, str] = {"Accept": "application/problem+json, application/json"}
        if body is not None:
            headers["Content-Type"] = contentType
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        connection.request(method, target, body, headers)
        return connection.getresponse()

    def _unreachable(self, error: Exception) -> CommandFailed:
        if isinstance(error, ConnectionRefusedError):
            why = "nobody listens there; is the control plane running? twistd -n meshproxy control"
        else:
            why = str(error) or type(error).__name__
        return CommandFailed(f"{self.server}: {why}")


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise CommandFailed(f"the answer is not of a control plane: {data[:100]!r}") from error


def _explain(status: int, data: bytes, locate: Locate | None = None) -> str:
    """
    A problem in lines, each fault on one.
    """
    try:
        problem = json.loads(data)
    except ValueError:
        problem = None
    if not isinstance(problem, Mapping):
        return f"HTTP status {status}: {data[:200].decode('utf-8', 'replace')}"
    lines = [str(problem.get("detail") or problem.get("message") or f"HTTP status {status}")]
    errors = problem.get("errors")
    faults = [error for error in errors if isinstance(error, Mapping)] if isinstance(errors, list) else []
    lines += [_fault(error, locate) for error in faults]
    return "\n".join(lines)


def _fault(error: Mapping[str, Any], locate: Locate | None) -> str:
    place, line = "", error.get("line") or 0
    name = str(error.get("file") or "")
    if not name and line and locate is not None:
        name, line = locate(line)
    if name:
        place = f"{name}:{line}:{error.get('column', 0)}  "
    where = ", ".join(str(error[name]) for name in ("resource", "path") if error.get(name))
    hint = f"; did you mean {error['suggestion']}?" if error.get("suggestion") else ""
    return f"{place}{where}: {error.get('message', '')}{hint}"

# -*- test-case-name: tests.xds.test_localcopy -*-
"""
What a control plane said last and was taken, kept in a file: a proxy that begins while the control plane is away begins
with that.

The file is replaced as a whole and readable by its owner alone. Private keys and other secrets that came by SDS are not
in it; what only verifies others is.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from google.protobuf.message import DecodeError
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshproxy.accesslog.files import RunInThread
from meshproxy.config.pool import messageClass
from meshproxy.errors import MeshProxyError
from meshproxy.stats import Store
from meshproxy.xds.client import Update
from meshproxy.xds.types import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION,
    FULL_STATE,
    LISTENER,
    ROUTES,
    SCOPED_ROUTES,
    SECRET,
    shortName,
)

__all__ = ["CopyFault", "Held", "LocalCopy", "copyName", "readCopy"]

_FORMAT = "meshproxy xDS copy 1"

_DELAY = 1.0
"""
Seconds from a response until the file is written: what comes together is written once.
"""

_PAUSE = 10.0
"""
Seconds between two writings: where endpoints come and go all the time, all of it is not written for each of them.
"""

_LARGEST = 1 << 30
"""
Bytes of a file that is read: far more than what a control plane may send.
"""

# What names something comes after it; secrets twice, since clusters and listeners both name some.
_ORDER = (CLUSTER, ENDPOINTS, SECRET, LISTENER, SECRET, EXTENSION, SCOPED_ROUTES, ROUTES)


class CopyFault(MeshProxyError):
    """
    A file that is no copy for this proxy.
    """


@dataclass
class Held:
    """
    What is held of one type.

    @ivar resources: Versions and serialized messages, by name.
    """

    version: str = ""
    resources: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def take(self, update: Update) -> None:
        """
        A response was taken.
        """
        self.version = update.version
        if update.isWhole:
            self.resources = {}
        for name in update.removed:
            self.resources.pop(name, None)
        for name, value in update.resources.items():
            if update.typeURL == SECRET and not _isPublic(value):
                self.resources.pop(name, None)
            else:
                self.resources[name] = (update.versions.get(name, update.version), value)


def _isPublic(secret: bytes) -> bool:
    """
    Whether a C{Secret} only says whom to trust.
    """
    message: Any = messageClass(SECRET.rpartition("/")[2]).FromString(secret)
    return bool(message.WhichOneof("type") == "validation_context")


def copyName(node: str) -> str:
    """
    The name of the file for a node: proxies may share a folder.
    """
    return f"{quote(node, safe='~')[:150]}-{hashlib.sha256(node.encode()).hexdigest()[:12]}.xds"


def _text(node: str, saved: float, types: Mapping[str, Held]) -> bytes:
    """
    The file: a head, then a line for each type and each resource. It is made in a thread; line by line, it keeps the
    reactor's from nothing for long.
    """
    lines = []
    for typeURL, held in types.items():
        lines.append(json.dumps({"type": typeURL, "version": held.version}))
        for name, (version, value) in sorted(held.resources.items()):
            told = {"name": name, "version": version, "value": b64encode(value).decode("ascii")}
            lines.append(json.dumps(told))
    data = "\n".join(lines).encode("ascii")
    head = {"format": _FORMAT, "node": node, "saved": saved, "sha256": hashlib.sha256(data).hexdigest()}
    return json.dumps(head).encode("ascii") + b"\n" + data + b"\n"


def _write(path: str, data: bytes) -> None:
    """
    Replace a file, so that whoever looks finds the former one or this one, whenever the power fails.

    @raise OSError: If it cannot be written.
    """
    folder = os.path.dirname(path)
    os.makedirs(folder, 0o700, exist_ok=True)
    beside = f"{path}.{os.getpid()}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(beside, path)
    except OSError:
        os.unlink(beside)
        raise
    parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def readCopy(path: str, node: str) -> tuple[float, dict[str, Held]]:
    """
    Read a file.

    @param node: Whose copy it is to be.

    @return: When it was written, and what is in it, by type.

    @raise CopyFault: If it is no copy, or that of another.
    @raise FileNotFoundError: If there is none.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o022:
                raise CopyFault("others than its owner may write it; chmod 600 if it is good all the same")
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CopyFault(f"it cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise CopyFault(f"it is longer than {_LARGEST} bytes")
    head, _, rest = data.partition(b"\n")
    try:
        told: Any = json.loads(head)
        if not isinstance(told, dict) or told.get("format") != _FORMAT:
            raise CopyFault(f"it does not begin as {_FORMAT!r} does")
        if told.get("node") != node:
            raise CopyFault(f"it is of the node {told.get('node')!r}, and this is {node!r}")
        body = rest.rstrip(b"\n")
        if hashlib.sha256(body).hexdigest() != told.get("sha256"):
            raise CopyFault("its checksum is wrong: it is damaged, or was changed by hand")
        return float(told["saved"]), _parsed(body.splitlines())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DecodeError) as error:
        raise CopyFault(f"it is damaged ({type(error).__name__})") from error


def _parsed(lines: list[bytes]) -> dict[str, Held]:
    found: dict[str, Held] = {}
    held = Held()
    make: Any = None
    for line in lines:
        told = json.loads(line)
        if "type" in told:
            typeURL = told["type"]
            held = found[typeURL] = Held(told["version"])
            make = messageClass(typeURL.rpartition("/")[2]) if typeURL in _ORDER else None
            continue
        value = b64decode(told["value"], validate=True)
        if make is not None:
            # Whether it is a message at all: nobody looks again.
            make.FromString(value)
        held.resources[told["name"]] = (told["version"], value)
    return found


class LocalCopy:
    """
    The copy of one proxy.

    @ivar path: Its file.
    """

    _log = Logger()

    def __init__(
        self,
        folder: str,
        node: str,
        clock: Any,
        store: Store,
        runInThread: RunInThread,
        isWanted: Callable[[str, str], bool],
    ) -> None:
        """
        @param folder: Where the file is; it is made when it is needed.
        @param node: The id of the proxy.
        @param runInThread: Where to write.
        @param isWanted: Whether a resource, by its type and name, is asked for: others are not kept.
        """
        self.path = os.path.join(folder, copyName(node))
        self._node = node
        self._clock = clock
        self._runInThread = runInThread
        self._isWanted = isWanted
        self._types: dict[str, Held] = {}
        self._call: Any = None
        self._isChanged = False
        self._isWriting = False
        self._savedAt = -_PAUSE
        self._stopped: Deferred[None] | None = None
        scope = store.scope("control_plane.local_copy.")
        self._saved = scope.counter("saved")
        self._failed = scope.counter("save_failed")
        self._ignored = scope.counter("ignored")
        self._inUse = scope.gauge("in_use")

    # Keeping

    def take(self, update: Update) -> None:
        """
        A response was taken: keep it soon.
        """
        self._inUse.value = 0
        self._types.setdefault(update.typeURL, Held()).take(update)
        self._isChanged = True
        self._saveSoon()

    def _saveSoon(self) -> None:
        if self._call is None:
            since = self._clock.seconds() - self._savedAt
            self._call = self._clock.callLater(max(_DELAY, _PAUSE - since), self._save)

    def stop(self) -> Deferred[None]:
        """
        Write what is not written yet, and no more.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if not self._isWriting:
            self._save()
        if not self._isWriting:
            return succeed(None)
        self._stopped = Deferred()
        return self._stopped

    def _save(self) -> None:
        self._call = None
        if self._isWriting or not self._isChanged:
            return
        self._isChanged, self._isWriting = False, True
        kept = {typeURL: Held(held.version, self._kept(typeURL, held)) for typeURL, held in self._types.items()}
        saved = self._savedAt = self._clock.seconds()
        done = self._runInThread(lambda: _write(self.path, _text(self._node, saved, kept)))
        done.addCallbacks(self._cbSaved, self._ebSaved)
        done.addCallback(lambda _: self._written())

    def _kept(self, typeURL: str, held: Held) -> dict[str, tuple[str, bytes]]:
        if typeURL in FULL_STATE:
            return dict(held.resources)
        return {name: value for name, value in held.resources.items() if self._isWanted(typeURL, name)}

    def _cbSaved(self, _: None) -> None:
        self._saved.value += 1

    def _ebSaved(self, failure: Failure) -> None:
        self._failed.value += 1
        self._log.error("the local copy {path} cannot be written: {why}", path=self.path, why=failure.getErrorMessage())

    def _written(self) -> None:
        self._isWriting = False
        if self._stopped is None:
            if self._isChanged:
                self._saveSoon()
            return
        self._save()
        if not self._isWriting:
            self._stopped.callback(None)

    # Beginning with it

    def load(self, taken: frozenset[str]) -> list[Update]:
        """
        What is to be served in place of what the control plane would have said. The log tells where there is nothing,
        and why.

        @param taken: The types that it did say something of.
        """
        try:
            saved, types = readCopy(self.path, self._node)
        except FileNotFoundError:
            self._log.warn("there is no local copy {path} to begin with", path=self.path)
            return []
        except CopyFault as error:
            self._ignored.value += 1
            self._log.error("the local copy {path} is ignored: {why}", path=self.path, why=str(error))
            return []
        found = {typeURL: held for typeURL, held in types.items() if typeURL not in taken and typeURL in _ORDER}
        self._types = {**found, **self._types}
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(saved))
        told = ", ".join(f"{len(held.resources)} {shortName(typeURL)}" for typeURL, held in found.items())
        self._log.warn("beginning with the local copy {path} of {when}: {told}", path=self.path, when=when, told=told)
        self._inUse.value = 1
        return [_updateOf(typeURL, found[typeURL]) for typeURL in _ORDER if typeURL in found]

    def versions(self) -> dict[str, dict[str, str]]:
        """
        The versions of what is held, by type and name.
        """
        return {
            typeURL: {name: version for name, (version, _) in held.resources.items()}
            for typeURL, held in self._types.items()
        }


def _updateOf(typeURL: str, held: Held) -> Update:
    return Update(
        typeURL,
        held.version,
        "",
        {name: value for name, (_, value) in held.resources.items()},
        isWhole=typeURL in FULL_STATE,
        versions={name: version for name, (version, _) in held.resources.items()},
    )

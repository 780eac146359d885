# -*- test-case-name: tests.secrets.test_store -*-
"""
The secrets that configurations name: static ones, and those that come by SDS.

A L{NamedSecret} stays the same object while its content changes; whoever uses it is told and reads it again. A change
that does not load is refused, counted, and told in the log with its place; what was there stays.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from twisted.logger import Logger

from meshproxy.config import Report, Section
from meshproxy.config.sources import readNodes, readResources
from meshproxy.config.supported import supported
from meshproxy.errors import ConfigErrors
from meshproxy.secrets.keys import loadCertifiedKey
from meshproxy.secrets.sources import Loading, readSource
from meshproxy.secrets.stapling import Staple
from meshproxy.secrets.validation import compileValidation
from meshproxy.secrets.watch import SecretFiles, Watch
from meshproxy.stats import Store

__all__ = ["NEVER", "FileSecret", "ISecretStreams", "NamedSecret", "SecretStore", "SecretUser", "checkSecret"]

_SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"

#: What Envoy tells where no certificate can expire: the greatest number of 32 bits.
NEVER = (1 << 32) - 1

#: What a secret may hold, by the field that holds it.
_KINDS = {
    "tls_certificate": "a TLS certificate",
    "validation_context": "a validation context",
    "generic_secret": "a generic secret",
    "session_ticket_keys": "session ticket keys",
}


class SecretUser(Protocol):
    """
    What uses secrets, for C{/certs}.
    """

    def certificates(self) -> list[tuple[list[tuple[str, Any]], list[tuple[str, Any]]]]:
        """
        Pairs of lists: roots and chains, each certificate with the path of its file.
        """

    def staples(self) -> Mapping[Any, Staple]:
        """
        The OCSP responses, by the certificates that they are about.
        """


class ISecretStreams(Protocol):
    """
    Where secrets come from that have a control plane of their own.
    """

    def find(self, name: str, section: Section) -> NamedSecret | None:
        """
        The secret of a C{ConfigSource} with an C{api_config_source}; L{None} if that is wrong, which is told.
        """

    @property
    def all(self) -> list[NamedSecret]:
        """
        Those that are used.
        """


def checkSecret(section: Section) -> None:
    """
    Load a C{Secret} for a try. Faults are told at their places.
    """
    kind = section.oneof("type")
    loading = Loading()
    if kind is None:
        section.refuse(f"holds no secret: one of {', '.join(_KINDS)} is needed")
    elif kind == "tls_certificate":
        loadCertifiedKey(section.childOrEmpty(kind), loading)
    elif kind == "validation_context":
        compileValidation(section.childOrEmpty(kind), loading)
    elif kind == "generic_secret":
        for source in _genericSources(section.childOrEmpty(kind)):
            readSource(source, loading, isText=False)
    else:
        section.refuse("session_ticket_keys are not implemented: OpenSSL's tickets end with the process", kind)


def _genericSources(held: Section) -> list[Section]:
    single = held.child("secret")
    return [*([] if single is None else [single]), *held.entries("secrets").values()]


class NamedSecret:
    """
    One secret.

    @ivar name: As others refer to it.
    @ivar section: The C{Secret} message, L{None} until it came.
    @ivar version: Of the control plane's answer.
    @ivar updated: When it came, in the clock's seconds.
    """

    def __init__(self, name: str, section: Section | None = None) -> None:
        self.name = name
        self.section = section
        self.version = ""
        self.updated = 0.0
        self._users: dict[Callable[[], object], None] = {}

    @property
    def isUsed(self) -> bool:
        """
        Whether anybody is told of its changes.
        """
        return bool(self._users)

    def subscribe(self, changed: Callable[[], object]) -> Callable[[], None]:
        """
        Be told of each new content.

        @return: Call it to be told no more.
        """
        self._users[changed] = None
        return lambda: self._users.pop(changed, None) and None

    def receive(self, section: Section, version: str = "", now: float = 0.0) -> None:
        """
        Take another content.

        @raise ConfigErrors: If it does not load. Then all stays as it was.
        """
        checkSecret(section)
        section.report.raiseIfAny()
        self.section, self.version, self.updated = section, version, now
        self.tell()

    def tell(self) -> None:
        """
        Have the users read it again.
        """
        for changed in list(self._users):
            changed()


class _Reader:
    """
    Reads the text of a generic secret.
    """

    def __init__(self, secret: NamedSecret) -> None:
        self._secret = secret
        self._section: Section | None = None
        self._text: bytes | None = None
        # A stream is there while anybody is told of changes. This one need not be: it sees them.
        weakref.finalize(self, secret.subscribe(lambda: None)).atexit = False

    def __call__(self) -> bytes | None:
        section = self._secret.section
        if section is not self._section and section is not None:
            self._section = section
            held = section.child("generic_secret")
            source = None if held is None else held.child("secret")
            self._text = None if source is None else readSource(source, Loading(), isText=False)
        return self._text


class SecretStore:
    """
    All secrets of a proxy.

    @ivar static: Those of the configuration that is served.
    @ivar files: Watches the files that secrets are in.
    @ivar own: Those that this proxy itself comes by: its identity. References to these names by ADS are to them.
    @ivar users: What is made of secrets now.
    @ivar hasStream: Whether secrets may come from the control plane.
    @ivar streams: Those that have a control plane of their own.
    """

    _log = Logger()

    def __init__(self, store: Store, clock: Any) -> None:
        self.clock = clock
        self.hasStream = False
        self.streams: ISecretStreams | None = None
        self.files = SecretFiles(clock)
        self.static: dict[str, NamedSecret] = {}
        self.own: dict[str, NamedSecret] = {}
        self.users: dict[SecretUser, None] = {}
        self._store = store
        self._next: dict[str, NamedSecret] = {}
        self._compiled: dict[str, Section] = {}
        self._fromFiles: dict[tuple[str, str], FileSecret] = {}
        self._fromStream: dict[str, NamedSecret] = {}
        scope = store.scope("secrets.")
        self.updated = scope.counter("update_success")
        self.rejected = scope.counter("update_rejected")

    # Static secrets

    def compile(self, sections: Sequence[Section]) -> None:
        """
        Read the C{Secret} messages of a configuration. Until L{replace} or L{keep}, names stand for these.
        """
        found: dict[str, Section] = {}
        for section in sections:
            name = section.get("name")
            if name in found:
                section.refuse(f"there are two secrets of the name {name!r}", "name")
            checkSecret(section)
            found[name] = section
        # One that serves already stays the same object, so that clusters that stay see its change.
        self._next = {name: self.static.get(name) or NamedSecret(name, section) for name, section in found.items()}
        self._compiled = found

    def keep(self) -> None:
        """
        What was compiled last will not serve.
        """
        self._next = self.static
        self._compiled = {name: secret.section for name, secret in self.static.items() if secret.section is not None}

    def replace(self) -> None:
        """
        Serve those that were compiled last from now on.
        """
        old, self.static = self.static, self._next
        for name, secret in self.static.items():
            section = self._compiled[name]
            before = secret.section
            secret.section = section
            if before is not section or name not in old:
                secret.updated = self.clock.seconds()
            if name in old and before is not None and before.message != section.message:
                secret.tell()

    # By name

    def find(self, section: Section) -> NamedSecret | None:
        """
        The secret that an C{SdsSecretConfig} names; L{None} if there is none, which is told.
        """
        name = section.get("name")
        source = section.child("sds_config")
        if source is None:
            found = self._next.get(name)
            if found is None:
                known = ", ".join(sorted(self._next)) or "none"
                section.refuse(f"there is no static secret {name!r}; there are: {known}", "name")
            return found
        if source.has("ads"):
            if name in self.own:
                # Whoever else has secrets of that name: as with Istio's agent, they are the proxy's own.
                return self.own[name]
            if not self.hasStream:
                source.refuse("nothing comes by ads without dynamic_resources.ads_config in the bootstrap", "ads")
                return None
            return self._fromStream.setdefault(name, NamedSecret(name))
        if self.streams is not None and source.has("api_config_source"):
            return self.streams.find(name, source)
        file = source.child("path_config_source")
        path = source.get("path") if file is None else file.get("path")
        if not path:
            told = "path_config_source (a file), api_config_source (gRPC) and ads"
            source.refuse(f"of the sources of secrets, {told} are implemented")
            return None
        if not Path(path).exists():
            source.refuse(f"{path!r} does not exist", "path" if file is None else "path_config_source.path")
            return None
        key = (path, name)
        found = self._fromFiles.get(key)
        if found is None:
            found = self._fromFiles[key] = FileSecret(name, path, self, self._store)
        return found

    def reader(self, section: Section) -> Callable[[], bytes | None] | None:
        """
        What reads the text of a generic secret that an C{SdsSecretConfig} names, as it is each time; L{None} if there
        is no such secret, which is told. The secret is used for as long as what is returned is.
        """
        found = self.find(section)
        if found is None:
            return None
        if not section.has("sds_config") and (found.section is None or found.section.oneof("type") != "generic_secret"):
            section.refuse(f"the static secret {found.name!r} is no generic one", "name")
            return None
        return _Reader(found)

    @property
    def dynamic(self) -> list[NamedSecret]:
        """
        Those that come by SDS.
        """
        streams = [] if self.streams is None else self.streams.all
        return [*self._fromFiles.values(), *streams, *self._fromStream.values()]

    @property
    def discovered(self) -> frozenset[str]:
        """
        The names of those that are to come from the control plane.
        """
        return frozenset(self._fromStream)

    def reserve(self, name: str) -> None:
        """
        Have references to a name be to a secret that this proxy comes by itself.
        """
        self.own[name] = NamedSecret(name)

    def receiveOwn(self, name: str, section: Section, version: str) -> None:
        """
        Such a secret is there, or another version of it; one that is there already changes nothing.

        @raise ConfigErrors: If it does not load. Then all stays as it was.
        """
        secret = self.own[name]
        if secret.section is None or secret.section.message != section.message:
            secret.receive(section, version, self.clock.seconds())
            self.updated.value += 1

    def receive(self, name: str, section: Section, version: str) -> None:
        """
        A secret came from the control plane.

        @raise ConfigErrors: If it does not load. Then all stays as it was.
        """
        secret = self._fromStream.get(name)
        if secret is None:
            return
        try:
            secret.receive(section, version, self.clock.seconds())
        except ConfigErrors:
            self.rejected.value += 1
            raise
        self.updated.value += 1

    def daysUntilExpiry(self, now: float) -> int:
        """
        Days until the first certificate in use is over; Envoy's figure for never if there is none.

        @param now: Seconds since the epoch.
        """
        ends = [
            certificate.not_valid_after_utc.timestamp()
            for user in self.users
            for roots, chains in user.certificates()
            for _, certificate in (*roots, *chains)
        ]
        return max(int((min(ends) - now) // 86400), 0) if ends else NEVER

    def secondsUntilStaplesEnd(self, now: float) -> int | None:
        """
        Seconds until the first OCSP response in use is over; L{None} where there is none.

        @param now: Seconds since the epoch.
        """
        # As in Envoy, one that does not say is over.
        ends = [staple.ends or 0.0 for user in self.users for staple in user.staples().values()]
        return max(int(min(ends) - now), 0) if ends else None

    # Life

    def start(self) -> None:
        """
        Begin to watch files.
        """
        self.files.start()

    def stop(self) -> None:
        """
        Watch nothing any more.
        """
        self.files.stop()

    def tellRejected(self, error: Exception) -> None:
        """
        A new content does not load: count it and log where it is wrong.
        """
        self.rejected.value += 1
        self._log.error("a changed secret is refused, the one before stays:\n{error}", error=str(error))


class FileSecret(NamedSecret):
    """
    A secret that comes by SDS from a file: one of the resources of a C{DiscoveryResponse}.
    """

    def __init__(self, name: str, path: str, secrets: SecretStore, store: Store) -> None:
        NamedSecret.__init__(self, name)
        self.path = path
        self._secrets = secrets
        scope = store.scope(f"sds.{name}.")
        self._attempts = scope.counter("update_attempt")
        self._success = scope.counter("update_success")
        self._failure = scope.counter("update_failure")
        self._rejected = scope.counter("update_rejected")
        self._watch: Watch = secrets.files.watch(self.read)
        self.read()

    def read(self) -> None:
        """
        Read the file.
        """
        self._watch.look([self.path])
        self._attempts.value += 1
        report = Report()
        try:
            node = readNodes(self.path, report)
        except ConfigErrors as error:
            self._failure.value += 1
            self._secrets.tellRejected(error)
            return
        try:
            file = readResources(self.path, node, _SECRET, report)
            mine = file.resources.get(self.name)
            if mine is None:
                raise ConfigErrors([file.whole.error(f"there is no secret {self.name!r} in it", "resources")])
            supported.check(mine)
            report.raiseIfAny()
            self.receive(mine, file.version, self._secrets.clock.seconds())
        except ConfigErrors as error:
            self._rejected.value += 1
            self._secrets.tellRejected(error)
            return
        self._success.value += 1

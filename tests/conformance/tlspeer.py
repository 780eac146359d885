"""
A client that speaks TLS by the standard library, and the files of its certificates.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import re
import socket
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meshproxy.testing.pki import Credential

__all__ = ["Seen", "TLSClient"]

_LIMIT = 60.0


@dataclass(frozen=True)
class TLSClient:
    """
    How one client connects, and what it asks.

    @ivar credential: The certificate that it shows.
    @ivar serverName: Empty for none.
    @ivar versions: The least and the newest.
    @ivar ciphers: For TLS 1.2.
    @ivar send: Sent instead of TLS.
    """

    credential: Credential | None = None
    serverName: str = "example.com"
    alpn: Sequence[str] = ()
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion] = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    ciphers: str = ""
    path: str = "/"
    fields: tuple[str, ...] = ()
    send: bytes = b""

    def context(self, folder: Path) -> ssl.SSLContext:
        """
        What it connects with.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version, context.maximum_version = self.versions
        if self.ciphers:
            context.set_ciphers(self.ciphers)
        if self.alpn:
            context.set_alpn_protocols(list(self.alpn))
        if self.credential is not None:
            text = self.credential.chain + self.credential.keyText
            # One for each conversation: those with the other proxy are held at the same time.
            with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".pem") as file:
                file.write(text)
                file.flush()
                context.load_cert_chain(file.name)
        return context

    def ask(self, address: tuple[str, int], folder: Path) -> Seen:
        """
        Connect, send a request, and read its response.
        """
        request = f"GET {self.path} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n"
        text = request + "".join(f"{field}\r\n" for field in self.fields) + "\r\n"
        context = self.context(folder)
        with socket.create_connection(address, timeout=_LIMIT) as sock:
            if self.send:
                sock.sendall(self.send)
                return Seen("cleartext", answer="closed" if not _read(sock) else "answered")
            try:
                with context.wrap_socket(sock, server_hostname=self.serverName or None) as secure:
                    leaf = secure.getpeercert(True) or b""
                    secure.sendall(text.encode())
                    whole = _read(secure)
                    return _seen(secure, leaf, whole)
            except (ssl.SSLError, ConnectionError):
                return Seen("refused")


_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)")


def _isWhole(data: bytes) -> bool:
    head, found, body = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return bool(found) and length is not None and len(body) >= int(length[1])


def _read(sock: socket.socket) -> bytes:
    """
    Read a response, or until the end where there is none.
    """
    pieces: list[bytes] = []
    while not _isWhole(b"".join(pieces)):
        try:
            data = sock.recv(65536)
        except (ssl.SSLError, ConnectionError):
            break
        if not data:
            break
        pieces.append(data)
    return b"".join(pieces)


@dataclass(frozen=True)
class Seen:
    """
    What a client saw.

    @ivar outcome: C{answered}, C{refused} or C{cleartext}.
    @ivar leaf: The digest of the server's certificate.
    @ivar answer: The status and what the proxy told of the session.
    """

    outcome: str
    version: str = ""
    cipher: str = ""
    alpn: str = ""
    leaf: str = ""
    answer: str = ""


class _Held:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        """
        What C{http.client} reads.
        """
        return io.BytesIO(self._data)


def _seen(secure: ssl.SSLSocket, leaf: bytes, whole: bytes) -> Seen:
    if not whole:
        return Seen("refused")
    response = http.client.HTTPResponse(_Held(whole))  # type: ignore[arg-type]  # it only makes a file of it
    response.begin()
    told = sorted(f"{name}: {value}" for name, value in response.getheaders() if name.startswith("x-told"))
    body = response.read().decode("latin-1")
    cipher = secure.cipher()
    return Seen(
        "answered",
        secure.version() or "",
        cipher[0] if cipher else "",
        secure.selected_alpn_protocol() or "",
        hashlib.sha256(leaf).hexdigest()[:12],
        "\n".join([str(response.status), *told, body]),
    )

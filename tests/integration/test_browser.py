"""
Chromium, headless: a page and its WebSockets over TLS, by HTTP/2 and HTTP/1.1.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshproxy.testing.pki import Authority, Credential
from tests.integration.configs import Message, bootstrap, cluster, forward, listener
from tests.integration.peers import Backend, answer, readHead
from tests.integration.process import Proxy, freePorts, until
from tests.integration.websocketpeers import WebSocketServer

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"

# Loads a piece besides itself, talks by two WebSockets, and tells what it saw.
_PAGE = """<!DOCTYPE html><title>page</title><script>
const talk = address => new Promise(resolve => {
  const heard = [], socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.onmessage = event => {
    heard.push(typeof event.data == "string" ? event.data : event.data.byteLength);
    if (heard.length == 1) { socket.send("from the page"); socket.send(new Uint8Array(100000)); }
    if (heard.length == 3) socket.close(4000, "enough");
  };
  socket.onclose = event => resolve({heard, code: event.code, reason: event.reason});
  socket.onerror = () => heard.push("error");
});
const tell = async () => {
  const piece = await fetch("/piece?" + "x".repeat(2000));
  const seen = {
    protocol: performance.getEntriesByType("navigation")[0].nextHopProtocol,
    piece: [piece.status, (await piece.text()).length, piece.headers.get("server")],
    sockets: [await talk(`wss://${location.host}/first`), await talk("wss://localhost:OTHER/first")],
  };
  await fetch("/report", {method: "POST", body: JSON.stringify(seen)});
};
tell().catch(error => fetch("/report", {method: "POST", body: JSON.stringify({error: String(error)})}));
</script>"""


class Site:
    """
    The page, and what it told.
    """

    def __init__(self, other: int) -> None:
        self.reports: list[Any] = []
        self._page = _PAGE.replace("OTHER", str(other)).encode()
        self.backend = Backend(serve=self._serve)

    def _serve(self, connection: socket.socket) -> None:
        while head := readHead(connection):
            target = head.split(b" ")[1]
            if target == b"/report":
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = b""
                while len(body) < size and (piece := connection.recv(65536)):
                    body += piece
                self.reports.append(json.loads(body))
                connection.sendall(answer(b"thanks"))
            elif target.startswith(b"/piece"):
                connection.sendall(answer(b"x" * 300000))
            else:
                connection.sendall(answer(self._page, "content-type: text/html\r\n"))


def _pin(credential: Credential) -> str:
    """
    By what the browser is told to trust a certificate.
    """
    key = x509.load_pem_x509_certificate(credential.chain.encode()).public_key()
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


class BrowserTests(SynchronousTestCase):
    """
    What a browser makes of it.
    """

    def listener(self, name: str, port: int, credential: Credential, **manager: Any) -> Message:
        """
        A listener with TLS that offers both versions of HTTP, for the page and its WebSockets.
        """
        made = listener(
            name,
            port,
            forward("sockets", "/first"),
            forward("site"),
            logs=True,
            upgrade_configs=[{"upgrade_type": "websocket"}],
            **manager,
        )
        pair = {
            "certificate_chain": {"inline_string": credential.chain},
            "private_key": {"inline_string": credential.keyText},
        }
        common = {"tls_certificates": [pair], "alpn_protocols": ["h2", "http/1.1"]}
        config = {"@type": _TLS, "common_tls_context": common}
        made["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": config}
        return made

    def test_page(self) -> None:
        """
        The page comes over HTTP/2, and so does its WebSocket where the proxy says that it may; another one takes
        HTTP/1.1 where it does not. All of them say, and hear, what they should.
        """
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        if chromium is None:
            raise SkipTest("chromium is not installed")
        ports = freePorts(2)
        site = Site(ports[1])
        self.addCleanup(site.backend.close)
        sockets = WebSocketServer().__enter__()
        self.addCleanup(sockets.__exit__, None, None, None)
        credential = Authority().issue("localhost", "127.0.0.1")
        text = bootstrap(
            self.listener("both", ports[0], credential, http2_protocol_options={"allow_connect": True}),
            self.listener("pages", ports[1], credential),
            cluster("site", site.backend.port),
            cluster("sockets", sockets.port),
        )
        proxy = Proxy(self, "--config-yaml", text).ready(*ports)
        folder = Path(self.mktemp()).absolute()
        command = [
            chromium,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            f"--user-data-dir={folder}",
            f"--ignore-certificate-errors-spki-list={_pin(credential)}",
            "--remote-debugging-port=0",
            f"https://localhost:{ports[0]}/",
        ]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(browser.wait)
        self.addCleanup(browser.kill)
        until(lambda: site.reports, "what the page tells", 30.0)
        heard = {"heard": ["welcome", "from the page", 100000], "code": 4000, "reason": "enough"}
        self.assertEqual(site.reports, [{"protocol": "h2", "piece": [200, 300000, "envoy"], "sockets": [heard, heard]}])
        browser.terminate()
        browser.wait(60)
        until(lambda: proxy.output.count("/first") == 2, "the access log")
        spoken = [line.split('"')[1] for line in proxy.output.splitlines() if "/first" in line]
        self.assertEqual(spoken, ["GET /first HTTP/2", "GET /first HTTP/1.1"])

"""
Tests for L{meshproxy.accesslog.addressvalues}.
"""

from __future__ import annotations

from meshproxy.accesslog.commands import FormatError
from meshproxy.accesslog.streaminfo import Address, StreamInfo
from tests.accesslog.streams import Host, TLSRecord, sampleStream
from tests.accesslog.test_operators import OperatorCase, value


class AddressTests(OperatorCase):
    """
    Addresses of both sides.
    """

    def test_downstream(self) -> None:
        """
        The client, the peer of the socket, and where the client went.
        """
        self.check(
            {
                "DOWNSTREAM_REMOTE_ADDRESS": "192.0.2.7:51000",
                "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": "192.0.2.7",
                "DOWNSTREAM_REMOTE_PORT": 51000,
                "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": "192.0.2.1:52000",
                "DOWNSTREAM_LOCAL_ADDRESS": "[::1]:80",
                "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": "::1",
                "DOWNSTREAM_LOCAL_PORT": 80,
                "DOWNSTREAM_DIRECT_LOCAL_ADDRESS": "[::1]:80",
            }
        )

    def test_upstream(self) -> None:
        """
        The endpoint, and our end of its connection.
        """
        self.check(
            {
                "UPSTREAM_HOST": "10.0.0.9:8080",
                "UPSTREAM_REMOTE_ADDRESS": "10.0.0.9:8080",
                "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": "10.0.0.9",
                "UPSTREAM_REMOTE_PORT": 8080,
                "UPSTREAM_LOCAL_ADDRESS": "10.0.0.1:40000",
                "UPSTREAM_HOST_NAME": "10.0.0.9:8080",
                "UPSTREAM_HOST_NAME_WITHOUT_PORT": "10.0.0.9",
                "UPSTREAM_HOSTS_ATTEMPTED": "10.0.0.9:8080",
            }
        )

    def test_hostName(self) -> None:
        """
        An endpoint's name before its address; all endpoints that were reached, each once.
        """
        info = sampleStream()
        info.upstreamHost = Host(hostname="a.example:1")
        earlier = Host(hostname="b.example")
        earlier.address = Address("::1", 80)
        info.upstreamHostsAttempted = (earlier, Host(), earlier)
        self.check(
            {
                "UPSTREAM_HOST_NAME": "a.example:1",
                "UPSTREAM_HOST_NAME_WITHOUT_PORT": "a.example",
                "UPSTREAM_HOSTS_ATTEMPTED": "[::1]:80,10.0.0.9:8080",
                "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT": "::1,10.0.0.9",
                "UPSTREAM_HOST_NAMES_ATTEMPTED": "b.example,10.0.0.9:8080,a.example:1",
                "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT": "b.example,10.0.0.9,a.example",
            },
            info,
        )

    def test_notConnected(self) -> None:
        """
        An endpoint that was chosen and could not be reached is no peer.
        """
        info = sampleStream()
        info.upstreamLocalAddress = None
        names = ("UPSTREAM_REMOTE_ADDRESS", "UPSTREAM_REMOTE_PORT", "UPSTREAM_HOSTS_ATTEMPTED")
        self.check({"UPSTREAM_HOST": "10.0.0.9:8080", **dict.fromkeys(names)}, info)

    def test_none(self) -> None:
        """
        Nobody, nothing.
        """
        names = ("UPSTREAM_HOST", "UPSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_REMOTE_ADDRESS", "UPSTREAM_REMOTE_PORT")
        self.check(dict.fromkeys(names), StreamInfo())

    def test_pipe(self) -> None:
        """
        A pipe has no port.
        """
        info = sampleStream()
        info.connection.localAddress = Address("/run/x.sock")
        self.check({"DOWNSTREAM_LOCAL_ADDRESS": "/run/x.sock", "DOWNSTREAM_LOCAL_PORT": None}, info)

    def test_masked(self) -> None:
        """
        The network of an address; a prefix that its family does not have gives none.
        """
        self.check(
            {
                "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(24)": "192.0.2.0/24",
                "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(64)": None,
                "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(64)": "::/64",
            }
        )
        for length in ("x", "129", "-1", "1000"):
            self.assertRaises(FormatError, value, f"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT({length})")

    def test_serverName(self) -> None:
        """
        The client chose it, so it is cleaned.
        """
        info = sampleStream()
        info.connection.requestedServerName = "a.example\n"
        self.check({"REQUESTED_SERVER_NAME": "invalid:a.example_"}, info)

    def test_tls(self) -> None:
        """
        Facts about TLS sessions, by the operator's name without its side.
        """
        info = sampleStream()
        info.connection.tls = TLSRecord({"TLS_VERSION": "TLSv1.3", "PEER_URI_SAN": "spiffe://a/b"})
        self.check(
            {
                "DOWNSTREAM_TLS_VERSION": "TLSv1.3",
                "DOWNSTREAM_PEER_URI_SAN": "spiffe://a/b",
                "DOWNSTREAM_PEER_SUBJECT": None,
                "UPSTREAM_TLS_VERSION": None,
                "UPSTREAM_SERVER_NAME": None,
            },
            info,
        )
        info.upstreamTls = session = TLSRecord({"TLS_GROUP": "X25519"})
        session.serverName = "up.example"
        self.check({"UPSTREAM_TLS_GROUP": "X25519", "UPSTREAM_SERVER_NAME": "up.example"}, info)
        session.serverName = ""
        self.check({"UPSTREAM_SERVER_NAME": None}, info)

    def test_validity(self) -> None:
        """
        When a certificate begins and ends to be valid, in ISO 8601 or as the command says.
        """
        info = sampleStream()
        info.connection.tls = TLSRecord({"PEER_CERT_V_START": "2001-09-09T01:46:40.000Z"})
        self.check(
            {
                "DOWNSTREAM_PEER_CERT_V_START": "2001-09-09T01:46:40.000Z",
                "DOWNSTREAM_PEER_CERT_V_START(%Y/%m)": "2001/09",
                "DOWNSTREAM_PEER_CERT_V_END(%s)": "1000000000",
                "UPSTREAM_PEER_CERT_V_END(%s)": None,
            },
            info,
        )

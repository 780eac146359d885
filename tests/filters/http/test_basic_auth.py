"""
L{meshproxy.filters.http.basic_auth}.
"""

from __future__ import annotations

import os
from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.filters.http.basic_auth import BasicAuth
from meshproxy.testing import FilterHarness

# user1:test1 and user2:test2, as htpasswd -s writes them.
USERS = "user1:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw=\n# nobody\n\nuser2:{SHA}EJ9LPFDXsN9ynSmbxvjp75Bmlx8=\n"
OTHERS = "user3:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw="


def basic(credentials: str, name: str = "authorization") -> tuple[str, str]:
    """
    A field with credentials.
    """
    return name, f"Basic {b64encode(credentials.encode()).decode()}"


class BasicAuthTests(SynchronousTestCase):
    """
    L{BasicAuth} in a proxy.
    """

    def harness(self, users: object = None, route: str = "", **fields: object) -> FilterHarness:
        """
        A filter, perhaps with users of a route.
        """
        said = {"users": {"inline_string": route}} if route else None
        return FilterHarness(BasicAuth, {"users": users or {"inline_string": USERS}, **fields}, said)

    def test_allowed(self) -> None:
        """
        Who knows the password passes; the service sees the credentials as they came.
        """
        harness = self.harness()
        for field in (basic("user1:test1"), basic("user2:test2")):
            result = harness.request(headers=[field])
            assert result.upstreamRequest is not None
            self.assertEqual(result.upstreamRequest.headers.get(b"authorization"), field[1].encode())
        self.assertEqual(harness.proxy.stat("http.test.basic_auth.allowed"), 2)

    def test_denied(self) -> None:
        """
        All others get 401 with a challenge, and the access log tells why.
        """
        harness = self.harness()
        cases = [
            ([], "no_credential"),
            ([("authorization", "Bearer x")], "invalid_scheme"),
            ([("authorization", "Basic x")], "invalid_format"),
            ([("authorization", "Basic dXNlcjE=")], "invalid_format"),
            ([basic("user1:test2")], "invalid_credential"),
            ([basic("user3:test1")], "invalid_credential"),
            ([basic("user1:test1"), basic("user1:other")], "invalid_format"),
        ]
        for fields, details in cases:
            result = harness.request("GET", "/a?b", fields)
            self.assertEqual(
                (result.status, result.log["details"], result.upstreamRequest), (401, f"{details}_for_basic_auth", None)
            )
            self.assertEqual(result.header("www-authenticate"), 'Basic realm="http://example.com/a?b"')
        self.assertEqual(harness.proxy.stat("http.test.basic_auth.denied"), len(cases))

    def test_named(self) -> None:
        """
        The credentials may be in another header; the service may be told the user's name, whatever the client says.
        """
        harness = self.harness(authentication_header="X-Auth", forward_username_header="X-User")
        result = harness.request(headers=[basic("user1:test1", "x-auth"), ("x-user", "root")])
        assert result.upstreamRequest is not None
        self.assertEqual(result.upstreamRequest.headers.values(b"x-user"), [b"user1"])
        self.assertEqual(harness.request(headers=[basic("user1:test1")]).status, 401)

    def test_route(self) -> None:
        """
        A route's users take the place of the filter's.
        """
        harness = self.harness(route=OTHERS)
        self.assertEqual(harness.request(headers=[basic("user3:test1")]).status, 200)
        self.assertEqual(harness.request(headers=[basic("user1:test1")]).status, 401)

    def test_realm(self) -> None:
        """
        A realm of the filter's takes the place of the URL, with what is special between quotes escaped.
        """
        for realm, told in (("here", "here"), ('a "b" \\ c', 'a \\"b\\" \\\\ c')):
            result = self.harness(route=OTHERS, realm=realm).request()
            self.assertEqual((result.status, result.header("www-authenticate")), (401, f'Basic realm="{told}"'))
        with self.assertRaises(ConfigErrors):
            self.harness(realm="a\nb")

    def test_realmOfRoute(self) -> None:
        """
        That of a route goes before the filter's.
        """
        users = {"inline_string": USERS}
        harness = FilterHarness(BasicAuth, {"users": users, "realm": "filter"}, {"users": users, "realm": "route"})
        self.assertEqual(harness.request().header("www-authenticate"), 'Basic realm="route"')

    def test_missingAllowed(self) -> None:
        """
        No credentials, or such of another scheme, may be let pass: without being counted, as in Envoy. Wrong ones are
        refused nonetheless.
        """
        harness = self.harness(allow_missing=True)
        for fields in ([], [("authorization", "Bearer x")], [("authorization", "")]):
            self.assertEqual(harness.request(headers=fields).status, 200)
        self.assertEqual(harness.proxy.stat("http.test.basic_auth.allowed"), 0)
        for field in (basic("user1:test2"), basic("nobody:x"), ("authorization", "Basic x")):
            self.assertEqual(harness.request(headers=[field]).status, 401)
        self.assertEqual(harness.request(headers=[basic("user1:test1")]).status, 200)

    def test_noted(self) -> None:
        """
        The name of the user may be noted in the dynamic metadata.
        """
        for notes, noted in ((False, {}), (True, {"envoy.filters.http.basic_auth": {"username": "user1"}})):
            harness = self.harness(emit_dynamic_metadata=notes)
            for password, expected in (("test1", noted), ("bad", {})):
                stream = harness.request(headers=[basic(f"user1:{password}")]).stream
                assert stream is not None
                self.assertEqual(stream.dynamicMetadata or {}, expected)

    def test_file(self) -> None:
        """
        The users may stand in a file.
        """
        path = self.mktemp()
        with open(path, "w") as file:
            file.write(USERS)
        harness = self.harness({"filename": os.path.abspath(path)})
        self.assertEqual(harness.request(headers=[basic("user2:test2")]).status, 200)

    def test_refused(self) -> None:
        """
        Each faulty line is told by its number, and nothing of what it says: it may be a password.
        """
        lines = ["a:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw=", "hunter2", ":hunter2", "b:", "b:hunter2", "b:{SHA}hunter2"]
        lines.append(lines[0])
        with self.assertRaises(ConfigErrors) as caught:
            self.harness({"inline_string": "\n".join(lines)})
        told = str(caught.exception)
        self.assertEqual([number for number in range(9) if f"line {number} " in told], [2, 3, 4, 5, 6, 7])
        self.assertNotIn("hunter2", told)

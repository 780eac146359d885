"""
L{meshproxy.http.authorization.policies}.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section, sectionFromYAML
from meshproxy.config.cel.library import parse
from meshproxy.headers import RequestHeaders
from meshproxy.http.authorization.policies import Policies, Verdict, compilePolicies
from tests.filters.http.support import FakeStream

RBAC = "envoy.config.rbac.v3.RBAC"

ANYBODY = {"permissions": [{"any": True}], "principals": [{"any": True}]}


def tree(text: str) -> dict[str, Any]:
    """
    The syntax tree of an expression, as a configuration has it.
    """
    made: dict[str, Any] = MessageToDict(parse(text))
    return made


def policies(text: str) -> Policies:
    """
    Compiled policies.
    """
    section = sectionFromYAML(RBAC, text)
    made = compilePolicies(section)
    section.report.raiseIfAny()
    quick = made.check

    def check(stream: Any, headers: RequestHeaders) -> Verdict:
        # The function that was written for the policies decides as they do one by one.
        verdict = quick(stream, headers)
        assert verdict is made.checkEach(stream, headers)
        return verdict

    made.check = check
    return made


class PoliciesTests(SynchronousTestCase):
    """
    Policies together.
    """

    def check(self, action: str, *headers: bytes) -> tuple[bool, str]:
        """
        The verdict of two policies, each about one header.
        """
        text = f"{{action: {action}, policies: {{b: {self.about('b')}, a: {self.about('a')}}}}}"
        stream = FakeStream([(name, b"1") for name in headers])
        return policies(text).check(stream, stream.requestHeaders)

    def about(self, name: str) -> str:
        """
        A policy.
        """
        return f"{{permissions: [{{header: {{name: {name}, present_match: true}}}}], principals: [{{any: true}}]}}"

    def test_allow(self) -> None:
        """
        Only what matches is allowed; policies are asked by name.
        """
        self.assertEqual(self.check("ALLOW"), (False, ""))
        self.assertEqual(self.check("ALLOW", b"b"), (True, "b"))
        self.assertEqual(self.check("ALLOW", b"b", b"a"), (True, "a"))

    def test_deny(self) -> None:
        """
        Only what matches is denied.
        """
        self.assertEqual(self.check("DENY"), (True, ""))
        self.assertEqual(self.check("DENY", b"b"), (False, "b"))

    def test_log(self) -> None:
        """
        Everything is allowed.
        """
        self.assertEqual(self.check("LOG"), (True, ""))
        self.assertEqual(self.check("LOG", b"a"), (True, "a"))

    def test_empty(self) -> None:
        """
        No policy matches anything.
        """
        stream = FakeStream()
        self.assertEqual(policies("{}").check(stream, stream.requestHeaders), (False, ""))
        self.assertEqual(policies("action: DENY").check(stream, stream.requestHeaders), (True, ""))

    def test_both(self) -> None:
        """
        A permission and a principal must match, each one of several.
        """
        made = policies(
            "policies: {p: {permissions: [{destination_port: 1}, {destination_port: 8080}],"
            " principals: [{header: {name: u, string_match: {exact: x}}}, {header: {name: v, present_match: true}}]}}"
        )
        for headers, allowed in (([], False), ([(b"u", b"x")], True), ([(b"u", b"y")], False), ([(b"v", b"")], True)):
            stream = FakeStream(headers)
            self.assertEqual(made.check(stream, stream.requestHeaders).allowed, allowed, headers)


class ConditionTests(SynchronousTestCase):
    """
    Policies with a condition.
    """

    def policies(self, text: str, **more: object) -> Policies:
        """
        One policy for everybody, with a condition.
        """
        section = Section.of(RBAC, {"policies": {"p": {**ANYBODY, "condition": tree(text)}}, **more})
        made = compilePolicies(section)
        section.report.raiseIfAny()
        return made

    def test_holds(self) -> None:
        """
        It must hold besides; what fails does not hold, be it to allow or to deny.
        """
        for text, matches in {
            "request.headers['x-a'] == '1'": True,
            "request.headers['x-a'] == '2'": False,
            "request.headers['x-b'] == '1'": False,
            "!(request.headers['x-b'] == '1')": False,
            "request.headers['x-a']": False,
        }.items():
            stream = FakeStream([(b"x-a", b"1")])
            for action, allowed in (("ALLOW", matches), ("DENY", not matches)):
                verdict = self.policies(text, action=action).check(stream, stream.requestHeaders)
                self.assertEqual(verdict, (allowed, "p" if matches else ""), f"{action} {text}")

    def test_asked(self) -> None:
        """
        It is asked where permissions and principals match.
        """
        policy = {"permissions": [{"destination_port": 1}], "principals": [{"any": True}], "condition": tree("true")}
        made = compilePolicies(Section.of(RBAC, {"policies": {"p": policy}}))
        stream = FakeStream()
        self.assertFalse(made.check(stream, stream.requestHeaders).allowed)

    def test_refused(self) -> None:
        """
        One that cannot be used is refused, not left out, and so is one that Envoy leaves out.
        """
        for field, value in (
            ("condition", {"id": 1}),
            ("condition", tree("request.nosuch == '1'")),
            ("checked_condition", {"expr": tree("true")}),
        ):
            section = Section.of(RBAC, {"policies": {"p": {**ANYBODY, field: value}}})
            made = compilePolicies(section)
            self.assertEqual([error.path for error in section.report.errors], [f'policies["p"].{field}'])
            stream = FakeStream()
            if field == "condition":
                self.assertFalse(made.check(stream, stream.requestHeaders).allowed)

    def test_options(self) -> None:
        """
        C{cel_config} says what it may hold.
        """
        policy = {**ANYBODY, "condition": tree("request.path.lowerAscii() == '/a'")}
        section = Section.of(RBAC, {"policies": {"p": policy}})
        compilePolicies(section)
        self.assertIn("enable_string_functions", section.report.errors[0].why)
        made = compilePolicies(
            Section.of(RBAC, {"policies": {"p": {**policy, "cel_config": {"enable_string_functions": True}}}})
        )
        stream = FakeStream(path=b"/A")
        self.assertTrue(made.check(stream, stream.requestHeaders).allowed)

    def test_explained(self) -> None:
        """
        A refusal names the part that is false, or fails; a match what holds.
        """
        stream = FakeStream([(b"x-a", b"1")])
        made = self.policies("request.method == 'GET' && request.headers['x-a'] == '2'")
        told = made.explain(stream, stream.requestHeaders, made.check(stream, stream.requestHeaders))
        self.assertEqual(told, 'policy \'p\': condition request.headers["x-a"] == "2" is false')
        made = self.policies("request.headers['x-b'] == '2'")
        told = made.explain(stream, stream.requestHeaders, made.check(stream, stream.requestHeaders))
        self.assertIn('condition request.headers["x-b"] == "2" cannot be evaluated (', told)
        made = self.policies("request.method == 'GET'", action="DENY")
        told = made.explain(stream, stream.requestHeaders, made.check(stream, stream.requestHeaders))
        self.assertEqual(told, "policy 'p' matches: anybody may do anything, condition request.method == \"GET\" holds")


class ExplainTests(SynchronousTestCase):
    """
    Why a request was refused.
    """

    def why(self, text: str, *headers: tuple[bytes, bytes], path: bytes = b"/") -> str:
        """
        The explanation.
        """
        made = policies(text)
        stream = FakeStream(headers, path)
        verdict = made.check(stream, stream.requestHeaders)
        self.assertFalse(verdict.allowed)
        return made.explain(stream, stream.requestHeaders, verdict)

    def test_nearest(self) -> None:
        """
        The policy of which most matches is named, and of it the first condition that fails, with what is there.
        """
        text = """
        policies:
          admins:
            permissions: [{url_path: {path: {prefix: /admin}}}]
            principals: [{source_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}]
          users:
            permissions:
            - and_rules:
                rules:
                - url_path: {path: {prefix: /pub}}
                - header: {name: x-user, string_match: {exact: alice}}
            principals: [{any: true}]
        """
        self.assertEqual(
            self.why(text, (b"x-user", b"bob"), path=b"/pub/x"),
            """policy 'users': header x-user is "bob", not exact "alice\"""",
        )
        self.assertEqual(
            self.why(text, path=b"/admin/x"),
            "policy 'admins': source address is 192.0.2.7, not in 10.0.0.0/8",
        )

    def test_matched(self) -> None:
        """
        A policy that denies says what made it match.
        """
        text = "{action: DENY, policies: {p: {permissions: [{destination_port: 8080}], principals: [{any: true}]}}}"
        self.assertEqual(self.why(text), "policy 'p' matches: destination port is 8080, anybody may do anything")

    def test_nothing(self) -> None:
        """
        No policy at all is a reason.
        """
        self.assertIn("there is no policy", self.why("{}"))

    def test_words(self) -> None:
        """
        Each kind of condition says what is there and what is wanted.
        """
        for permission, expected in (
            ("destination_port: 1", "destination port is 8080, not 1"),
            ("destination_port_range: {start: 1, end: 5}", "destination port is 8080, not from 1 to 4"),
            ("not_rule: {destination_port: 8080}", "destination port is 8080, which is excluded"),
            ("header: {name: x, present_match: true}", "header x is missing, not present"),
            ("header: {name: x-a, range_match: {start: 1, end: 9}}", 'header x-a is "no", not from 1 to below 9'),
            (
                "header: {name: x-a, invert_match: true, string_match: {prefix: 'no'}}",
                'header x-a is "no", not other than prefix "no"',
            ),
            ("header: {name: x-a, string_match: {safe_regex: {regex: y+}}}", 'header x-a is "no", not matched by y+'),
            (
                "url_path: {path: {exact: /A, ignore_case: true}}",
                'path is "/", not exact "/A", whatever the case',
            ),
            ("requested_server_name: {suffix: x}", 'requested server name is "", not suffix "x"'),
            (
                "metadata: {filter: f, path: [{key: k}], value: {bool_match: true}}",
                "metadata f k is missing, not the one that is wanted",
            ),
            ("or_rules: {rules: [{destination_port: 1}, {destination_port: 2}]}", "destination port is 8080, not 1"),
        ):
            text = f"policies: {{p: {{permissions: [{{{permission}}}], principals: [{{any: true}}]}}}}"
            self.assertEqual(self.why(text, (b"x-a", b"no")), f"policy 'p': {expected}")

    def test_principalWords(self) -> None:
        """
        So do principals.
        """
        for principal, expected in (
            ("authenticated: {principal_name: {exact: x}}", 'the connection is not authenticated, not exact "x"'),
            (
                "filter_state: {key: k, string_match: {exact: x}}",
                "filter state k is missing, not the one that is wanted",
            ),
            ("remote_ip: {address_prefix: 10.0.0.0, prefix_len: 8}", "remote address is 192.0.2.7, not in 10.0.0.0/8"),
        ):
            text = f"policies: {{p: {{permissions: [{{any: true}}], principals: [{{{principal}}}]}}}}"
            self.assertEqual(self.why(text), f"policy 'p': {expected}")

    def test_secrets(self) -> None:
        """
        Neither the credentials of a request nor those that a policy wants are told.
        """
        for name in ("authorization", "cookie", "x-api-key", "x-auth-token"):
            text = (
                f"policies: {{p: {{permissions: [{{header: {{name: {name}, string_match: {{exact: WANTED}}}}}}],"
                " principals: [{any: true}]}}"
            )
            why = self.why(text, (name.encode(), b"SENT"))
            self.assertIn(f"header {name} is hidden", why)
            self.assertNotIn("SENT", why)
            self.assertNotIn("WANTED", why)

    def test_long(self) -> None:
        """
        What a client sent is cut, and cannot break out of its quotes.
        """
        text = (
            "policies: {p: {permissions: [{header: {name: x, string_match: {exact: why}}}], principals: [{any: true}]}}"
        )
        why = self.why(text, (b"x", b'"\n' + b"z" * 9999))
        self.assertLess(len(why), 150)
        self.assertIn('header x is "\\"\\nzzz', why)

    def test_manyPolicies(self) -> None:
        """
        With very many policies the explanation looks at some of them only.
        """
        each = ", ".join(
            f"p{number:03}: {{permissions: [{{destination_port: 1}}], principals: [{{any: true}}]}}"
            for number in range(99)
        )
        near = "z: {permissions: [{any: true}], principals: [{header: {name: x, present_match: true}}]}"
        self.assertIn("policy 'p000'", self.why(f"policies: {{{each}, {near}}}"))

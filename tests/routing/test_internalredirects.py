"""
L{meshproxy.routing.internalredirects}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.section import Section
from meshproxy.routing.internalredirects import (
    InternalRedirectPolicy,
    RedirectHop,
    compileInternalRedirectPolicy,
)

KIND = "type.googleapis.com/envoy.extensions.internal_redirect."


def section(**fields: Any) -> Section:
    """
    A policy as it is configured.
    """
    return Section.of("envoy.config.route.v3.InternalRedirectPolicy", fields)


def compiled(**fields: Any) -> InternalRedirectPolicy:
    """
    One without faults.
    """
    made = section(**fields)
    policy = compileInternalRedirectPolicy(made)
    made.report.raiseIfAny()
    assert policy is not None
    return policy


def predicate(kind: str, **fields: Any) -> dict[str, Any]:
    """
    An extension.
    """
    return {"name": "p", "typed_config": {"@type": KIND + kind, **fields}}


class PolicyTests(SynchronousTestCase):
    """
    What is compiled.
    """

    def test_defaults(self) -> None:
        """
        One redirect with 302; without a policy nothing.
        """
        policy = compiled()
        self.assertEqual((policy.most, policy.codes, policy.allowsCrossScheme), (1, frozenset({302}), False))
        self.assertIsNone(compileInternalRedirectPolicy(None))

    def test_fields(self) -> None:
        """
        All of it; codes that are no redirects do nothing.
        """
        policy = compiled(
            max_internal_redirects=3,
            redirect_response_codes=[200, 301, 304, 308],
            allow_cross_scheme_redirect=True,
            response_headers_to_copy=["X-A"],
        )
        self.assertEqual((policy.most, policy.codes), (3, frozenset({301, 308})))
        self.assertEqual((policy.allowsCrossScheme, policy.headersToCopy), (True, (b"x-a",)))

    def test_refused(self) -> None:
        """
        Pseudo-headers cannot be copied, and unknown predicates are no predicates.
        """
        made = section(response_headers_to_copy=[":path", "host"], predicates=[{"name": "p"}])
        compileInternalRedirectPolicy(made)
        where = ["response_headers_to_copy[0]", "response_headers_to_copy[1]", "predicates[0].typed_config"]
        self.assertEqual([error.path for error in made.report.errors], where)


class PredicateTests(SynchronousTestCase):
    """
    What may be followed.
    """

    def allowed(self, kind: str, *hops: RedirectHop, **fields: Any) -> list[bool]:
        """
        Which of some hops one predicate allows.
        """
        [test] = compiled(predicates=[predicate(kind, **fields)]).predicates
        return [test(hop) for hop in hops]

    def test_previousRoutes(self) -> None:
        """
        From each route, each other one once.
        """
        state: dict[str, object] = {}
        hops = [RedirectHop(origin, target, False, False, state) for origin, target in ("ab", "ba", "ab", "ac", "bb")]
        found = self.allowed("previous_routes.v3.PreviousRoutesConfig", *hops)
        self.assertEqual(found, [True, True, False, True, True])

    def test_allowListed(self) -> None:
        """
        Only to routes of some names.
        """
        hops = [RedirectHop("a", target, False, False, {}) for target in "bc"]
        kind = "allow_listed_routes.v3.AllowListedRoutesConfig"
        self.assertEqual(self.allowed(kind, *hops, allowed_route_names=["b"]), [True, False])

    def test_safeCrossScheme(self) -> None:
        """
        Never from http to https.
        """
        hops = [RedirectHop("a", "b", one, other, {}) for one in (False, True) for other in (False, True)]
        kind = "safe_cross_scheme.v3.SafeCrossSchemeConfig"
        self.assertEqual(self.allowed(kind, *hops), [True, False, True, True])

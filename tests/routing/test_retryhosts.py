"""
L{meshproxy.routing.retryhosts}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.section import Section
from meshproxy.routing.retryhosts import compileHostPredicate, compileRetryPriority

POLICY = "envoy.config.route.v3.RetryPolicy."
RETRY = "type.googleapis.com/envoy.extensions.retry."


class Host:
    """
    An endpoint with labels.
    """

    def __init__(self, **labels: object) -> None:
        self.metadata: dict[str, dict[str, object]] | None = {"envoy.lb": labels} if labels else None


def predicate(name: str, kind: str = "", **fields: object) -> Section:
    """
    A C{RetryHostPredicate}.
    """
    config = {"typed_config": {"@type": f"{RETRY}host.{kind}", **fields}} if kind else {}
    return Section.of(POLICY + "RetryHostPredicate", {"name": name, **config})


class HostPredicateTests(SynchronousTestCase):
    """
    Endpoints that a retry avoids.
    """

    def test_previous(self) -> None:
        """
        Those that were tried, by type or by name.
        """
        one, other = Host(), Host()
        for section in (
            predicate("p", "previous_hosts.v3.PreviousHostsPredicate"),
            predicate("envoy.retry_host_predicates.previous_hosts"),
        ):
            avoids = compileHostPredicate(section)
            self.assertTrue(avoids(one, [other, one]))
            self.assertFalse(avoids(one, [other]))

    def test_canary(self) -> None:
        """
        Canaries.
        """
        avoids = compileHostPredicate(predicate("c", "omit_canary_hosts.v3.OmitCanaryHostsPredicate"))
        self.assertTrue(avoids(Host(canary=True), []))
        for host in (Host(), Host(canary=False), Host(canary="true")):
            self.assertFalse(avoids(host, []))

    def test_labels(self) -> None:
        """
        Those that have all of some labels; without labels nobody.
        """
        match = {"filter_metadata": {"envoy.lb": {"a": "1", "b": 2}}}
        kind = "omit_host_metadata.v3.OmitHostMetadataConfig"
        avoids = compileHostPredicate(predicate("m", kind, metadata_match=match))
        self.assertTrue(avoids(Host(a="1", b=2.0, c=3), []))
        self.assertFalse(avoids(Host(a="1"), []))
        self.assertFalse(compileHostPredicate(predicate("m", kind))(Host(a="1"), []))

    def test_unknown(self) -> None:
        """
        Others are refused.
        """
        section = predicate("nonsense")
        self.assertFalse(compileHostPredicate(section)(Host(), []))
        self.assertEqual([error.path for error in section.report.errors], ["name"])


class PriorityTests(SynchronousTestCase):
    """
    Priorities that a retry leaves.
    """

    def test_frequency(self) -> None:
        """
        After so many tries, or never.
        """
        kind = f"{RETRY}priority.previous_priorities.v3.PreviousPrioritiesConfig"
        fields = {"name": "p", "typed_config": {"@type": kind, "update_frequency": 2}}
        self.assertEqual(compileRetryPriority(Section.of(POLICY + "RetryPriority", fields)), 2)
        self.assertEqual(compileRetryPriority(None), 0)

    def test_refused(self) -> None:
        """
        There is one kind.
        """
        section = Section.of(POLICY + "RetryPriority", {"name": "p"})
        compileRetryPriority(section)
        self.assertEqual([error.path for error in section.report.errors], ["typed_config"])

"""
L{meshproxy.routing.uritemplate}. Which templates are legal was recorded from Envoy 1.40.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.routing.uritemplate import TemplateError, UriRewrite, UriTemplate
from tests.routing.support import ask, errorsOf, forward, request, routeConfiguration, streamOf, tableOf

LEGAL = (
    "/ /a /a/ /* /** /**.mpd /*/** /{a} /{a}b /x{a} /x{a}y /{a=*} /{a=**} /{a=**}/x /{a=x} /{a=x/*} "
    "/{a_1} /{abcdefghijklmnop} /{a}/{b}/{c}/{d}/{e} /a%20b /a=b /{a=*}/{b=**} /{a=**}.x /{a}/ /{a=**}/ /**/ "
    "/*/ /x/{a=y/**}/z /{a=*/*} /{a=**/b} /{a=b/**/c} /a;b:c@d /**/a"
)
ILLEGAL = (
    "a /a//b /**/* /{a}-{b} /*y/z /{a=/x} /{a=x/} /{a=x//y} /{a=} /{} /{=x} /{a /a} /{a}} /{{a}} /{a}/{a} /{1a} /{_a} "
    "/x* /x*y /*x* /*** /{a=x*} /{a-b} /{abcdefghijklmnopq} /{a}/{b}/{c}/{d}/{e}/{f} "
    "/a?b /a#b /{a=**}/{b} /{a=*x} /**x/y /*.x/* /[a] /a|b"
)
REWRITES = "/ /x /{a} /{a}{a} /* /x/ /x{a}y /{a}/{a} /%20 /{a}/"
NO_REWRITES = "x /{b} /{a /a} /x//y /a?b /{} {a} /{a=x} // /a#b /{1} /[a]"

MATCH = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
REWRITE = "type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig"


class TemplateTests(SynchronousTestCase):
    """
    Templates.
    """

    def test_legal(self) -> None:
        """
        What Envoy takes.
        """
        for text in LEGAL.split():
            UriTemplate(text)

    def test_illegal(self) -> None:
        """
        What it refuses, and stars inside a name, which it takes and does not match.
        """
        for text in [*ILLEGAL.split(), "", "/a b", "/\N{LATIN SMALL LETTER E WITH ACUTE}"]:
            self.assertRaises(TemplateError, UriTemplate, text)

    def test_rewrites(self) -> None:
        """
        Likewise the templates that paths are made of.
        """
        template = UriTemplate("/{a}")
        for text in REWRITES.split():
            UriRewrite(text, template)
        for text in [*NO_REWRITES.split(), "", "/a b"]:
            self.assertRaises(TemplateError, UriRewrite, text, template)

    def test_rewritten(self) -> None:
        """
        Variables go where they are named; a path that does not match stays.
        """
        rewrite = UriRewrite("/{b}/x{a}", UriTemplate("/{a}/{b=v/**}")).rewrite
        self.assertEqual(rewrite(b"/one/v/two/three"), b"/v/two/three/xone")
        self.assertEqual(rewrite(b"/one/w"), b"/one/w")


class RouteTests(SynchronousTestCase):
    """
    Templates of routes.
    """

    def route(self, template: str, rewrite: str = "") -> dict[str, object]:
        """
        A route by template.
        """
        action: dict[str, object] = {"cluster": "c"}
        if rewrite:
            config = {"@type": REWRITE, "path_template_rewrite": rewrite}
            action["path_rewrite_policy"] = {"name": "w", "typed_config": config}
        policy = {"name": "m", "typed_config": {"@type": MATCH, "path_template": template}}
        return {"match": {"path_match_policy": policy}, "route": action}

    def test_matched(self) -> None:
        """
        The path without its query is what counts, and the query stays.
        """
        table = tableOf(self.route("/a/{x}", "/b/{x}"), forward())
        self.assertEqual([ask(table, path) for path in ("/a/1?q=/", "/a/1/2", "/a/")], [0, 1, 1])
        # CVE-2025-46821: every character that a segment may hold, the asterisk among them.
        self.assertEqual([ask(table, f"/a/{each}") for each in "*!$&'()+,;=:@-._~"], [0] * 17)
        asked = request("/a/1?q=/")
        route = table.match(asked, streamOf(asked))
        assert route is not None and route.finalizeRequestHeaders is not None
        route.finalizeRequestHeaders(asked, streamOf(asked))
        self.assertEqual(asked.path, b"/b/1?q=/")
        self.assertEqual(asked.first[b"x-envoy-original-path"], b"/a/1?q=/")

    def test_parameters(self) -> None:
        """
        Path parameters count, where other matches are to ignore them, too.
        """
        other = {"match": {"path_separated_prefix": "/a"}, "route": {"cluster": "c"}}
        table = tableOf(self.route("/a/{x}"), other, ignore_path_parameters_in_path_matching=True)
        self.assertEqual([ask(table, path) for path in ("/a/1", "/a/1;p", "/a;p/1", "/a;p/1?q")], [0, 0, 1, 1])

    def test_refused(self) -> None:
        """
        What cannot be read is told with its place, and a rewrite needs a match.
        """
        where = "virtual_hosts[0].routes[0]"
        for name, action in (("route", {"cluster": "c"}), ("redirect", {})):
            found = {"match": self.route("/{a}")["match"], name: {**action, "prefix_rewrite": "/b"}}
            bad = errorsOf(routeConfiguration(found))
            self.assertEqual([path for path, _ in bad], [f"{where}.{name}.prefix_rewrite"])
        bad = errorsOf(routeConfiguration(self.route("/{a")))
        self.assertEqual([path for path, _ in bad], [f"{where}.match.path_match_policy.typed_config.path_template"])
        bad = errorsOf(routeConfiguration(self.route("/{a}", "/{b}")))
        self.assertEqual(
            [path for path, _ in bad], [f"{where}.route.path_rewrite_policy.typed_config.path_template_rewrite"]
        )
        config = {"@type": REWRITE, "path_template_rewrite": "/x"}
        bad = errorsOf(routeConfiguration(forward(path_rewrite_policy={"name": "w", "typed_config": config})))
        self.assertEqual([path for path, _ in bad], [f"{where}.route.path_rewrite_policy"])

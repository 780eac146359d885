"""
Paths by template: which match, and what becomes of them.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, get
from tests.conformance.comparison import Comparison, compared

_MATCH = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
_REWRITE = "type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig"

# Templates, what they are rewritten to, and paths that are asked for.
_TEMPLATES: tuple[tuple[str, str, str], ...] = (
    ("/one/{a}", "/first/{a}", "/one/x /one/ /one /one/x/y /one/x/ /one/x-._~%20!$&'()+,;:@=y /one/x?q=/1 /one/%2F"),
    ("/two/{a}/{b}", "/{b}/{a}", "/two/x/y /two/x /two/x/y/z /two//y"),
    ("/star/*/end", "/star", "/star/a/end /star/end /star/a/b/end /star/a/end/"),
    ("/rest/**", "/all", "/rest/ /rest /rest/a /rest/a/b/c/ /rest/a//b"),
    ("/keep/{p=**}", "/kept/{p}", "/keep/ /keep/a/b?x=1 /keep/a//b"),
    ("/in/{p=v1/*}/x", "/{p}", "/in/v1/a/x /in/v2/a/x /in/v1/a/b/x"),
    ("/in2/{p=v1/**}", "/{p}/z", "/in2/v1/a/x /in2/v1/ /in2/v1"),
    ("/file/*.m4s", "/f", "/file/a.m4s /file/.m4s /file/aXm4s /file/a/b.m4s"),
    ("/mid/**.mpd", "/m", "/mid/a/b.mpd /mid/.mpd /mid/a/b.mpd/"),
    ("/pre{a}/x", "/{a}", "/prea/x /pre/x /pre/a/x"),
    ("/suffix/{a}.x", "/{a}", "/suffix/a.x /suffix/a.x.x /suffix/a"),
    ("/same/{a=*}", "/{a}/{a}", "/same/q"),
    ("/noslash/{a}/", "/x/{a}", "/noslash/a/ /noslash/a"),
    ("/deep/{a}/{b}/{c}/{d}/{e=**}", "/{e}/{d}/{c}/{b}/{a}", "/deep/1/2/3/4/5/6 /deep/1/2/3/4/"),
)


def _route(number: int, template: str, rewrite: str) -> str:
    match = "path_match_policy: {name: m, typed_config: {'@type': %s, path_template: '%s'}}" % (_MATCH, template)
    action = "path_rewrite_policy: {name: w, typed_config: {'@type': %s, path_template_rewrite: '%s'}}" % (
        _REWRITE,
        rewrite,
    )
    return "{name: r%d, match: {%s}, route: {cluster: backend, %s}}" % (number, match, action)


LISTENERS = {
    "templates": Manager("", "[%s]" % ", ".join(_route(number, *each[:2]) for number, each in enumerate(_TEMPLATES))),
}

CASES = [
    Case(
        f"template{number}_{place}",
        f"{path} by {template}.",
        get(path),
        listener="templates",
    )
    for number, (template, _, paths) in enumerate(_TEMPLATES)
    for place, path in enumerate(paths.split())
]


@compared(Comparison(LISTENERS, CASES))
class TemplateTests(SynchronousTestCase):
    """
    Path templates.
    """

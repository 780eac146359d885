# -*- test-case-name: tests.config.test_declarations -*-
"""
C{envoy.type.matcher.v3}.
"""

from __future__ import annotations

from meshproxy.config.supported import accept, declare

__all__: list[str] = []

_MATCHER = "envoy.type.matcher.v3."

declare(_MATCHER + "StringMatcher", "exact", "prefix", "suffix", "safe_regex", "contains", "ignore_case")
declare(_MATCHER + "ListStringMatcher", "patterns")
declare(_MATCHER + "RegexMatcher", "regex")
accept(_MATCHER + "RegexMatcher", "google_re2", "every regular expression is RE2's, and linear in time")
declare(_MATCHER + "RegexMatchAndSubstitute", "pattern", "substitution")

declare(_MATCHER + "MetadataMatcher", "filter", "path", "value", "invert")
declare(_MATCHER + "MetadataMatcher.PathSegment", "key")
declare(_MATCHER + "ValueMatcher", "null_match", "double_match", "string_match", "bool_match", "present_match")
declare(_MATCHER + "ValueMatcher", "list_match", "or_match")
declare(_MATCHER + "ValueMatcher.NullMatch")
declare(_MATCHER + "DoubleMatcher", "range", "exact")
declare(_MATCHER + "ListMatcher", "one_of")
declare(_MATCHER + "OrMatcher", "value_matchers")
declare("envoy.type.v3.DoubleRange", "start", "end")
declare(_MATCHER + "PathMatcher", "path")
declare(_MATCHER + "FilterStateMatcher", "key", "string_match", "address_match")
declare(_MATCHER + "AddressMatcher", "ranges", "invert_match")
declare("xds.core.v3.CidrRange", "address_prefix", "prefix_len")

# What trees of conditions look at.
_HTTP = "envoy.type.matcher.v3.Http"
_NETWORK = "envoy.extensions.matching.common_inputs.network.v3."

declare("xds.type.matcher.v3.HttpAttributesCelMatchInput")
declare(_HTTP + "RequestHeaderMatchInput", "header_name")
declare(_HTTP + "RequestQueryParamMatchInput", "query_param")
declare(_HTTP + "ResponseHeaderMatchInput", "header_name")
declare(_HTTP + "ResponseStatusCodeMatchInput")
declare(_HTTP + "ResponseStatusCodeClassMatchInput")
declare(_HTTP + "ResponseLocalReplyMatchInput")
for _name in ("DestinationIPInput", "DestinationPortInput", "SourceIPInput", "SourcePortInput", "DirectSourceIPInput"):
    declare(_NETWORK + _name)
declare(_NETWORK + "ServerNameInput")
declare(_NETWORK + "DynamicMetadataInput", "filter", "path")
declare(_NETWORK + "DynamicMetadataInput.PathSegment", "key")
declare(_NETWORK + "FilterStateInput", "key")
for _name in ("UriSanInput", "DnsSanInput", "SubjectInput"):
    declare("envoy.extensions.matching.common_inputs.ssl.v3." + _name)

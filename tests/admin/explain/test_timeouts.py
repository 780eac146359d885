"""
Tests for L{meshproxy.admin.explain.timeouts}.
"""

from __future__ import annotations

from meshproxy.admin.explain.place import Answer
from tests.admin.explain.support import CONFIG, ExplainCase, lineOf


class TimeoutTests(ExplainCase):
    """
    L{meshproxy.admin.explain.timeouts.timeoutsOf}.
    """

    def rows(self, answer: Answer) -> dict[str, tuple[str, str]]:
        """
        Value and origin by name.
        """
        return {row["name"]: (row["value"], row["set_by"]) for row in answer["timeouts"]}

    def test_origins(self) -> None:
        """
        What is set names its line, the rest its default.
        """
        self.assertEqual(
            self.rows(self.ask("/cart")),
            {
                "request_headers_timeout": ("never", "default"),
                "request_timeout": ("never", "default"),
                "timeout": ("3s", lineOf("timeout")),
                "per_try_timeout": ("1s", lineOf("retries")),
                "stream_idle_timeout": ("60s", lineOf("stream idle")),
                "max_stream_duration": ("never", "default"),
                "connect_timeout": ("2s", lineOf("connect")),
                "idle_timeout (upstream)": ("3600s", "default"),
                "idle_timeout": ("90s", lineOf("idle")),
                "max_connection_duration": ("never", "default"),
                "delayed_close_timeout": ("1s", "default"),
                "drain_timeout": ("5s", "default"),
            },
        )

    def test_defaults(self) -> None:
        """
        A route that says nothing has 15 seconds.
        """
        rows = self.rows(self.ask("/cart", "x-beta: yes"))
        self.assertEqual((rows["timeout"], rows["per_try_timeout"]), (("15s", "default"), ("never", "default")))

    def test_route(self) -> None:
        """
        What a route says of the stream stands in for the connection manager's.
        """
        before, _, rest = CONFIG.partition("                route:\n                  timeout: 3s")
        after = rest[rest.index("              - name: moved") :]
        action = "{cluster: web, timeout: 0s, idle_timeout: 7s, max_stream_duration: {max_stream_duration: 8s}}"
        self.config = f"{before}                route: {action}\n{after}"
        rows = self.rows(self.ask("/cart"))
        line = next(number for number, text in enumerate(self.config.splitlines(), 1) if "timeout: 0s" in text)
        for name, value in (("timeout", "never"), ("stream_idle_timeout", "7s"), ("max_stream_duration", "8s")):
            self.assertEqual(rows[name], (value, f"--config-yaml:{line}"))

    def test_headers(self) -> None:
        """
        What an internal client asks for comes from its request; nobody else is believed.
        """
        fields = ("x-envoy-upstream-rq-timeout-ms: 250", "x-envoy-upstream-rq-per-try-timeout-ms: 100")
        self.assertEqual(self.rows(self.ask("/cart", *fields))["timeout"][0], "3s")
        ranges = "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}"
        self.config = CONFIG.replace("normalize_path: true", ranges)
        rows = self.rows(self.ask("/cart", "x-forwarded-for: 10.1.1.1", *fields))
        self.assertEqual(rows["timeout"], ("0.25s", "the request's x-envoy-upstream-rq-timeout-ms"))
        self.assertEqual(rows["per_try_timeout"], ("0.1s", "the request's x-envoy-upstream-rq-per-try-timeout-ms"))

    def test_pool(self) -> None:
        """
        The cluster's HTTP options say how long its connections may be idle.
        """
        options = (
            "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"
            '"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, '
            "common_http_protocol_options: {idle_timeout: 30s}, explicit_http_config: {http_protocol_options: {}}}}"
        )
        self.config = CONFIG.replace("  - name: web  # cluster web\n", f"  - name: web\n    {options}\n")
        self.assertEqual(self.rows(self.ask("/cart", "x-beta: no"))["idle_timeout (upstream)"][0], "30s")

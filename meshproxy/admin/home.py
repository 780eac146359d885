# -*- test-case-name: tests.admin.test_home -*-
"""
The page at C{/}: the commands, with a form for what they take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from meshproxy.admin.commands import CHOICE, FLAG, AdminResponse, Command, Parameter

__all__ = ["HTML", "PAGE_HEADERS", "formOf", "homePage", "pageEnd", "pageStart"]

HTML = "text/html; charset=UTF-8"

PAGE_HEADERS = (
    # The pages need no script and load nothing. A page of another site cannot frame them to borrow a click.
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-frame-options", b"DENY"),
)
"""
What every page of HTML tells the browser.
"""

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; --accent: #2563a8 }
@media (prefers-color-scheme: dark) { :root { --accent: #7ab7f5; --quiet: #999 } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem }
h1 { font-size: 1.3rem; margin: 0 0 .2rem }
p { margin: 0 0 1.2rem; color: var(--quiet) }
table { border-collapse: collapse; width: 100% }
th { text-align: left; color: var(--quiet); font-weight: 600; padding: .3rem .5rem }
td { border-top: 1px solid var(--line); padding: .45rem .5rem; vertical-align: top }
td:first-child { white-space: nowrap; width: 15rem }
a, button { color: var(--accent); font: inherit }
button { background: none; border: 1px solid var(--line); border-radius: .3rem; cursor: pointer; padding: 0 .5rem }
label { display: flex; gap: .6rem; align-items: baseline; padding: .2rem 0 0; font-size: .88rem; color: var(--quiet) }
label code { color: CanvasText; min-width: 10rem }
label span { flex: 1 }
input, select { font: inherit; max-width: 13rem }
pre { font-size: .85rem; white-space: pre-wrap; overflow-wrap: anywhere }
@media (max-width: 44rem) {
  thead { display: none }
  tr { display: block; border-top: 1px solid var(--line); padding: .5rem 0 }
  td, td:first-child { display: block; border: 0; padding: .1rem 0; width: auto }
  label { flex-wrap: wrap }
  label span { flex: 1 1 100% }
}
"""


def pageStart(title: str, refresh: int = 0) -> str:
    """
    A page up to the beginning of its body.

    @param refresh: After how many seconds the browser loads it again; 0 for never.
    """
    again = f"<meta http-equiv='refresh' content='{refresh}'>\n" if refresh else ""
    return (
        f"<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n{again}"
        f"<title>{escape(title)} - meshproxy</title>\n"
        f"<meta name='viewport' content='width=device-width'>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n"
    )


def pageEnd() -> str:
    """
    The rest of a page.
    """
    return "</body>\n</html>\n"


def homePage(commands: Iterable[Command], who: str, state: str) -> AdminResponse:
    """
    The page.

    @param who: The node.
    @param state: As C{/ready} tells.
    """
    rows = "".join(_row(command) for command in commands)
    about = f"Node {who}, {state}" if who else state
    return AdminResponse(
        f"{pageStart('Proxy admin')}<p>{escape(about)}</p>\n"
        f"<table>\n<thead><tr><th>Command</th><th>Description</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"
        f"{pageEnd()}",
        contentType=HTML,
        headers=PAGE_HEADERS,
    )


def _row(command: Command) -> str:
    path = escape(command.path)
    shown = escape(command.path.lstrip("/")) or "/"
    if not command.mutates and not command.parameters:
        return f"<tr><td><a href='{path}'>{shown}</a></td><td>{escape(command.help)}</td></tr>\n"
    identity = f"f-{escape(command.path.strip('/').replace('/', '-'))}"
    method = "post" if command.mutates else "get"
    fields = "".join(_field(parameter, identity) for parameter in command.parameters)
    return (
        f"<tr><td><form action='{path}' method='{method}' id='{identity}'><button>{shown}</button></form></td>"
        f"<td>{escape(command.help)}{fields}</td></tr>\n"
    )


def formOf(path: str, parameters: Iterable[Parameter], given: Mapping[str, str]) -> str:
    """
    A form to ask a path again, otherwise.

    @param given: What it was asked with.
    """
    fields = "".join(_field(parameter, "again", given) for parameter in parameters)
    return f"<form action='{escape(path)}' id='again'>{fields}<p><button>{escape(path)}</button></p></form>\n"


def _field(parameter: Parameter, form: str, given: Mapping[str, str] | None = None) -> str:
    name = escape(parameter.name)
    value = "" if given is None else given.get(parameter.name, "")
    if parameter.kind == FLAG:
        checked = " checked" if given is not None and parameter.name in given else ""
        control = f"<input type='checkbox' name='{name}' form='{form}'{checked}>"
    elif parameter.kind == CHOICE:
        options = "".join(
            f"<option{' selected' if choice == value else ''}>{escape(choice)}</option>" for choice in parameter.choices
        )
        control = f"<select name='{name}' form='{form}'>{options}</select>"
    else:
        shown = f" value='{escape(value)}'" if value else ""
        control = f"<input name='{name}' form='{form}'{shown}>"
    return f"<label><code>{name}</code>{control}<span>{escape(parameter.help)}</span></label>"

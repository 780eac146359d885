# -*- test-case-name: tests.controlplane.cli.test_completion -*-
"""
Completion of C{meshctl}'s words in a shell: what a shell asks for with each press of the key, and the scripts that have
it ask.
"""

from __future__ import annotations

from argparse import Action, ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Callable, Sequence

from meshproxy.controlplane.cli.client import APIClient, CommandFailed, path
from meshproxy.controlplane.cli.proxynames import namesOf
from meshproxy.controlplane.cli.tables import Printer
from meshproxy.controlplane.model.kinds import KINDS, Kind

__all__ = ["SCRIPTS", "candidates", "completion", "namesFrom"]

#: Gives names that only the control plane knows, for what a word stands for and what was said before it.
Names = Callable[[str, Namespace], Sequence[str]]

_BASH = """\
# meshctl completion bash > /etc/bash_completion.d/meshctl, or: source <(meshctl completion bash)
_meshctl() {
    local IFS=$'\\n'
    COMPREPLY=($(meshctl complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _meshctl meshctl
"""

_ZSH = """\
#compdef meshctl
# meshctl completion zsh > "${fpath[1]}/_meshctl", or: source <(meshctl completion zsh)
_meshctl() {
    local -a found
    found=(${(f)"$(meshctl complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( $#found )); then compadd -a found; else _files; fi
}
if [[ $funcstack[1] == _meshctl ]]; then _meshctl "$@"; else compdef _meshctl meshctl; fi
"""

_FISH = """\
# meshctl completion fish > ~/.config/fish/completions/meshctl.fish
function __meshctl_complete
    set -l words (commandline -opc)
    meshctl complete -- $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c meshctl -a '(__meshctl_complete)'
"""

#: By the name of the shell.
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

# Words whose value is a file: the shell knows those.
_FILES = ("filename", "token_file", "ca_file", "cert", "key")


def completion(printer: Printer, arguments: Namespace) -> int:
    """
    Print the script of a shell.
    """
    for line in SCRIPTS[arguments.shell].splitlines():
        printer.line(line)
    return 0


class _Walk:
    """
    The words before the one that is asked for, as the parser would read them.
    """

    def __init__(self, parser: ArgumentParser) -> None:
        self.parser = parser
        self.said = Namespace()
        self.expecting: Action | None = None
        self._begin(parser)

    def _begin(self, parser: ArgumentParser) -> None:
        self.parser = parser
        self.options = {name: action for action in parser._actions for name in action.option_strings}
        self.places = [action for action in parser._actions if not action.option_strings]

    @property
    def place(self) -> Action | None:
        """
        What the next word that is no option stands for.
        """
        return self.places[0] if self.places else None

    def word(self, word: str) -> None:
        """
        Another word.
        """
        if self.expecting is not None:
            setattr(self.said, self.expecting.dest, word)
            self.expecting = None
        elif word.startswith("-"):
            name, equals, value = word.partition("=")
            action = self.options.get(name)
            if action is not None and action.nargs != 0:
                if equals:
                    setattr(self.said, action.dest, value)
                else:
                    self.expecting = action
            elif action is not None:
                setattr(self.said, action.dest, True)
        elif self.place is not None:
            self._placed(self.place, word)

    def _placed(self, place: Action, word: str) -> None:
        if isinstance(place, _SubParsersAction):
            command = place.choices.get(word)
            self.places = []
            if command is not None:
                self._begin(command)
            return
        if place.nargs != "*":
            setattr(self.said, place.dest, word)
            self.places.pop(0)


def candidates(parser: ArgumentParser, words: Sequence[str], names: Names) -> list[str]:
    """
    What the last of some words may become.

    @param words: Those after the program's name; the last one may be empty.
    """
    walk = _Walk(parser)
    *before, current = words or [""]
    for word in before:
        walk.word(word)
    if walk.expecting is not None:
        found = _values(walk.expecting, walk.said, names)
    elif current.startswith("-"):
        found = list(walk.options)
    elif walk.place is not None:
        found = _values(walk.place, walk.said, names)
        if walk.place.dest == "kind" and "," in current:
            # One more kind after others: vs,dr
            said = current.rpartition(",")[0]
            found = [f"{said},{name}" for name in found if name not in said.split(",")]
        if walk.place.nargs == "*":
            found = [name for name in found if name not in before]
    else:
        found = []
    return sorted({one for one in found if one.startswith(current) and one.isprintable()})


def _values(action: Action, said: Namespace, names: Names) -> Sequence[str]:
    if action.choices is not None:
        hidden = {"complete"}
        return [str(one) for one in action.choices if one not in hidden]
    if action.dest in _FILES:
        return []
    if action.dest == "kind":
        return [name for kind in KINDS for name in (kind.plural, *kind.shortNames)]
    return names(action.dest, said)


def _kindOf(name: str) -> Kind | None:
    lowered = name.lower()
    for kind in KINDS:
        if lowered in (kind.kind.lower(), kind.plural, *kind.shortNames):
            return kind
    return None


def namesFrom(client: Callable[[Namespace], APIClient]) -> Names:
    """
    Names of what the control plane has: resources, namespaces, proxies, revisions. Nothing where it cannot be asked.

    @param client: Makes a client, by what was said before.
    """

    def names(what: str, said: Namespace) -> Sequence[str]:
        try:
            return _asked(client(said), what, said)
        except (CommandFailed, KeyError, TypeError):
            return []

    return names


def _asked(client: APIClient, what: str, said: Namespace) -> list[str]:
    if what == "namespace":
        return [one["metadata"]["name"] for one in client.ask("GET", path("api", "v1", "namespaces"))["items"]]
    if what == "proxy":
        proxies = client.ask("GET", path("v1", "proxies"))["proxies"]
        return [name for name, ids in namesOf(proxies).items() if len(ids) == 1] + [one["id"] for one in proxies]
    if what == "revision":
        return [str(one["revision"]) for one in client.ask("GET", path("v1", "history", limit=50))["commits"]]
    kind = _kindOf(getattr(said, "kind", "")) if what == "name" else None
    if kind is None:
        return []
    base = ("apis", kind.group, kind.versions[0]) if kind.group else ("api", kind.versions[0])
    target = path(*base, "namespaces", getattr(said, "namespace", "default"), kind.plural)
    return [one["metadata"]["name"] for one in client.ask("GET", target)["items"]]

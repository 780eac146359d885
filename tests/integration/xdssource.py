"""
What a control plane says to proxies that are processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.json_format import ParseDict
from twisted.internet import reactor as installed

from meshproxy.config.pool import descriptorPool, newMessage
from meshproxy.controlplane.snapshot.snapshot import Snapshot

__all__ = ["ChangingSource"]

reactor: Any = installed


class ChangingSource:
    """
    A snapshot that a test changes; see L{meshproxy.controlplane.xds.server.ISource}.
    """

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self._told: list[Callable[[Snapshot], object]] = []

    def attach(self, node: Mapping[str, Any], changed: Callable[[Snapshot], object]) -> Callable[[], object]:
        """
        See L{meshproxy.controlplane.xds.server.ISource}.
        """
        self._told.append(changed)
        reactor.callLater(0, changed, self.snapshot)
        return lambda: self._told.remove(changed)

    def set(self, resources: Mapping[str, Mapping[str, Any]]) -> None:
        """
        Have something else: messages in JSON's form, by type and name.
        """
        messages = {
            typeName: {
                name: ParseDict(value, newMessage(typeName), descriptor_pool=descriptorPool())
                for name, value in named.items()
            }
            for typeName, named in resources.items()
        }
        self.snapshot = Snapshot.of(messages, self.snapshot)
        for changed in list(self._told):
            changed(self.snapshot)

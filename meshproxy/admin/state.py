# -*- test-case-name: tests.admin.test_state -*-
"""
What the process is and how it is: C{/ready}, C{/server_info}, C{/memory} and other small answers.
"""

from __future__ import annotations

from typing import Any

from meshproxy import __version__
from meshproxy.admin.commands import AdminRequest, AdminResponse, jsonResponse
from meshproxy.admin.memory import processMemory
from meshproxy.admin.messages import REDACTED, dictOf, setDuration
from meshproxy.admin.served import Served, stateOf
from meshproxy.config.pool import newMessage
from meshproxy.logs import levels

__all__ = ["contention", "hotRestartVersion", "initDump", "memory", "ready", "runtime", "serverInfo"]


def ready(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/ready}: 200 where requests are welcome.
    """
    state = stateOf(server)
    return AdminResponse(f"{state}\n", 200 if state == "LIVE" else 503)


def serverInfo(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/server_info}.
    """
    message: Any = newMessage("envoy.admin.v3.ServerInfo")
    message.version = f"0/{__version__}/Clean/RELEASE/meshproxy"
    message.state = message.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_name[stateOf(server)].number
    message.hot_restart_version = "disabled"
    uptime = server.context.clock.seconds() - server.started
    setDuration(message.uptime_current_epoch, uptime)
    setDuration(message.uptime_all_epochs, uptime)
    _fillOptions(message.command_line_options, server)
    node = message.node
    node.CopyFrom(server.bootstrap.message.node)
    node.id = server.context.nodeId
    node.cluster = server.context.nodeCluster
    if server.options.serviceZone:
        node.locality.zone = server.options.serviceZone
    node.user_agent_name = "meshproxy"
    node.user_agent_version = __version__
    return jsonResponse(dictOf(message, defaults=True))


def _fillOptions(message: Any, server: Served) -> None:
    options = server.options
    message.concurrency = 1
    message.config_path = options.configPath or ""
    # It may hold secrets, and is no message that could be redacted.
    message.config_yaml = REDACTED if options.configText else ""
    message.allow_unknown_static_fields = options.allowUnknown
    message.admin_address_path = options.adminAddressPath or ""
    message.log_level = levels.default
    message.service_cluster = options.serviceCluster
    message.service_node = options.serviceNode
    message.service_zone = options.serviceZone
    message.disable_hot_restart = True
    setDuration(message.drain_time, options.drainTime)
    message.drain_strategy = 1  # Immediate


def memory(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/memory}.
    """
    found = processMemory()
    message: Any = newMessage("envoy.admin.v3.Memory")
    message.allocated = found.allocated
    message.heap_size = found.heapSize
    message.total_physical_bytes = found.resident
    return jsonResponse(dictOf(message, defaults=True))


def hotRestartVersion(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/hot_restart_version}.
    """
    return AdminResponse("disabled")


def contention(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/contention}.
    """
    return AdminResponse("Mutex contention tracing is not enabled: this proxy has one thread and no mutex.")


def initDump(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/init_dump}: what the start waits for.
    """
    waiting = server.clusters.warming
    if not waiting:
        return jsonResponse({})
    names = [f"Cluster {name}" for name in waiting]
    return jsonResponse({"unready_targets_dumps": [{"name": "init manager Server", "target_names": names}]})


def runtime(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/runtime}.
    """
    return jsonResponse(server.context.runtime.snapshot())

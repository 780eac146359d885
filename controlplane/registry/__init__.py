"""
Services and their endpoints, wherever they are found.

  - L{meshproxy.controlplane.registry.services}: C{Service}, C{Port}, C{Endpoint}: the words that every registry uses.
  - L{meshproxy.controlplane.registry.index}: C{ServiceIndex}, all services and endpoints at one moment, never changed,
    found by host, by namespace, by workload; C{changesBetween} two of them. The translation takes one.
  - L{meshproxy.controlplane.registry.registry}: C{IRegistry}, what finds services; C{ResourceRegistry}, which finds
    them in Service, ServiceEntry and WorkloadEntry; C{JoinedRegistry}, several as one.
"""

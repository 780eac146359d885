# -*- test-case-name: tests.controlplane.demo -*-
"""
A whole mesh in one process, to try things on: Istio's bookinfo, a sidecar for each workload, a gateway, the
control plane.
"""

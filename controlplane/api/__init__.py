"""
The control plane over HTTP: resources in Kubernetes' shape, and under C{/v1/} what Kubernetes has no word for.
"""

__all__: list[str] = []

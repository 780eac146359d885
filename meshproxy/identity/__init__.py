"""
Who this workload is: its own key and the certificate for it, asked for, renewed in time, kept, and handed to whoever
speaks TLS in its name: the contexts of this proxy, or a real Envoy, by SDS.
"""

__all__: list[str] = []

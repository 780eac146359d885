"""
Sends each tenant to a cluster of its own.
"""

import attrs

from meshproxy.routing.specifiers import ClusterSpecifier


@attrs.frozen
class Config:
    """
    Which tenants have clusters of their own, and who serves all others.
    """

    clusters: dict[str, str] = attrs.field(factory=dict)
    others: str = "shared"


class ByTenant(ClusterSpecifier):
    """
    Chooses by the first label of the host: C{acme.example.com} is of the tenant C{acme}.
    """

    Config = Config

    def chooseCluster(self, headers, stream):
        tenant = headers.authority.decode().partition(".")[0]
        return self.config.clusters.get(tenant, self.config.others)

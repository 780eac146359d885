"""
Who may do what: C{envoy.config.rbac.v3}, for the filters that ask.

Policies are made of permissions and principals, and these of conditions; a condition decides, and can say why.
"""

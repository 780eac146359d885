"""
Who explains what becomes of requests.
"""

from meshproxy.plugins.descriptor import ExplainerPlugin

explainer = ExplainerPlugin("meshproxy.dryrun:explainResources")

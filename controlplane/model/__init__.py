"""
The resources that users apply: read, checked and named, with their places in the text.

This is the contract that the REST API, the store, C{meshctl}, the registry and the translation build on.

  - L{meshproxy.controlplane.model.documents}: C{parseDocuments(text, filename)} for YAML and JSON texts and
    C{parseObject(mapping)} for the body of a request. Both give resources and problems; a resource comes back only if
    it has no error.
  - L{meshproxy.controlplane.model.resource}: C{Resource} and C{Metadata}. C{resource.spec} is an attrs instance of the
    class that the kind names; C{resource.document} is what was applied, as plain data, for the store to keep: what
    C{parseObject} makes of it is equal. C{resource.key} names it among all resources.
  - L{meshproxy.controlplane.model.kinds}: C{KINDS}, the table of kinds (group, versions, kind, plural, class), and how
    to find one by C{apiVersion} and kind or by group and plural.
  - L{meshproxy.controlplane.model.problems}: C{Problem}: severity, code, path, place, message, suggestion. An error
    refuses the resource; a warning does not. The code C{not-programmed} marks what is valid and without effect so far:
    it is never dropped in silence.
  - One module for each kind: L{meshproxy.controlplane.model.virtualservice} and so on, the classes of its fields
    first, its checks behind them. A path in a problem is written as in the resource: C{spec.http[0].route[1].weight}.
  - L{meshproxy.controlplane.model.hosts}: host names as Istio reads them: wildcards, short names.
  - L{meshproxy.controlplane.model.reference}: writes C{docs/reference/resources.md} from the classes.

Nothing here does input or output, and nothing keeps state: every function gives the same for the same.
"""

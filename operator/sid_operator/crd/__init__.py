"""The CRD and the API reference, generated from the models of :mod:`sid_operator.api`.

* :mod:`.schema`: pydantic's JSON schema to Kubernetes' structural schema.
* :mod:`.rules`: CEL rules across fields, immutability, list keys.
* :mod:`.document`: the CustomResourceDefinition around them.
* :mod:`.reference`: the API reference for people.

``python -m sid_operator.crd`` writes the files, ``--check`` fails when one is stale.
"""

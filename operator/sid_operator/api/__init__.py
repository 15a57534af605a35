"""The resource ``SiDDistillation`` as Python types: what users write, what the operator tells.

The one source of the API. The CRD with its validation, the texts of ``kubectl explain`` and
``docs/api-reference.md`` are generated from these models (:mod:`sid_operator.crd`), so a field
that stands here is a promise: it has a description, bounds, and is obeyed by the operator.

* :mod:`.names`: group, kind, labels, keys and the names of child objects.
* :mod:`.fields`: types of single fields, with checks that hold in pydantic and in the CRD alike.
* :mod:`.spec`, :mod:`.workers`: the spec; :mod:`.status`, :mod:`.conditions`: the status.
* :mod:`.render`: the spec as the trainer's configuration file.

What may change on a live resource: everything that decides *what* is trained is immutable (refused
by the API server). The rest may change: ``runPolicy`` acts on the running Job; any other change
(length of the run, micro-batch, offload, nodes, image, resources, Secrets, checkpoint and
evaluation intervals, scheduling) re-creates the pods, which resume from the last committed
checkpoint.
"""

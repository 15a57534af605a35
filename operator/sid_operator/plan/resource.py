"""Reads a SiDDistillation from the API's object; what cannot be run is told, never raised.

Rule: a field that is not known here is passed over. The API server refuses or drops what its CRD
does not know, so it is one of a newer CRD, whose operator comes a moment later in the same upgrade;
and its default stands in every resource at once.
"""

from __future__ import annotations

import pydantic

from sid_operator import reasons
from sid_operator.api.render import run_config
from sid_operator.api.spec import SiDDistillationSpec
from sid_operator.api.status import SiDDistillationStatus
from sid_operator.kube.kinds import Object
from sid_operator.plan.model import Resource
from sid_operator.plan.objects import printable
from sid_operator.resources.run import Installed, Run

MAX_PROBLEMS = 3
"""Mistakes of a spec that are told at a time."""


def resource_of(obj: Object, default: Installed) -> Resource:
    """Read a resource; ``default`` is used where it says nothing."""
    metadata = obj["metadata"]
    run, problem = _run(obj, default)
    return Resource(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=int(metadata.get("generation", 0)),
        run=run,
        problem=problem,
        status=_status(obj.get("status") or {}),
    )


def _run(obj: Object, default: Installed) -> tuple[Run | None, str]:
    metadata = obj["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    try:
        spec = SiDDistillationSpec.model_validate(obj.get("spec") or {}, extra="ignore")
        run_config(spec, namespace, name)
    except pydantic.ValidationError as error:
        return None, reasons.INVALID.format(details=_details(error))
    image = spec.workers.image or default.image
    if not image:
        return None, reasons.NO_IMAGE
    own = tuple(secret.name for secret in spec.workers.image_pull_secrets)
    run = Run(
        namespace=namespace,
        name=name,
        uid=metadata["uid"],
        spec=spec,
        image=image,
        pull_secrets=own or default.pull_secrets,
        room_check=default.room_check,
    )
    return run, ""


def _details(error: pydantic.ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    described = [
        f"{'.'.join(map(str, problem['loc'])) or 'spec'}: {problem['msg']}"
        for problem in problems[:MAX_PROBLEMS]
    ]
    return printable("; ".join(described))


def _status(status: Object) -> SiDDistillationStatus:
    try:
        return SiDDistillationStatus.model_validate(status)
    except pydantic.ValidationError:
        # Another version's, or edited by hand. All of it can be told by looking again.
        return SiDDistillationStatus()

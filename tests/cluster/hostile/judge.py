"""What must be true afterwards, of each resource and of everything that was made of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

import yaml

from sid_operator.api.names import (
    ANNOTATION_CONTENT,
    ANNOTATION_HASH,
    ANNOTATION_POD_LIMIT,
    ANNOTATION_POLICY_HASH,
    ANNOTATION_RELEASED,
    ANNOTATION_SELF,
    ANNOTATION_UID,
    COMPONENT_CLEANUP,
    LABEL_COMPONENT,
    LABEL_DISTILLATION,
    LABEL_QUEUE,
    LABEL_QUEUE_PRIORITY,
    MAX_NAME_LENGTH,
)
from sid_operator.resources.placement import KUEUE_TOPOLOGY
from sid_trainer.contract import CA_BUNDLE_PATH, CONFIG_PATH
from tests.cluster.hostile.generate import NAMESPACE

Object = dict[str, Any]
POD_FIELDS = {
    *("restartPolicy", "subdomain", "automountServiceAccountToken", "enableServiceLinks"),
    *("terminationGracePeriodSeconds", "securityContext", "containers", "volumes", "dnsPolicy"),
    *("imagePullSecrets", "nodeSelector", "affinity", "tolerations", "schedulerName"),
    *("priorityClassName", "runtimeClassName", "resourceClaims"),
    *("serviceAccountName", "serviceAccount"),
}
VARIABLES = {
    *("HOME", "TMPDIR", "SID_GANG", "HF_TOKEN"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
}
VOLUMES = {"configMap", "emptyDir", "persistentVolumeClaim"}
_CLEANUP = re.compile(r"[a-z][-a-z0-9]{0,39}-cleanup-[0-9a-f]{8}")
_REMOVAL = re.compile(
    r"remove --storage s3://[\w./-]+( --endpoint https?://[\w.:\[\]-]+/?)?( --region [\w-]+)?"
    rf"( --addressing \w+)?( --ca-bundle {re.escape(CA_BUNDLE_PATH)})?"
)
_LAUNCH = re.compile(re.escape(f"launch --config {CONFIG_PATH}"))
_RESERVED = re.compile(
    r"((.*\.)?sid-dit\.dev|kueue\.x-k8s\.io|(.*\.)?security\.(.*\.)?kubernetes\.io)/"
)
OURS = {
    *(LABEL_DISTILLATION, LABEL_QUEUE, LABEL_QUEUE_PRIORITY, *KUEUE_TOPOLOGY.values()),
    *(ANNOTATION_HASH, ANNOTATION_CONTENT, ANNOTATION_POLICY_HASH),
    ANNOTATION_POD_LIMIT,
    *(ANNOTATION_UID, ANNOTATION_SELF, ANNOTATION_RELEASED),
}
"""Reserved labels and annotations that the operator itself sets."""
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def unsettled(resources: Iterable[Object]) -> list[str]:
    """Resources that do not tell of their newest version in a condition."""
    return [resource["metadata"]["name"] for resource in resources if not _settled(resource)]


def _settled(resource: Object) -> bool:
    metadata = resource["metadata"]
    if "deletionTimestamp" in metadata:
        return True  # held by a finalizer of its author
    conditions = {c["type"]: c for c in (resource.get("status") or {}).get("conditions") or []}
    accepted = conditions.get("Accepted")
    return accepted is not None and accepted.get("observedGeneration") == metadata["generation"]


def strays(children: Iterable[Object], resources: Iterable[Object]) -> Iterator[str]:
    """Children elsewhere than in the namespace, of no resource, or under a strange name."""
    uids = {resource["metadata"]["uid"]: resource["metadata"]["name"] for resource in resources}
    for child in children:
        metadata = child["metadata"]
        where = f"{child['kind']} {metadata['namespace']}/{metadata['name']}"
        owners = metadata.get("ownerReferences") or []
        if metadata["namespace"] != NAMESPACE:
            yield f"{where}: outside the namespace"
        elif _cleans(child):
            if not _CLEANUP.fullmatch(metadata["name"]) or owners:
                yield f"{where}: an owner, or another name"
        elif len(owners) != 1 or owners[0]["uid"] not in uids:
            yield f"{where}: belongs to none of the resources"
        elif not _is_named_after(metadata, uids[owners[0]["uid"]]):
            yield f"{where}: belongs to {uids[owners[0]['uid']]}"
        if foreign := [key for key in _borne(child) if _RESERVED.match(key) and key not in OURS]:
            yield f"{where}: bears {foreign}"


def _borne(child: Object) -> Iterator[str]:
    """Keys of all labels and annotations of an object and of its pods."""
    template = child.get("spec", {}).get("template", {})
    for metadata in (child["metadata"], template.get("metadata", {})):
        yield from metadata.get("labels", {})
        yield from metadata.get("annotations", {})


def _is_named_after(metadata: Object, name: str) -> bool:
    fits = NAME.fullmatch(name) is not None and len(name) <= MAX_NAME_LENGTH
    labelled = metadata["labels"][LABEL_DISTILLATION] == name
    return fits and labelled and metadata["name"] in (name, f"{name}-config")


def loose_jobs(jobs: Iterable[Object]) -> Iterator[str]:
    """What a Job's pods have that no resource may ask for."""
    for job in jobs:
        for problem in _loose(job["spec"]["template"]["spec"], cleans=_cleans(job)):
            yield f"Job {job['metadata']['name']}: {problem}"


def _cleans(child: Object) -> bool:
    return bool(child["metadata"]["labels"][LABEL_COMPONENT] == COMPONENT_CLEANUP)


def _loose(spec: Object, *, cleans: bool) -> Iterator[str]:
    unknown = set(spec) - POD_FIELDS
    if unknown:
        yield f"fields {sorted(unknown)}"
    if spec["automountServiceAccountToken"] or not spec["securityContext"]["runAsNonRoot"]:
        yield "a service account's token, or root"
    (container,) = spec["containers"]
    wanted = _REMOVAL if cleans else _LAUNCH
    if container.get("command") or not wanted.fullmatch(" ".join(container["args"])):
        yield f"arguments {container.get('command')} {container['args']}"
    told = [variable["name"] for variable in container["env"]]
    if len(told) != len(set(told)):
        yield f"variables {told}"
    for variable in container["env"]:
        if not _is_harmless(variable):
            yield f"variable {variable}"
    if container["securityContext"]["capabilities"] != {"drop": ["ALL"]}:
        yield "capabilities"
    yield from _loose_volumes(spec.get("volumes", []), container.get("volumeMounts", []))


def _is_harmless(variable: Object) -> bool:
    """Whether it is the operator's own, or one of the author's that takes nothing else in."""
    name, plain = variable["name"], variable.get("value", "").replace("$$", "")
    if "$" in plain:
        return False
    reserved = name.startswith(("AWS_", "SID_")) and name != "SID_CACHE"
    return name in VARIABLES or not (reserved or "valueFrom" in variable)


def _loose_volumes(volumes: list[Object], mounts: list[Object]) -> Iterator[str]:
    for volume in volumes:
        if set(volume) - {"name"} - VOLUMES and not _is_bundle(volume):
            yield f"volume {volume}"
    claims = {volume["name"] for volume in volumes if "persistentVolumeClaim" in volume}
    for mount in mounts:
        path = PurePosixPath(mount["mountPath"])
        strange = ".." in path.parts or set(mount) - {"name", "mountPath", "readOnly"}
        if strange or (mount["name"] in claims and path.parts[1] in ("etc", "usr", "proc", "tmp")):
            yield f"mount {mount}"


def _is_bundle(volume: Object) -> bool:
    """Whether it is one key of a Secret, which the author must be allowed to read."""
    secret = volume.get("secret") or {}
    items = secret.get("items") or []
    return volume["name"] == "ca-bundle" and [item["path"] for item in items] == ["ca.crt"]


def untrue_files(config_maps: Iterable[Object], resources: Iterable[Object]) -> Iterator[str]:
    """Configuration files that say something else than the resource, as a YAML reader sees it."""
    specs = {resource["metadata"]["name"]: resource["spec"] for resource in resources}
    for config_map in config_maps:
        name = config_map["metadata"]["labels"][LABEL_DISTILLATION]
        (text,) = config_map["data"].values()
        parsed = yaml.safe_load(text)
        for difference in _differences(specs[name], parsed, ""):
            yield f"ConfigMap of {name}: {difference}"


def _differences(spec: Any, parsed: Any, path: str) -> Iterator[str]:
    """Where both have a field, it is the same; what is Kubernetes' alone is in one only."""
    if isinstance(spec, dict) and isinstance(parsed, dict):
        for key in spec.keys() & parsed.keys():
            yield from _differences(spec[key], parsed[key], f"{path}.{key}")
    elif isinstance(spec, list) and isinstance(parsed, list) and len(spec) == len(parsed):
        for index, (one, other) in enumerate(zip(spec, parsed, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif spec != parsed:
        yield f"{path}: {spec!r:.80} became {parsed!r:.80}"

"""The cases: what is sent to the API server, and in which order."""

from __future__ import annotations

import copy
import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sid_operator.api.names import API_VERSION, KIND
from sid_operator.crd.document import resource_schema
from tests.cluster.hostile import valid, values

Object = dict[str, Any]
NAMESPACE = "hostile"
SCHEMA = resource_schema()["properties"]
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"


@dataclass(frozen=True)
class Change:
    """A later change of a stored resource.

    Attributes:
        method: PATCH or DELETE.
        subresource: ``status``, or "" for the resource itself.
    """

    method: str
    body: bytes
    content_type: str = MERGE
    subresource: str = ""


@dataclass(frozen=True)
class Case:
    """One resource with its later changes.

    Attributes:
        name: As it was meant; what is stored may have none, or another.
        body: What is sent to create it.
        validation: What the API server does about fields that it does not know.
    """

    name: str
    body: bytes
    validation: str
    changes: tuple[Change, ...]


def cases(seed: int, count: int) -> Iterator[Case]:
    """The first ``count`` cases of a seed."""
    for number in range(count):
        yield case(random.Random(f"{seed}/{number}"), f"case-{number}")


def case(rng: random.Random, name: str) -> Case:
    """A case; about half of them are meant to be accepted."""
    spec = _base()
    if rng.random() < 0.7:
        spec = _mixed(spec, valid.value(SCHEMA["spec"], "spec", rng), rng)
    spec = copy.deepcopy(spec)  # what is spoilt of one case is not spoilt of those after it
    resource: Object = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}}
    resource["spec"] = spec
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        rng.choice((_spoil_spec, _spoil_spec, _spoil_spec, _spoil_metadata))(resource, rng)
    changes = tuple(_change(rng) for _ in range(rng.choice((0, 0, 1, 3))))
    return Case(name, _sent(resource, rng), rng.choice(("Strict", "Ignore")), changes)


IDENTITIES: Object = {"secretRef": {"name": "s3-credentials"}, "serviceAccountName": "trainer"}
"""What opens the bucket: one of them, or the resource is refused."""


def _base() -> Object:
    return {
        "teacher": {"model": "organisation/model"},
        "data": {"prompts": {"uri": "s3://sid/prompts.txt"}},
        "checkpoint": {"bucket": "sid", "secretRef": {"name": "s3-credentials"}},
        "workers": {"gpusPerNode": 1},
    }


def _mixed(base: Object, drawn: Object, rng: random.Random) -> Object:
    """Some sections of a drawn spec; all of one contradict each other too often."""
    taken = {name: part for name, part in drawn.items() if rng.random() < 0.4}
    if "checkpoint" in taken:
        kept = {n: v for n, v in taken["checkpoint"].items() if n not in IDENTITIES}
        name = rng.choice(tuple(IDENTITIES))
        taken["checkpoint"] = {**kept, name: IDENTITIES[name]}
    return base | taken


def _places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Path of everything in a document."""
    children = node.items() if isinstance(node, dict) else enumerate(node)
    for key, child in children:
        yield (*path, key)
        if isinstance(child, (dict, list)):
            yield from _places(child, (*path, key))


def _schema_places(schema: Object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Path of every field that a schema knows; lists are entered at their first item."""
    for name, part in schema.get("properties", {}).items():
        yield (*path, name)
        yield from _schema_places(part, (*path, name))
        if "items" in part:
            yield (*path, name, 0)
            yield from _schema_places(part["items"], (*path, name, 0))
        if "additionalProperties" in part:
            yield (*path, name, "example.org/key")


KNOWN = [("spec", *path) for path in _schema_places(SCHEMA["spec"])]
KNOWN_STATUS = [("status", *path) for path in _schema_places(SCHEMA["status"])]


def put(document: Object, path: tuple[Any, ...], value: Any) -> None:
    """Put a value at a path, as far as what is on the way lets it."""
    node: Any = document
    value = copy.deepcopy(value)
    for key, following in itertools.pairwise(path):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(node, list):
            if not node:
                node.append(empty)
            node = node[0]
        elif isinstance(node, dict):
            node = node.setdefault(key, empty)
        else:
            return
    if isinstance(node, list):
        node[:1] = [value]
    elif isinstance(node, dict):
        node[path[-1]] = value


def _spoil_spec(resource: Object, rng: random.Random) -> None:
    spec = resource.get("spec")
    if not isinstance(spec, dict):
        return
    path = rng.choice(KNOWN)
    if rng.random() < 0.5 and spec:
        path = rng.choice([("spec", *place) for place in _places(spec)])
    kind = rng.randrange(8)
    if kind == 0:
        path = (*path[:-1], rng.choice(("unknown", "x\ny", "$ref", "__proto__", "hostNetwork")))
    put(resource, path, values.text(rng) if kind < 4 else values.anything(rng))


def _spoil_metadata(resource: Object, rng: random.Random) -> None:
    metadata = resource["metadata"]
    label = rng.choice(("sid-dit.dev/distillation", "a", values.text(rng)))
    chosen: tuple[str, Any] = rng.choice(
        (
            ("name", values.text(rng)),
            ("name", f"{metadata['name']}{rng.choice(values.NAMES)}"),
            ("namespace", rng.choice(("kube-system", "../x", "", "default"))),
            ("labels", {label: values.text(rng)}),
            ("labels", {"sid-dit.dev/distillation": "case-0"}),
            (
                "annotations",
                {"sid-dit.dev/hash": "x", "a": values.text(rng) * rng.choice((1, 900))},
            ),
            ("finalizers", [rng.choice(("sid-dit.dev/x", "orphan", "no domain"))]),
            ("generateName", values.text(rng)),
            ("uid", "11111111-2222-3333-4444-555555555555"),
            ("resourceVersion", rng.choice(("1", "x"))),
            ("deletionTimestamp", "2020-01-01T00:00:00Z"),
            ("generation", -1),
            ("ownerReferences", [_owner(rng)]),
            ("managedFields", [{"manager": "sid-operator", "operation": "Apply"}]),
            (values.text(rng), values.anything(rng)),
        )
    )
    metadata[chosen[0]] = chosen[1]


def _owner(rng: random.Random) -> Object:
    return {
        "apiVersion": rng.choice(("v1", "apps/v1", API_VERSION)),
        "kind": rng.choice(("Namespace", "Pod", KIND)),
        "name": rng.choice(("kube-system", "case-0", values.text(rng))),
        "uid": "11111111-2222-3333-4444-555555555555",
        "controller": True,
    }


BREAKAGES: tuple[Callable[[str, random.Random], bytes], ...] = (
    lambda text, rng: text[: rng.randrange(len(text))].encode(),
    lambda text, _: text.replace('"spec": {', '"spec": {}, "spec": {', 1).encode(),
    lambda text, _: text.encode().replace(b"sid", b"\xff\xfe", 1),
    lambda text, _: text.replace('"gpusPerNode": 1', '"gpusPerNode": 1e400').encode(),
    lambda text, _: text.replace('"teacher":', '"teacher": NaN, "x":', 1).encode(),
    lambda text, _: b"\xef\xbb\xbf" + text.encode(),
    lambda text, _: (text[:-1] + ', "y": ' + "[" * 5000 + "]" * 5000 + "}").encode(),
    lambda text, rng: text.replace(API_VERSION, rng.choice(("v1", "sid-dit.dev/v2", ""))).encode(),
    lambda text, _: f"[{text}]".encode(),
    lambda _text, _: b"",
)
"""What happens to bytes on the way."""


def _sent(resource: Object, rng: random.Random) -> bytes:
    """The resource as bytes, some of them broken."""
    text = json.dumps(resource)
    return text.encode() if rng.random() < 0.9 else rng.choice(BREAKAGES)(text, rng)


def _change(rng: random.Random) -> Change:
    kind = rng.randrange(6)
    if kind == 0:
        return Change("DELETE", b'{"propagationPolicy": "Background"}')
    if kind == 1:
        suspend = {"spec": {"runPolicy": {"suspend": rng.random() < 0.7}}}
        return Change("PATCH", json.dumps(suspend).encode())
    if kind == 2:
        path = "/" + "/".join(str(key) for key in rng.choice(KNOWN))
        action = rng.choice(("replace", "add", "remove", "test"))
        patch = [{"op": action, "path": path, "value": values.anything(rng)}]
        return Change("PATCH", json.dumps(patch).encode(), JSON_PATCH)
    if kind == 3:
        return Change("PATCH", _status(rng), subresource="status")
    document: Object = {}
    put(document, rng.choice(KNOWN), values.anything(rng))
    return Change("PATCH", json.dumps(document).encode())


def _status(rng: random.Random) -> bytes:
    """A status as one may write who has the right to, or an operator of another version."""
    status = copy.deepcopy({"status": valid.value(SCHEMA["status"], "status", rng)})
    if rng.random() < 0.5:
        put(status, rng.choice(KNOWN_STATUS), values.anything(rng))
    return json.dumps(status).encode()

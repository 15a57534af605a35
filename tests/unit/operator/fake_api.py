"""A small API server for tests of the client and what stands on it: real HTTP, chosen faults.

It keeps resource versions, understands label selectors, ``metadata.name`` and event field
selectors, server-side apply (as a merge), merge patches with conditions, watches with bookmarks,
and answers the next requests with faults where it is told to. What it does not do is validate.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import kopf
from aiohttp import web
from aiohttp.test_utils import TestServer

from sid_operator.kube.client import KubeClient
from sid_operator.kube.login import Credentials

Object = dict[str, Any]
COLLECTIONS = {
    "configmaps",
    "services",
    "jobs",
    "pods",
    "events",
    "leases",
    "nodes",
    "siddistillations",
}


@dataclass
class Fault:
    """The answer to a request in place of the true one; status 0 cuts the connection."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    method: str = ""
    plural: str = ""
    message: str = "fault"
    after: bool = False
    """Carry the request out first: the answer is lost."""
    silent: bool = False
    """Never answer."""
    lasting: bool = False
    """Break every request that it fits, not only the next."""
    name: str = ""
    """Break only requests about an object whose name contains it."""
    spares: int = 0
    """How many requests that it fits are answered well before."""


class FakeApi:
    """The server's state; tests read and change it directly."""

    def __init__(self) -> None:
        self.url = ""
        self.version = 100
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.faults: list[Fault] = []
        self.requests: Counter[tuple[str, str]] = Counter()
        self.writes: list[tuple[str, str, Object]] = []
        self.validations: list[str] = []
        """``fieldValidation`` of each write."""
        self.log: list[tuple[str, Object]] = []
        self.compacted = 0
        self.changed = asyncio.Event()
        self.sleeps: list[float] = []
        self.ends_watches = False
        """End each watch at once, without an error."""

    def put(self, plural: str, obj: Object) -> Object:
        """Create or replace an object."""
        metadata = obj["metadata"]
        key = (plural, metadata.get("namespace", ""), metadata["name"])
        existed = key in self.objects
        self.version += 1
        metadata.setdefault("uid", uuid.uuid4().hex)
        metadata.setdefault("creationTimestamp", "2026-11-22T11:59:00Z")
        metadata["resourceVersion"] = str(self.version)
        self.objects[key] = obj
        self._tell(plural, "MODIFIED" if existed else "ADDED", obj)
        return obj

    def remove(self, plural: str, namespace: str, name: str, *, silently: bool = False) -> None:
        """Delete an object; silently, as if every watch had missed it."""
        obj = json.loads(json.dumps(self.objects.pop((plural, namespace, name))))
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        if not silently:
            self._tell(plural, "DELETED", obj)

    def of(self, plural: str) -> list[Object]:
        """All objects of a kind."""
        return [obj for (kind, _, _), obj in sorted(self.objects.items()) if kind == plural]

    def compact(self) -> None:
        """Forget history: watches from an older version are answered with 410."""
        self.compacted = self.version
        self.log.clear()

    def _tell(self, plural: str, kind: str, obj: Object) -> None:
        copied = json.loads(json.dumps(obj))
        self.log.append((plural, {"type": kind, "object": copied}))
        self.changed.set()
        self.changed = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        parts = request.path.strip("/").split("/")
        position = next((i for i, part in enumerate(parts) if part in COLLECTIONS), None)
        if position is None:  # what a group and version serves
            return web.json_response({"resources": [{"name": one} for one in COLLECTIONS]})
        plural, rest = parts[position], parts[position + 1 :]
        namespace = parts[position - 1] if "namespaces" in parts[:position] else ""
        self.requests[(request.method, plural)] += 1
        fault = self._fault(request.method, plural, rest[0] if rest else "")
        if fault is not None and fault.silent:
            await asyncio.Event().wait()
        if fault is not None and not fault.after:
            return self._broken(request, fault)
        try:
            answer = await self._answer(request, plural, namespace, rest)
        except ConnectionResetError:  # the watcher went away
            return web.Response()
        return answer if fault is None else self._broken(request, fault)

    def _fault(self, method: str, plural: str, name: str) -> Fault | None:
        for fault in self.faults:
            fits = fault.method in ("", method) and fault.plural in ("", plural)
            if fits and fault.name in name:
                if fault.spares:
                    fault.spares -= 1
                    continue
                if not fault.lasting:
                    self.faults.remove(fault)
                return fault
        return None

    def _broken(self, request: web.Request, fault: Fault) -> web.Response:
        if fault.status == 0:
            assert request.transport is not None
            request.transport.abort()
        return _status(fault.status or 500, fault.message, fault.headers)

    async def _answer(
        self, request: web.Request, plural: str, namespace: str, rest: list[str]
    ) -> web.StreamResponse:
        if request.method == "GET" and not rest:
            if request.query.get("watch"):
                return await self._watch(request, plural, namespace)
            return self._list(request, plural, namespace)
        body = await request.json() if request.can_read_body else {}
        if request.method != "GET":
            self.writes.append((request.method, "/".join([plural, *rest]), body))
            self.validations.append(request.query.get("fieldValidation", ""))
        name = rest[0] if rest else body["metadata"]["name"]
        held = self.objects.get((plural, namespace, name))
        handler = getattr(self, f"_{request.method.lower()}")
        answer: web.Response = handler(request, plural, namespace, name, body, held)
        return answer

    def _list(self, request: web.Request, plural: str, namespace: str) -> web.Response:
        items = [o for o in self.of(plural) if _selected(request, o, namespace)]
        start = int(request.query.get("continue", "0"))
        end = start + int(request.query.get("limit", "500"))
        metadata = {"resourceVersion": str(self.version)}
        if end < len(items):
            metadata["continue"] = str(end)
        return web.json_response({"items": items[start:end], "metadata": metadata})

    async def _watch(self, request: web.Request, plural: str, namespace: str) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        if since < self.compacted:
            gone = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}
            await response.write(json.dumps(gone).encode() + b"\n")
            return response
        sent = 0
        while not self.ends_watches:
            changed = self.changed
            for kind, event in self.log[sent:]:
                new = int(event["object"]["metadata"]["resourceVersion"]) > since
                if kind == plural and new and _selected(request, event["object"], namespace):
                    await response.write(json.dumps(event).encode() + b"\n")
            sent = len(self.log)
            await changed.wait()
        return response

    def _get(self, *args: Any) -> web.Response:
        held = args[-1]
        return web.json_response(held) if held is not None else _status(404, "not found")

    def _post(
        self, request: web.Request, plural: str, namespace: str, _n: str, body: Object, held: Any
    ) -> web.Response:
        if held is not None:
            return _status(409, "exists", reason="AlreadyExists")
        body["metadata"]["namespace"] = namespace
        if request.query.get("dryRun"):
            return web.json_response(body, status=201)
        return web.json_response(self.put(plural, body), status=201)

    def _put(
        self, _r: web.Request, plural: str, _s: str, _n: str, body: Object, held: Any
    ) -> web.Response:
        if held is None:
            return _status(404, "not found")
        if held["metadata"]["resourceVersion"] != body["metadata"].get("resourceVersion"):
            return _status(409, "changed", reason="Conflict")
        return web.json_response(self.put(plural, body))

    def _patch(
        self, request: web.Request, plural: str, namespace: str, _n: str, body: Object, held: Any
    ) -> web.Response:
        apply = request.content_type == "application/apply-patch+yaml"
        if held is None and not apply:
            return _status(404, "not found")
        wanted = body.get("metadata", {})
        for name in ("uid", "resourceVersion"):
            if held is not None and wanted.get(name) not in (None, held["metadata"][name]):
                return _status(409, f"{name} differs", reason="Conflict")
        merged = _merged(json.loads(json.dumps(held or {})), body)
        merged["metadata"]["namespace"] = namespace
        return web.json_response(self.put(plural, merged))

    def _delete(
        self, _r: web.Request, plural: str, namespace: str, name: str, body: Object, held: Any
    ) -> web.Response:
        if held is None:
            return _status(404, "not found")
        if body["preconditions"]["uid"] != held["metadata"]["uid"]:
            return _status(409, "uid differs", reason="Conflict")
        self.remove(plural, namespace, name)
        return web.json_response({})

    async def sleep(self, seconds: float) -> None:
        """Stand in for asyncio.sleep, without waiting."""
        self.sleeps.append(seconds)
        await asyncio.sleep(0)


def _merged(held: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(held) if isinstance(held, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _selected(request: web.Request, obj: Object, namespace: str) -> bool:
    metadata = obj["metadata"]
    label = request.query.get("labelSelector", "")
    if label and label not in (metadata.get("labels") or {}):
        return False
    for term in filter(None, request.query.get("fieldSelector", "").split(",")):
        path, wanted = term.split("=")
        found: Any = obj
        for part in path.split("."):
            found = (found or {}).get(part)
        if found != wanted:
            return False
    return namespace in ("", metadata.get("namespace", ""))


def _status(
    code: int, message: str, headers: dict[str, str] | None = None, reason: str = ""
) -> web.Response:
    body = {"kind": "Status", "code": code, "message": message, "reason": reason}
    return web.json_response(body, status=code, headers=headers)


def kubeconfig(server: str) -> Object:
    """A kubeconfig of one server."""
    return {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "here"}}],
        "clusters": [{"name": "here", "cluster": {"server": server}}],
        "users": [{"name": "here", "user": {"token": "none"}}],
    }


@asynccontextmanager
async def served() -> AsyncIterator[tuple[FakeApi, KubeClient]]:
    """A fake API server on loopback, and a client of it that does not wait between attempts."""
    api = FakeApi()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server(shutdown_timeout=0.1)
    session = aiohttp.ClientSession()
    url = api.url = str(server.make_url(""))
    client = KubeClient(
        session, url, Credentials(kopf.ConnectionInfo(server=url)), timeout=5, sleep=api.sleep
    )
    try:
        yield api, client
    finally:
        await session.close()
        await server.close()

"""The client: errors by type, bounded retries, selectors, watches."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import kopf
import pytest

from sid_operator.kube import errors
from sid_operator.kube.client import ATTEMPTS, KubeClient
from sid_operator.kube.kinds import CONFIG_MAPS, EVENTS, JOBS, LEASES, PODS
from sid_operator.kube.login import TOKEN_LIFETIME_SECONDS, Credentials
from tests.unit.operator.fake_api import FakeApi, Fault, served

Pair = tuple[FakeApi, KubeClient]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with served() as both:
        yield both


def config_map(name: str = "one") -> dict[str, object]:
    return {"metadata": {"namespace": "team", "name": name, "labels": {"x": "y"}}}


async def test_apply_creates_and_changes(pair: Pair) -> None:
    api, client = pair
    await client.apply(CONFIG_MAPS, config_map() | {"data": {"a": "1"}})
    answer = await client.apply(CONFIG_MAPS, config_map() | {"data": {"a": "2"}})
    assert answer["data"] == {"a": "2"}
    assert api.requests[("PATCH", "configmaps")] == 2


async def test_get_tells_absence(pair: Pair) -> None:
    assert await pair[1].get(JOBS, "team", "none") is None


async def test_lists_are_paged(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    api, client = pair
    monkeypatch.setattr("sid_operator.kube.client.PAGE", 2)
    for number in range(5):
        api.put("pods", config_map(f"p{number}"))
    items, version = await client.list(PODS, labels="x")
    assert [item["metadata"]["name"] for item in items] == ["p0", "p1", "p2", "p3", "p4"]
    assert version == str(api.version)
    assert api.requests[("GET", "pods")] == 3


@pytest.mark.parametrize("status", [0, 429, 500, 503])
async def test_what_may_be_repeated_is_repeated(pair: Pair, status: int) -> None:
    api, client = pair
    api.faults = [Fault(status), Fault(status)]
    await client.apply(CONFIG_MAPS, config_map())
    assert api.requests[("PATCH", "configmaps")] == 3
    assert len(api.sleeps) == 2


async def test_retries_are_bounded(pair: Pair) -> None:
    api, client = pair
    api.faults = [Fault(500)] * 10
    with pytest.raises(errors.BusyError):
        await client.apply(CONFIG_MAPS, config_map())
    assert api.requests[("PATCH", "configmaps")] == ATTEMPTS


async def test_the_wait_that_the_server_asks_for_is_kept(pair: Pair) -> None:
    api, client = pair
    api.faults = [Fault(429, {"Retry-After": "4"})]
    await client.list(PODS)
    assert 3 <= api.sleeps[0] <= 5


async def test_a_creation_is_not_repeated_when_its_answer_was_lost(pair: Pair) -> None:
    api, client = pair
    api.faults = [Fault(0, after=True)]
    with pytest.raises(errors.UnreachableError):
        await client.create(EVENTS, "team", config_map())
    assert api.requests[("POST", "events")] == 1
    with pytest.raises(errors.ConflictError):
        await client.create(EVENTS, "team", config_map())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidError),
        (403, errors.ForbiddenError),
        (409, errors.ConflictError),
        (410, errors.GoneError),
        (413, errors.RejectedError),
        (422, errors.InvalidError),
    ],
)
async def test_refusals_are_told_apart(
    pair: Pair, status: int, kind: type[errors.ApiError]
) -> None:
    api, client = pair
    api.faults = [Fault(status)]
    with pytest.raises(kind) as caught:
        await client.apply(CONFIG_MAPS, config_map())
    assert caught.value.status == status
    assert api.requests[("PATCH", "configmaps")] == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 418, 422, 429, 503])
@pytest.mark.parametrize(
    "words", ['admission webhook "a.b" denied the request: no', "'p' denied request: no"]
)
async def test_a_denial_is_one_whatever_its_code(pair: Pair, status: int, words: str) -> None:
    api, client = pair
    api.faults = [Fault(status, message=words)]
    with pytest.raises(errors.RejectedError) as caught:
        await client.apply(CONFIG_MAPS, config_map())
    assert caught.value.message == words
    assert api.sleeps == []


async def test_a_webhook_that_does_not_answer_is_not_asked_again_at_once(pair: Pair) -> None:
    api, client = pair
    words = 'Internal error occurred: failed calling webhook "a.b": connection refused'
    api.faults = [Fault(500, message=words)]
    with pytest.raises(errors.WebhookError):
        await client.apply(CONFIG_MAPS, config_map())


async def test_a_conditional_patch_fails_on_another_version(pair: Pair) -> None:
    api, client = pair
    api.put("jobs", config_map())
    patch = {"metadata": {"resourceVersion": "1"}, "status": {}}
    with pytest.raises(errors.ConflictError):
        await client.merge(JOBS, "team", "one", patch, subresource="status")


async def test_an_older_schema_takes_of_a_status_what_it_knows(pair: Pair) -> None:
    api, client = pair
    api.put("jobs", config_map())
    await client.merge(JOBS, "team", "one", {"status": {}}, subresource="status")
    await client.merge(JOBS, "team", "one", {"spec": {}})
    assert api.validations == ["Ignore", "Strict"]


async def test_a_deletion_concerns_one_uid_only(pair: Pair) -> None:
    api, client = pair
    api.put("jobs", config_map())
    with pytest.raises(errors.ConflictError):
        await client.delete(JOBS, "team", "one", uid="another")
    await client.delete(JOBS, "team", "absent", uid="any")


async def test_who_does_not_lead_reads_and_keeps_a_lease_but_changes_nothing(pair: Pair) -> None:
    api, client = pair
    leads = True
    client.fence(lambda: leads)
    await client.apply(CONFIG_MAPS, config_map())
    leads = False
    with pytest.raises(errors.FencedError):
        await client.apply(CONFIG_MAPS, config_map())
    with pytest.raises(errors.FencedError):
        await client.delete(JOBS, "team", "one", uid="any")
    await client.list(CONFIG_MAPS, "team")
    await client.create(LEASES, "team", {"metadata": {"name": "lease"}})
    assert [method for method, _, _ in api.writes] == ["PATCH", "POST"]


async def test_an_object_is_created_only_where_there_is_none(pair: Pair) -> None:
    api, client = pair
    await client.apply(CONFIG_MAPS, config_map(), creates=True)
    with pytest.raises(errors.ConflictError):
        await client.apply(CONFIG_MAPS, config_map(), creates=True)
    assert len(api.of("configmaps")) == 1


async def test_a_watch_tells_changes_and_its_end(pair: Pair) -> None:
    api, client = pair
    version = str(api.version)
    api.put("pods", config_map("a"))
    api.remove("pods", "team", "a")
    seen = []
    stream = client.watch(PODS, labels="x", resource_version=version, duration=5, silence=5)
    async with contextlib.aclosing(stream):
        async for kind, obj in stream:
            seen.append((kind, obj["metadata"]["name"]))
            if len(seen) == 2:
                break
    assert seen == [("ADDED", "a"), ("DELETED", "a")]


async def test_a_silent_watch_is_given_up(pair: Pair) -> None:
    _, client = pair
    stream = client.watch(PODS, labels="x", resource_version="100", duration=5, silence=0.05)
    with pytest.raises(errors.UnreachableError):
        await anext(stream)


async def test_a_watch_that_is_too_old_says_so(pair: Pair) -> None:
    api, client = pair
    api.put("pods", config_map("a"))
    api.compact()
    stream = client.watch(PODS, labels="x", resource_version="100", duration=5, silence=5)
    with pytest.raises(errors.GoneError):
        await anext(stream)


def test_the_token_is_read_again(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    now = [1000.0]
    info = kopf.ConnectionInfo(server="https://api")
    credentials = Credentials(info, token_file=token, monotonic=lambda: now[0])
    assert credentials.headers() == {"Authorization": "Bearer first"}
    token.write_text("second")
    assert credentials.headers() == {"Authorization": "Bearer first"}
    credentials.refused()
    assert credentials.headers() == {"Authorization": "Bearer second"}
    token.write_text("third")
    now[0] += TOKEN_LIFETIME_SECONDS
    assert credentials.headers() == {"Authorization": "Bearer third"}

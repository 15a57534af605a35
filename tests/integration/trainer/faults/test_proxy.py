"""Each kind of fault is what it is called, for a plain HTTP client."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import urllib3

from tests.integration.trainer.faults.proxy import FaultProxy
from tests.integration.trainer.faults.schedule import KILLS, NETWORK, Fault, Kind, Schedule
from tests.minio_server import MinioServer

BODY = b"x" * 500_000
BROKEN = (urllib3.exceptions.ProtocolError, urllib3.exceptions.ReadTimeoutError)


@dataclass(frozen=True)
class Once:
    """A schedule whose first request meets a fault."""

    fault: Fault

    def at(self, number: int) -> Fault | None:
        return self.fault if number == 1 else None


def answer(proxy: FaultProxy, body: bytes = b"", seconds: float = 60.0) -> int:
    """Status of a request, whose answer is read to its end."""
    client = urllib3.PoolManager(timeout=seconds, retries=False)
    url = f"http://127.0.0.1:{proxy.port}/no-such-bucket/key"
    return client.request("PUT" if body else "GET", url, body=body or None).status


@pytest.mark.parametrize("kind", [k for k in NETWORK if k is not Kind.STALL])
def test_a_fault_is_met_once_and_counted(minio: MinioServer, kind: Kind) -> None:
    once = Once(Fault(kind, share=0.5, seconds=0.01, target=0))
    with FaultProxy(minio.port, once) as proxy:
        if kind in (Kind.LATENCY, Kind.ERROR_500, Kind.ERROR_503, Kind.PAGE_503):
            expected = {Kind.LATENCY: 403, Kind.ERROR_500: 500}.get(kind, 503)
            assert answer(proxy, BODY) == expected
        else:
            with pytest.raises(BROKEN):
                answer(proxy, BODY if kind is Kind.RESET_REQUEST else b"")
        assert answer(proxy) == 403, "the next request is left in peace"
    assert proxy.faults == {kind: 1}
    assert proxy.requests == 2


def test_a_stalled_connection_outlasts_a_clients_patience(minio: MinioServer) -> None:
    once = Once(Fault(Kind.STALL, share=0.5, seconds=60.0, target=0))
    with FaultProxy(minio.port, once) as proxy, pytest.raises(BROKEN):
        answer(proxy, seconds=3.0)
    assert proxy.faults == {Kind.STALL: 1}


def test_a_kill_that_finds_nothing_waits_for_the_next_request(minio: MinioServer) -> None:
    there = [False, True]
    once = Once(Fault(Kind.KILL_RANK, share=0.5, seconds=0.0, target=1))
    with FaultProxy(minio.port, once, lambda _: there.pop(0)) as proxy:
        assert [answer(proxy) for _ in range(3)] == [403] * 3
    assert proxy.faults == {Kind.KILL_RANK: 1}
    assert there == []


def test_a_schedule_is_its_seed() -> None:
    kills = {Kind.KILL_RANK: 2, Kind.KILL_STORE: 1}
    one, same = (Schedule(5, 0.3, kills, (10, 50)) for _ in range(2))
    other = Schedule(6, 0.3, kills, (10, 50))
    faults = [one.at(number) for number in range(200)]
    assert faults == [same.at(number) for number in range(200)]
    assert faults != [other.at(number) for number in range(200)]
    killed = [f.kind for f in faults[10:50] if f and f.kind in KILLS]
    assert sorted(killed) == sorted([*2 * [Kind.KILL_RANK], Kind.KILL_STORE])
    assert {f.kind for f in faults if f} >= set(NETWORK)

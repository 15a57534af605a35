"""One process has one name: kopf knows it by it, and the Lease and Events bear it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import kopf
import pytest

from sid_operator import __main__ as program
from sid_operator.handlers import Handlers
from sid_operator.settings import parse
from tests.unit.operator import world
from tests.unit.operator.fake_api import kubeconfig, served


async def test_kopf_the_lease_and_events_bear_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_to_kopf: list[str] = []
    handlers: list[Handlers] = []

    class Noted(Handlers):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            handlers.append(self)

    async def operator(*, identity: str, **_: Any) -> None:
        known_to_kopf.append(identity)
        (noted,) = handlers
        await noted.start(kopf.OperatorSettings())
        async with asyncio.timeout(10):
            while not api.of("events"):  # noqa: ASYNC110 - the state of a server
                await asyncio.sleep(0.01)
        (lease,), event, *_ = api.of("leases"), *api.of("events")
        in_api.update({lease["spec"]["holderIdentity"], event["reportingInstance"]})
        await noted.end()

    monkeypatch.setattr(kopf, "operator", operator)
    monkeypatch.setattr(program, "Handlers", Noted)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    in_api: set[str] = set()
    async with served() as (api, _):
        api.put("siddistillations", world.raw())
        (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig(api.url)))
        await program.serve(parse(["--liveness", ""], {}))
    assert in_api == set(known_to_kopf)
    assert len(in_api) == 1

"""Asking pods for progress: what is believed, and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sid_operator.plan.model import ScrapeTarget
from sid_operator.runtime.scraper import MAX_AT_ONCE, Scraper, progress_url
from sid_operator.runtime.store import Key
from sid_trainer.contract import MAX_PROGRESS_BYTES, ProgressReport
from tests.unit.operator import world

KEY = Key("team", "run")
TARGET = ScrapeTarget("uid-0", "127.0.0.1")
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def scraping(
    answer: Answer, patience: float = 5.0
) -> AsyncIterator[tuple[Scraper, asyncio.Event]]:
    """A scraper beside a pod that answers so; the event tells that something was told."""
    told = asyncio.Event()
    app = web.Application()
    app.router.add_get("/progress", answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server(shutdown_timeout=0.1)
    async with aiohttp.ClientSession() as session:
        scraper = Scraper(
            session, lambda _: told.set(), interval=0.02, timeout=patience, port=server.port or 0
        )
        try:
            yield scraper, told
        finally:
            await scraper.close()
            await server.close()


def body(iteration: int = 250) -> str:
    report: ProgressReport = world.report(iteration=iteration)
    return report.model_dump_json(by_alias=True)


@pytest.mark.parametrize(
    ("address", "url"),
    [("10.0.0.7", "http://10.0.0.7:9400/progress"), ("fd00::7", "http://[fd00::7]:9400/progress")],
)
def test_pods_of_either_family_are_asked(address: str, url: str) -> None:
    assert progress_url(address, 9400) == url


async def test_reports_are_told_when_they_change() -> None:
    iteration = 0

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body(iteration))

    async with scraping(answer) as (scraper, told):
        scraper.follow(KEY, TARGET)
        async with asyncio.timeout(30):
            await told.wait()
        report = scraper.report(KEY, "uid-0")
        assert report is not None
        assert report.iteration == 0
        told.clear()
        iteration = 1
        async with asyncio.timeout(30):
            await told.wait()
        assert scraper.report(KEY, "another pod") is None
        scraper.follow(KEY, ScrapeTarget("uid-0-b", "127.0.0.1"))
        assert scraper.report(KEY, "uid-0-b") is None
        scraper.follow(KEY, None)
        assert scraper.report(KEY, "uid-0-b") is None


async def _huge(_: web.Request) -> web.StreamResponse:
    return web.Response(text=body() + " " * MAX_PROGRESS_BYTES)


async def _garbage(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>")


async def _elsewhere(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/progress")


async def _error(_: web.Request) -> web.StreamResponse:
    return web.Response(status=500, text=body())


async def _slow(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response(text=body())


@pytest.mark.parametrize("bad", [_huge, _garbage, _elsewhere, _error, _slow])
async def test_bad_answers_are_passed_over_and_the_next_good_one_counts(bad: Answer) -> None:
    asked = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        if asked <= 2:
            return await bad(request)
        return web.Response(text=body())

    patience = 2.0 if bad is _slow else 30.0
    async with scraping(answer, patience) as (scraper, told):
        scraper.follow(KEY, TARGET)
        async with asyncio.timeout(60):
            await told.wait()
        assert asked == 3


async def test_pods_that_do_not_answer_take_no_turn_of_those_that_do() -> None:
    silent = {Key("team", f"hangs-{number}") for number in range(2 * MAX_AT_ONCE)}
    asked = asyncio.Semaphore(0)

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.release()
        return await _slow(request)

    async with scraping(answer, patience=0.2) as (scraper, _):
        for key in silent:
            scraper.follow(key, TARGET)
        async with asyncio.timeout(30):
            for _ in range(2 * len(silent)):  # each is at its second question, or near
                await asked.acquire()
            while scraper._silent.locked() is False:
                await asked.acquire()
        assert scraper._answering.locked() is False

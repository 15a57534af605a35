"""Exceptions become reasons and messages."""

from contextlib import ExitStack

import pytest
import torch
from pydantic import BaseModel, ValidationError

from sid_trainer.config import RunConfig
from sid_trainer.contract import (
    Failure,
    FailureReason,
    TrainerError,
)
from sid_trainer.process.failures import failure_of, naming
from sid_trainer.report.records import Records


class DistBackendError(RuntimeError):
    """Stands for torch's class of that name, which needs a GPU to be raised by NCCL."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainerError(FailureReason.NOT_FOUND, "x"), "NotFound"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), "OutOfMemory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "OutOfMemory"),
        (MemoryError(), "OutOfMemory"),
        (RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:1"), "PeerLost"),
        (torch.distributed.DistStoreError("Timed out after 61 seconds"), "PeerLost"),
        (torch.distributed.DistNetworkError("failed to recv, got 0 bytes"), "PeerLost"),
        (DistBackendError("NCCL error: ncclRemoteError: remote process exited"), "PeerLost"),
        (DistBackendError("NCCL error: unhandled cuda error"), "Error"),
        (RuntimeError("shape mismatch"), "Error"),
        (ValueError("out of memory is only mentioned"), "Error"),
        (KeyboardInterrupt(), "Terminated"),
    ],
)
def test_reasons(error: BaseException, reason: str) -> None:
    assert failure_of(error).reason == reason


@pytest.mark.parametrize(
    ("model", "reason"), [(RunConfig, "InvalidConfiguration"), (Records, "Error")]
)
def test_only_a_configuration_is_the_users(model: type[BaseModel], reason: str) -> None:
    with pytest.raises(ValidationError) as raised:
        model.model_validate({"teacher": 1})
    assert failure_of(raised.value).reason == reason


def test_a_known_cause_below_an_unknown_error_wins() -> None:
    wrapper = RuntimeError("wrapped")
    wrapper.__cause__ = TrainerError(FailureReason.ACCESS_DENIED, "no key")
    told = Failure(reason=FailureReason.ACCESS_DENIED, message="no key", rank=3)
    assert failure_of(wrapper, rank=3) == told


def fail_in_clean_up() -> None:
    with ExitStack() as stack:
        stack.callback(refuse, "expected a parameter not in flight")
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")


def refuse(message: str) -> None:
    raise RuntimeError(message)


def test_a_clean_up_that_fails_does_not_hide_why_it_was_needed() -> None:
    with pytest.raises(RuntimeError, match="in flight") as raised:
        fail_in_clean_up()
    assert failure_of(raised.value).reason is FailureReason.OUT_OF_MEMORY
    raised.value.__suppress_context__ = True  # as by ``from None``
    assert failure_of(raised.value).reason is FailureReason.UNKNOWN


def test_errors_that_cause_each_other_are_each_looked_at_once() -> None:
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first
    assert failure_of(first).message == "RuntimeError: first"


def test_a_lost_peer_is_told_without_the_place_in_torch() -> None:
    error = RuntimeError(
        "[/x/gloo/transport/tcp/pair.cc:545] Read error [10.0.0.2]:47245: Connection reset by "
        "peer. This is typically caused by a remote worker hanging."
    )
    assert failure_of(error).message == (
        "the connection to another rank was lost: Read error [10.0.0.2]:47245: Connection reset by "
        "peer"
    )


def test_messages_fit_the_contract() -> None:
    assert len(failure_of(RuntimeError("x" * 5000)).message) == 1024


def test_what_a_field_asks_for_is_told_with_the_field_once() -> None:
    with (
        pytest.raises(TrainerError, match=r"^teacher\.model: /x does not exist$") as raised,
        naming("teacher.model"),
    ):
        raise TrainerError(FailureReason.NOT_FOUND, "/x does not exist")
    assert failure_of(raised.value).reason is FailureReason.NOT_FOUND
    with (
        pytest.raises(TrainerError, match=r"^data\.prompts\.uri is empty$"),
        naming("data.prompts"),
    ):
        raise TrainerError(FailureReason.INVALID_DATA, "data.prompts.uri is empty")


def test_a_lack_of_memory_is_told_without_the_place_in_torchs_source() -> None:
    text = (
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
    )
    told = failure_of(RuntimeError(text)).message
    assert told.startswith("out of memory: DefaultCPUAllocator: can't allocate memory; lower")

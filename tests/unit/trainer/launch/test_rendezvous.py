"""Which node is which."""

import pytest

from sid_trainer.config import LaunchConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.launch import rendezvous


def test_node_0_sorts_first_whatever_its_name() -> None:
    for host in ("zzz.example", "10.0.0.9", "digits-0.digits"):
        launch = LaunchConfig(nodes=12, rendezvous_host=host)
        addresses = [rendezvous.stated_address(launch, node) for node in range(12)]
        assert addresses[0] == host
        assert sorted(addresses) == addresses


@pytest.mark.parametrize("text", ["2", "-1", "x", ""])
def test_a_wrong_node_index_is_refused(text: str) -> None:
    with pytest.raises(TrainerError, match="JOB_COMPLETION_INDEX") as raised:
        rendezvous.node_rank({"JOB_COMPLETION_INDEX": text}, 2)
    assert raised.value.reason is FailureReason.INVALID_CONFIGURATION


def test_who_meets_has_one_id_whatever_the_name_of_the_run() -> None:
    gangs: list[dict[str, str]] = [{}, {"SID_GANG": "a"}, {"SID_GANG": "b"}]
    names = ["digits", "digits-a", "a/run of mine", "n" * 253]
    ids = [rendezvous.rendezvous_id(name, gang) for name in names for gang in gangs]
    assert ids == [rendezvous.rendezvous_id(name, gang) for name in names for gang in gangs]
    assert len(set(ids)) == len(ids)
    assert all(one.isalnum() and len(one) == 32 for one in ids)

"""How often and how long a launch is tried again."""

from sid_trainer.launch.budget import Budget
from sid_trainer.launch.settings import LaunchSettings

SETTINGS = LaunchSettings(group_seconds=100, max_relaunches=3)


def test_waiting_without_a_group_is_bounded_in_time() -> None:
    budget = Budget(since=0.0)
    for now in (30.0, 60.0, 99.0):
        budget = budget.after_launch(now, formed=False, checkpoint=None)
        assert budget.exhausted(now, SETTINGS) is None
    assert "no group of all nodes" in str(budget.exhausted(100.0, SETTINGS))


def test_breaking_is_bounded_in_number_unless_a_checkpoint_is_new() -> None:
    budget = Budget(since=0.0)
    for relaunch in range(1, 4):
        budget = budget.after_launch(relaunch * 1000.0, formed=True, checkpoint=50)
        assert budget.relaunches == relaunch
        assert budget.exhausted(relaunch * 1000.0, SETTINGS) is None
    assert "broke 4 times" in str(
        budget.after_launch(4000.0, formed=True, checkpoint=50).exhausted(4000.0, SETTINGS)
    )
    renewed = budget.after_launch(4000.0, formed=True, checkpoint=100)
    assert renewed.relaunches == 1
    assert renewed.exhausted(4000.0, SETTINGS) is None


def test_pauses_double_up_to_a_bound() -> None:
    settings = LaunchSettings(first_pause=1.0, longest_pause=5.0)
    assert [settings.pause(n) for n in (1, 2, 3, 4, 50)] == [1.0, 2.0, 4.0, 5.0, 5.0]

"""Which settings bind a checkpoint, and how one from an older program is compared."""

from typing import Any

from sid_trainer.checkpoint.settings import completed, differences, resume_settings
from sid_trainer.config import RunConfig


def run_config(**sections: dict[str, Any]) -> RunConfig:
    base: dict[str, Any] = {
        "teacher": {"model": "/teacher"},
        "data": {"prompts": {"uri": "/prompts.txt"}},
        "storage": {"uri": "file:///run"},
    }
    return RunConfig.model_validate(base | sections)


def test_a_checkpoint_from_before_a_setting_existed_has_its_default() -> None:
    stored = resume_settings(run_config())
    del stored["student"]["noise"]
    del stored["training"]["ema"]
    assert differences(resume_settings(run_config()), completed(stored)) == []
    changed = resume_settings(run_config(student={"noise": "ddim"}))
    assert differences(changed, completed(stored)) == [
        "student.noise: now 'ddim', in the checkpoint 'fresh'"
    ]


def test_a_setting_that_is_gone_is_told() -> None:
    stored = resume_settings(run_config())
    stored["student"]["forgotten"] = 3
    assert differences(resume_settings(run_config()), completed(stored)) == [
        "student.forgotten: now None, in the checkpoint 3"
    ]


def test_length_and_memory_may_change_between_attempts() -> None:
    longer = run_config(
        training={
            "iterations": 7,
            "microBatchSize": 64,
            "gradientCheckpointing": False,
            "maxSkippedUpdates": 0,
            "watchdogSeconds": 60,
        },
        deepspeed={"offload": "optimizer"},
    )
    assert resume_settings(longer) == resume_settings(run_config())


def test_learning_rates_and_clipping_may_change_between_attempts() -> None:
    """As the message of a run that ended with numbers that are not finite advises."""
    calmer = run_config(
        training={
            "learningRate": 3e-7,
            "fakeLearningRate": 2e-7,
            "gradientClipping": 1.0,
            "warmupIterations": 50,
        }
    )
    assert resume_settings(calmer) == resume_settings(run_config())
    stored = resume_settings(run_config())
    stored["training"] |= {"learningRate": 1e-6, "warmupIterations": 0}  # of an older program
    assert differences(resume_settings(calmer), completed(stored)) == []


def test_encodings_may_be_kept_elsewhere_from_one_attempt_to_the_next() -> None:
    prompts = {"uri": "/prompts.txt"}
    cached = run_config(data={"prompts": prompts, "encodingCache": {"uri": "/cache"}})
    assert resume_settings(cached) == resume_settings(run_config())
    column = run_config(data={"prompts": {"uri": "/p.csv", "column": "long"}})
    assert differences(resume_settings(column), resume_settings(run_config())) == [
        "data.prompts.column: now 'long', in the checkpoint None",
        "data.prompts.uri: now '/p.csv', in the checkpoint '/prompts.txt'",
    ]

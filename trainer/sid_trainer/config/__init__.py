"""The configuration of a run: the one model that the trainer and the operator share.

Rules this module keeps:

* It imports pydantic, and of the trainer only what does likewise, so that the operator can use it
  without torch.
* Field names are camelCase in files and snake_case in Python; unknown fields are refused.
* Every field has a description, which becomes the text of ``kubectl explain``, and a default
  unless there is no good one.
* A setting stands here only when the trainer obeys it.

The operator's resource spec is built from the section models below; the operator renders a
:class:`RunConfig` into the ConfigMap, and the pod reads that file and nothing else.
"""

from sid_trainer.config.base import (
    AttentionKernels,
    Family,
    GuidanceStrategy,
    Metric,
    NoiseMode,
    Offload,
    Pooling,
    Precision,
    Section,
    Weighting,
)
from sid_trainer.config.binding import BINDING, FREE
from sid_trainer.config.checkpoint import CheckpointConfig
from sid_trainer.config.data import DataConfig, EncodingCacheConfig, ImagesConfig, PromptsConfig
from sid_trainer.config.deepspeed import DeepSpeedConfig
from sid_trainer.config.distillation import AdversarialConfig, DistillationConfig, GuidanceConfig
from sid_trainer.config.evaluation import (
    EvaluationConfig,
    FidConfig,
    MetricsConfig,
    ReferenceImagesConfig,
    ScoreModelConfig,
    TeacherSamplingConfig,
)
from sid_trainer.config.launch import (
    ADDRESSING_TEXT,
    REGION_TEXT,
    LaunchConfig,
    StorageConfig,
)
from sid_trainer.config.run import RunConfig, TrainerSections
from sid_trainer.config.student import StudentConfig
from sid_trainer.config.teacher import TeacherConfig
from sid_trainer.config.training import DEFAULT_IMAGES, EmaConfig, TrainingConfig

__all__ = [
    "ADDRESSING_TEXT",
    "BINDING",
    "DEFAULT_IMAGES",
    "FREE",
    "REGION_TEXT",
    "AdversarialConfig",
    "AttentionKernels",
    "CheckpointConfig",
    "DataConfig",
    "DeepSpeedConfig",
    "DistillationConfig",
    "EmaConfig",
    "EncodingCacheConfig",
    "EvaluationConfig",
    "Family",
    "FidConfig",
    "GuidanceConfig",
    "GuidanceStrategy",
    "ImagesConfig",
    "LaunchConfig",
    "Metric",
    "MetricsConfig",
    "NoiseMode",
    "Offload",
    "Pooling",
    "Precision",
    "PromptsConfig",
    "ReferenceImagesConfig",
    "RunConfig",
    "ScoreModelConfig",
    "Section",
    "StorageConfig",
    "StudentConfig",
    "TeacherConfig",
    "TeacherSamplingConfig",
    "TrainerSections",
    "TrainingConfig",
    "Weighting",
]

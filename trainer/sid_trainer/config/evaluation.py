"""The section ``evaluation``: sample pictures and metrics."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from sid_trainer.config.base import Metric, Revision, Section
from sid_trainer.config.data import PromptsConfig
from sid_trainer.config.file_uri import ModelPlace, Place


class ReferenceImagesConfig(Section):
    """Real images that the student's are compared with."""

    uri: Place = Field(
        description="Images (PNG, JPEG, WebP) in a folder or in WebDataset shards, with or "
        "without captions, or finished statistics as an .npz file with mu and sigma: "
        "s3://bucket/folder, s3://bucket/shard-{000..099}.tar, or a path on a mounted volume. "
        "Images are resized and cropped to data.resolution; their statistics are computed once a "
        "run and kept."
    )


class FidConfig(Section):
    """Fréchet distances between the features of images (FID with Inception's features)."""

    features: Place = Field(
        description="The feature extractor, a TorchScript file: s3://bucket/key, or a path on a "
        "mounted volume. It takes float32 images [B, 3, H, W] in 0..255 and gives [B, D]. For FID "
        "this is inception-2015-12-05.pt, which StyleGAN and clean-fid use."
    )
    images: ReferenceImagesConfig | None = Field(
        default=None, description="Real images to compare with: metric fid."
    )
    teacher: bool = Field(
        default=False,
        description="Compare with as many samples of the teacher, made once a run: metric "
        "fidTeacher.",
    )
    image_size: int | None = Field(
        default=None,
        ge=8,
        le=4096,
        description="Height and width to which images are resized (bicubic with antialiasing) "
        "before features are taken: 256 to compare with the paper's tables, 299 as clean-fid does. "
        "Default: the extractor gets them as they are and resizes itself, as StyleGAN's "
        "evaluation does.",
    )

    @model_validator(mode="after")
    def _compared_with_something(self) -> Self:
        if self.images is None and not self.teacher:
            raise ValueError(
                "evaluation.metrics.fid compares with nothing: give images.uri, or set teacher"
            )
        return self


class ScoreModelConfig(Section):
    """A CLIP model that scores how well an image fits its caption."""

    model: ModelPlace = Field(
        description="Directory of a transformers CLIPModel with tokenizer and image processor: a "
        "Hugging Face id, s3://bucket/key, or a path on a mounted volume."
    )
    revision: Revision | None = Field(
        default=None,
        description="Git revision of a Hugging Face model; a commit hash makes scores of several "
        "runs comparable. Not used for s3:// and paths.",
    )


class MetricsConfig(Section):
    """Numbers that judge the averaged student while training and at the end."""

    every_iterations: int | None = Field(
        default=None,
        ge=1,
        le=100_000_000,
        description="Iterations between two measurements. One more is made at the end. Default: "
        "at the end only.",
    )
    samples: int = Field(
        default=10_000,
        ge=2,
        le=1_000_000,
        description="Images that are sampled and judged. Distances of fewer are larger: compare "
        "only equal numbers. The paper's tables have 10,000.",
    )
    captions: PromptsConfig | None = Field(
        default=None,
        description="Captions that are sampled, in turn. Default: the training prompts.",
    )
    fid: FidConfig | None = Field(default=None, description="Fréchet distances.")
    clip_score: ScoreModelConfig | None = Field(
        default=None,
        description="Mean cosine of image and caption in CLIP: metric clipScore. Each CLIP has "
        "numbers of its own, so name it with them. The paper's authors measure with OpenCLIP's "
        "ViT-g-14, which is laion/CLIP-ViT-g-14-laion2B-s12B-b42K.",
    )
    preference: ScoreModelConfig | None = Field(
        default=None,
        description="Mean score of a model of human preference (PickScore, HPSv2), the cosine "
        "times the model's own scale: metric preferenceScore.",
    )
    teacher: bool | None = Field(
        default=None,
        description="Measure the teacher as the student is measured, once a run: metrics "
        "teacherFid, teacherClipScore and teacherPreferenceScore. It takes samples times "
        "evaluation.teacher.steps forwards, twice with guidance. Default: where fid.images is "
        "given, if that is less than a tenth of the work of training or fid.teacher takes these "
        "samples anyway.",
    )
    best: Metric | None = Field(
        default=None,
        description="Metric by which the best student so far is exported to student-best/. "
        "Default: none is.",
    )

    @model_validator(mode="after")
    def _best_is_measured(self) -> Self:
        measured = {
            "fid": self.fid is not None and self.fid.images is not None,
            "fidTeacher": self.fid is not None and self.fid.teacher,
            "clipScore": self.clip_score is not None,
            "preferenceScore": self.preference is not None,
        }
        if not any(measured.values()):
            raise ValueError(
                "evaluation.metrics measures nothing: give fid, clipScore or preference, or leave "
                "metrics out"
            )
        if self.best is not None and not measured[self.best]:
            raise ValueError(
                f"evaluation.metrics.best is {self.best}, which is not measured: configure it, or "
                f"choose one of {', '.join(name for name in measured if measured[name])}"
            )
        return self


class TeacherSamplingConfig(Section):
    """How the teacher is sampled to be compared with."""

    steps: int = Field(
        default=28,
        ge=0,
        le=1_000,
        description="Steps of the teacher's sampler (Euler, at the noise levels of its own "
        "scheduler). 0 leaves the teacher out of sample grids and report.",
    )
    guidance: float | None = Field(
        default=None,
        ge=0.0,
        le=30.0,
        description="Its guidance scale. Default: distillation.guidance.teacherScale if that is "
        "above 1, else distillation.guidance.scale with LSG, and 4.5 with ZeroCFG and AntiCFG, "
        "whose scales are not the teacher's.",
    )


class EvaluationConfig(Section):
    """How the student is judged: sample pictures, and metrics where they are asked for."""

    every_iterations: int = Field(
        default=500,
        ge=1,
        le=1_000_000,
        description="Iterations between two sample grids. One more is made at the end.",
    )
    prompts: (
        Annotated[list[Annotated[str, Field(max_length=2_000)]], Field(min_length=1, max_length=64)]
        | None
    ) = Field(
        default=None,
        description="Prompts of the sample grid. Default: the first 16 different training prompts.",
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=2**31 - 1,
        description="Seed of sample grids and metrics, equal every time.",
    )
    teacher: TeacherSamplingConfig = Field(
        default_factory=TeacherSamplingConfig,
        description="How the teacher is sampled beside the student.",
    )
    metrics: MetricsConfig | None = Field(
        default=None, description="Metrics of the averaged student. Default: none."
    )

    @model_validator(mode="after")
    def _teacher_is_sampled(self) -> Self:
        if self.metrics is None or self.teacher.steps > 0:
            return self
        fid = self.metrics.fid
        asked = {"fid.teacher": fid is not None and fid.teacher, "teacher": self.metrics.teacher}
        if (field := next(filter(asked.get, asked), None)) is not None:
            raise ValueError(
                f"evaluation.metrics.{field} needs samples of the teacher, but "
                "evaluation.teacher.steps is 0: give it steps"
            )
        return self

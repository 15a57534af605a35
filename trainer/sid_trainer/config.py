"""The configuration of a run: the one model that the trainer and the operator share.

Rules this module keeps:

* It imports pydantic and nothing else, so that the operator can use it without torch.
* Field names are camelCase in files and snake_case in Python; unknown fields are refused.
* Every field has a description, which becomes the text of ``kubectl explain``, and a default
  unless there is no good one.
* A setting stands here only when the trainer obeys it.

The operator's resource spec is built from the section models below; the operator renders a
:class:`RunConfig` into the ConfigMap, and the pod reads that file and nothing else.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

Family = Literal["sd3", "sana", "sana-sprint", "flux"]
NoiseMode = Literal["fresh", "fixed", "ddim"]
Weighting = Literal[
    "one-minus-sigma",
    "one-minus-sigma-squared",
    "inverse-sigma",
    "inverse-sigma-squared",
    "sqrt-snr",
    "snr",
    "sid",
]
GuidanceStrategy = Literal["LSG", "ZeroCFG", "AntiCFG"]
Pooling = Literal["spatial", "channel"]
Precision = Literal["fp32", "bf16", "pure-bf16"]
Offload = Literal["none", "optimizer"]

DEFAULT_IMAGES = 500_000
"""Length of a run, in generated images, when neither iterations nor images is given."""


class Section(BaseModel):
    """A part of the configuration: camelCase in files, immutable, no unknown fields."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        # A misspelt number ("4x") must not be guessed at, but 1 for 1.0 is fine.
        strict=False,
    )


class TeacherConfig(Section):
    """The text-to-image model to distil. It is never changed."""

    model: Annotated[str, Field(min_length=1, max_length=512)] = Field(
        description="Where the teacher's diffusers pipeline is: a Hugging Face id "
        '("stabilityai/stable-diffusion-3.5-medium"), "s3://bucket/key", or a path on a mounted '
        "volume."
    )
    family: Family | None = Field(
        default=None,
        description="Architecture of the teacher. Found from the pipeline's model_index.json when "
        "not given. sd3 covers SD3-Medium, SD3.5-Medium and SD3.5-Large; sana SANA, SANA-1.5 and "
        "all else that is a SanaPipeline; sana-sprint a SanaSprintPipeline, or a SanaPipeline that "
        "takes time in [0, 1]; flux FLUX.1-dev.",
    )
    revision: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        default=None,
        description="Git revision of a Hugging Face model; a commit hash makes the run repeatable. "
        "Not used for s3:// and paths.",
    )


class StudentConfig(Section):
    """The few-step generator that the run produces."""

    steps: int = Field(
        default=4,
        ge=1,
        le=8,
        description="Denoising steps K of the student. The noise levels are 1 - i/K.",
    )
    noise: NoiseMode = Field(
        default="fresh",
        description="Noise between two steps: fresh draws it anew, fixed reuses the first, ddim "
        "takes the noise that the step implies (deterministic).",
    )
    export_precision: Literal["fp32", "bf16"] | None = Field(
        default=None,
        description="Type in which the student's weights are written. Default: the type that "
        "training.precision computes in.",
    )
    init_from: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        default=None,
        description="An earlier student (same values as teacher.model) to start the student "
        "from. By default it starts as a copy of the teacher.",
    )


class GuidanceConfig(Section):
    """Classifier-free guidance while training; the student itself runs without."""

    strategy: GuidanceStrategy = Field(
        default="LSG",
        description="LSG guides teacher and fake score alike by scale. ZeroCFG leaves the teacher "
        "unguided and gives the fake score no text. AntiCFG leaves the teacher unguided and guides "
        "the fake score by -scale.",
    )
    scale: float = Field(
        default=4.5,
        ge=0.0,
        le=30.0,
        description="Guidance scale of the strategy; 1 means no guidance. Not used by ZeroCFG. "
        "Networks that take the scale as an input (FLUX.1-dev, SANA-Sprint) are given it there, in "
        "one forward; the student is given 1.",
    )
    fake_training_scale: float | None = Field(
        default=None,
        ge=-30.0,
        le=30.0,
        description="Guidance scale at which the fake score is trained, in place of the "
        "strategy's. 1 means no guidance, 0 no text.",
    )
    fake_scale: float | None = Field(
        default=None,
        ge=-30.0,
        le=30.0,
        description="Guidance scale of the fake score in the student's loss, in place of the "
        "strategy's.",
    )
    teacher_scale: float | None = Field(
        default=None,
        ge=-30.0,
        le=30.0,
        description="Guidance scale of the teacher in the student's loss, in place of the "
        "strategy's.",
    )

    @model_validator(mode="after")
    def _scale_is_used(self) -> Self:
        of_fake = self.fake_training_scale is not None and self.fake_scale is not None
        unused = {
            "ZeroCFG": True,
            "AntiCFG": of_fake,
            "LSG": of_fake and self.teacher_scale is not None,
        }
        if unused[self.strategy] and self.scale != type(self).model_fields["scale"].default:
            raise ValueError(
                f"distillation.guidance.scale {self.scale} is not used by {self.strategy} with the "
                "other scales given: remove it"
            )
        return self


class AdversarialConfig(Section):
    """Data-aided training: the student's samples are also to pass for real images.

    The fake score is the discriminator, too: its last features are pooled to logits, so nothing is
    added to the network (Diffusion-GAN).
    """

    pooling: Pooling = Field(
        default="spatial",
        description="What the fake score's features are averaged over to make logits: spatial "
        "averages over the tokens (a logit a channel), channel over the channels (a logit a "
        "token).",
    )
    sid_weight: float = Field(
        default=0.5,
        ge=0.0,
        le=1_000.0,
        description="Weight of the score identity loss in the student's loss, once the "
        "adversarial part has joined.",
    )
    generator_weight: float = Field(
        default=0.5,
        gt=0.0,
        le=1_000.0,
        description="Weight of the adversarial loss in the student's loss.",
    )
    discriminator_weight: float = Field(
        default=0.5,
        gt=0.0,
        le=1_000.0,
        description="Weight of the discriminator's loss in the fake score's loss.",
    )
    student_starts_after_images: int = Field(
        default=20_000,
        ge=0,
        le=10_000_000_000,
        description="Generated images before the student's first update: until then only the fake "
        "score learns.",
    )
    starts_after_images: int = Field(
        default=40_000,
        ge=0,
        le=10_000_000_000,
        description="Generated images before the adversarial part joins both losses: until then "
        "training is data-free.",
    )


class DistillationConfig(Section):
    """The score identity distillation loss."""

    alpha: float = Field(
        default=1.0,
        ge=0.0,
        le=2.0,
        description="Weight alpha of the correction term of the loss. 1 is the SiD-DiT default.",
    )
    weighting: Weighting = Field(
        default="one-minus-sigma",
        description="Weight of the generator loss over the noise level sigma: one-minus-sigma is "
        "1-s, one-minus-sigma-squared (1-s)^2, inverse-sigma 1/s, inverse-sigma-squared 1/s^2, "
        "sqrt-snr (1-s)/s, snr ((1-s)/s)^2, and sid is 1/mean|x - f_T|.",
    )
    guidance: GuidanceConfig = Field(
        default_factory=GuidanceConfig,
        description="Classifier-free guidance of teacher and fake score while training.",
    )
    adversarial: AdversarialConfig | None = Field(
        default=None,
        description="Data-aided (adversarial) training, on when this section is present, be it "
        "empty ({}). It needs data.images. Worth it where the images are better than the "
        "student's own; best begun from a student distilled without (student.initFrom).",
    )


class PromptsConfig(Section):
    """The prompts that the student is trained on; no images are needed."""

    uri: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="Text with one prompt a line (.txt, or no suffix), JSON lines (.jsonl), .csv, "
        ".tsv or .parquet; all but Parquet may be gzipped (.gz). s3://bucket/key, a path on a "
        "mounted volume, or hf://datasets/OWNER/NAME@REVISION/PATH (@REVISION may be left out). "
        "A folder (s3://bucket/folder/), or a pattern in the last part (s3://bucket/folder/*.csv), "
        "takes all its files, ordered by name."
    )
    column: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        default=None,
        description="Column of CSV and Parquet, or field of JSON lines, that holds the prompts. "
        "Default: the first of prompt, caption, text that is there.",
    )

    @model_validator(mode="after")
    def _text_has_no_columns(self) -> Self:
        if self.column is not None and self.uri.removesuffix(".gz").endswith(".txt"):
            raise ValueError(
                f"column {self.column!r} is given, but {self.uri} is plain text, which has no "
                "columns: remove it"
            )
        return self


class EncodingCacheConfig(Section):
    """Encodings of prompts that are kept for other runs and later attempts."""

    uri: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="Folder of the encodings: s3://bucket/folder, or a path on a mounted volume "
        "that is not read-only. A prompt takes, in bf16, 2.7 MB (SD3), 4.2 MB (FLUX.1-dev) or "
        "1.4 MB (SANA). Runs may share it, at the same time too; nothing is ever removed from it."
    )


class ImagesConfig(Section):
    """Images with captions, for data-aided training."""

    uri: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="WebDataset shards, or a folder of images with captions: s3://bucket/folder, "
        "s3://bucket/shard-{000..099}.tar, or a path on a mounted volume. A folder with .tar files "
        "holds shards. Images are .jpg, .jpeg, .png or .webp; the caption is in the .txt of the "
        "same name, in a .json's field caption, or in the folder's metadata.jsonl."
    )
    max_enlargement: float = Field(
        default=1.0,
        ge=1.0,
        le=4.0,
        description="How many times an image may be enlarged to data.resolution. Images whose "
        "shorter side is smaller than that are left out, and their number is told; 1 enlarges "
        "none.",
    )


class DataConfig(Section):
    """What the student is trained on."""

    prompts: PromptsConfig = Field(description="The training prompts.")
    images: ImagesConfig | None = Field(
        default=None,
        description="Images for data-aided training (distillation.adversarial). They are scaled to "
        "data.resolution by their shorter side and cropped to the middle, never distorted.",
    )
    encoding_cache: EncodingCacheConfig | None = Field(
        default=None,
        description="Keep the prompts' encodings, so that later attempts and runs with the same "
        "text encoders need not make them again. Default: they are made anew in each.",
    )
    resolution: int | None = Field(
        default=None,
        ge=8,
        le=4096,
        description="Height and width of the images in pixels. Default: the teacher's own.",
    )


class EmaConfig(Section):
    """Exponential moving average of the student's weights."""

    half_life_images: int = Field(
        default=10_000,
        ge=0,
        description="Images after which a weight counts half. 0 turns the average off. The "
        "average is what is sampled from and exported.",
    )


class TrainingConfig(Section):
    """Length, batch and optimiser of the run."""

    iterations: int | None = Field(
        default=None,
        ge=1,
        le=100_000_000,
        description="Length of the run in iterations; one iteration updates the fake score and the "
        "student once. Give this or images, not both.",
    )
    images: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000_000,
        description=f"Length of the run in generated images. Default {DEFAULT_IMAGES} when "
        "iterations is not given either.",
    )
    batch_size: int = Field(
        default=256,
        ge=1,
        le=65_536,
        description="Images an iteration over all GPUs. Must be a multiple of their number.",
    )
    micro_batch_size: int | None = Field(
        default=None,
        ge=1,
        le=4_096,
        description="Images that one GPU computes at a time; gradients are accumulated to "
        "batchSize. Default: the GPU's whole share of the batch.",
    )
    learning_rate: float = Field(
        default=2e-6,
        gt=0.0,
        le=1.0,
        description="Adam learning rate of the student. With precision pure-bf16 use about 1e-5: "
        "smaller steps are lost when weights are rounded.",
    )
    fake_learning_rate: float | None = Field(
        default=None,
        gt=0.0,
        le=1.0,
        description="Adam learning rate of the fake score network. Default: learningRate.",
    )
    precision: Precision = Field(
        default="bf16",
        description="bf16 computes in bfloat16 with fp32 master weights; fp32 computes in fp32; "
        "pure-bf16 holds weights, gradients and optimizer in bfloat16 too: half the memory, and "
        "Adam's epsilon is 1e-4 in place of 1e-8. The moving average is fp32 in all of them.",
    )
    warmup_iterations: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Iterations in which both learning rates rise linearly to their values.",
    )
    gradient_clipping: float | None = Field(
        default=None,
        gt=0.0,
        le=1e12,
        description="Norm to which the gradient of each network is cut, for the norms that are "
        "told (generatorGradNorm, fakeGradNorm), which are those before. Default: off.",
    )
    max_skipped_updates: int = Field(
        default=10,
        ge=0,
        le=10_000,
        description="An update whose loss or gradient is not finite on any GPU is skipped on all "
        "and counted (skippedUpdates). More than this many in a row of one network end the run; 0 "
        "ends it at the first.",
    )
    watchdog_seconds: int = Field(
        default=1_800,
        ge=0,
        le=86_400,
        description="Time without a finished iteration after which the run is ended, to be "
        "started anew, with a message that says which rank hangs. Checkpoints do not count. 0 "
        "waits for ever.",
    )
    gradient_checkpointing: bool = Field(
        default=True,
        description="Recompute activations in the backward pass: less memory, about a third more "
        "time.",
    )
    shared_roll_out: bool = Field(
        default=False,
        description="Let the fake score and the student learn from the same samples in an "
        "iteration, which saves about an eighth of its work. By default each update has samples "
        "of its own.",
    )
    ema: EmaConfig = Field(
        default_factory=EmaConfig, description="Moving average of the student's weights."
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=2**31 - 1,
        description="Seed of every random number of the run.",
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.iterations is not None and self.images is not None:
            raise ValueError("training.iterations and training.images are both set: remove one")
        return self

    @property
    def total_iterations(self) -> int:
        """Length of the run in iterations, however it was given."""
        if self.iterations is not None:
            return self.iterations
        return math.ceil((self.images or DEFAULT_IMAGES) / self.batch_size)


class DeepSpeedConfig(Section):
    """DeepSpeed settings."""

    zero_stage: Literal[3] = Field(
        default=3,
        description="ZeRO stage. All three networks are partitioned over all GPUs (stage 3).",
    )
    offload: Offload = Field(
        default="none",
        description="optimizer keeps fp32 weights, Adam's state and the moving average in host "
        "memory and steps there: much less GPU memory, slower steps. Not with precision pure-bf16.",
    )
    config: dict[str, Any] = Field(
        default_factory=dict,
        description="DeepSpeed JSON settings laid over the generated ones, for both trained "
        "networks, for instance {zero_optimization: {reduce_bucket_size: 100000000}}. Batch "
        "sizes, precision, optimizer, gradient clipping, offload and ZeRO stage have fields of "
        "their own and are refused here.",
    )


class CheckpointConfig(Section):
    """When state is saved, and how much of it is kept."""

    every_iterations: int = Field(
        default=500,
        ge=1,
        le=1_000_000,
        description="Iterations between two checkpoints. One more is written at the end.",
    )
    keep_last: int = Field(
        default=2,
        ge=1,
        le=1_000,
        description="Checkpoints kept; older ones are removed after a new one is committed.",
    )
    resume: Literal["auto", "required"] = Field(
        default="auto",
        description="auto goes on from the newest checkpoint that is whole, and begins anew where "
        "there has never been one; required ends the run where there is none.",
    )
    tolerated_failures: int = Field(
        default=3,
        ge=0,
        le=1_000,
        description="Checkpoints in a row that may stay unwritten because the store does not "
        "answer. Training goes on meanwhile; one more ends the run, which is then retried.",
    )


class ReferenceImagesConfig(Section):
    """Real images that the student's are compared with."""

    uri: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="A folder of images (PNG, JPEG, WebP), or finished statistics as an .npz file "
        "with mu and sigma: s3://bucket/key, or a path on a mounted volume. Images are resized "
        "and cropped to data.resolution; their statistics are computed once a run and kept."
    )


class FidConfig(Section):
    """Fréchet distances between the features of images (FID with Inception's features)."""

    features: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
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
        description="Height and width to which images are resized (bicubic with antialiasing, as "
        "in clean-fid: 299) before features are taken. Default: the extractor gets them as they "
        "are and resizes itself, as StyleGAN's evaluation does.",
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

    model: Annotated[str, Field(min_length=1, max_length=512)] = Field(
        description="Directory of a transformers CLIPModel with tokenizer and image processor: a "
        "Hugging Face id, s3://bucket/key, or a path on a mounted volume."
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
        description="Mean cosine of image and caption in CLIP: metric clipScore. The paper's "
        "tables have openai/clip-vit-large-patch14 or a larger one: name it with the number.",
    )
    preference: ScoreModelConfig | None = Field(
        default=None,
        description="Mean score of a model of human preference (PickScore, HPSv2), the cosine "
        "times the model's own scale: metric preferenceScore.",
    )
    best: Literal["fid", "fidTeacher", "clipScore", "preferenceScore"] | None = Field(
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
        description="Its guidance scale. Default: distillation.guidance.scale.",
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
        wanted = self.metrics is not None and self.metrics.fid is not None
        if wanted and self.metrics.fid.teacher and self.teacher.steps == 0:  # type: ignore[union-attr]
            raise ValueError(
                "evaluation.metrics.fid.teacher needs samples of the teacher, but "
                "evaluation.teacher.steps is 0: give it steps"
            )
        return self


class TrainerSections(Section):
    """The sections that the resource's spec and the trainer's file have in common."""

    student: StudentConfig = Field(
        default_factory=StudentConfig, description="The few-step generator to produce."
    )
    distillation: DistillationConfig = Field(
        default_factory=DistillationConfig, description="The score identity distillation loss."
    )
    data: DataConfig = Field(description="What the student is trained on.")
    training: TrainingConfig = Field(
        default_factory=TrainingConfig, description="Length, batch and optimiser of the run."
    )
    deepspeed: DeepSpeedConfig = Field(
        default_factory=DeepSpeedConfig, description="DeepSpeed settings."
    )
    evaluation: EvaluationConfig = Field(
        default_factory=EvaluationConfig, description="How the student is judged."
    )

    @model_validator(mode="after")
    def _data_aided_training_begins(self) -> Self:
        adversarial = self.distillation.adversarial
        if adversarial is None:
            return self
        if self.data.images is None:
            raise ValueError(
                "distillation.adversarial needs real images: give data.images, or remove it for "
                "data-free training"
            )
        length = self.training.total_iterations * self.training.batch_size
        for name in ("student_starts_after_images", "starts_after_images"):
            after = getattr(adversarial, name)
            if after >= length:
                raise ValueError(
                    f"distillation.adversarial.{to_camel(name)} {after} is not before the end of "
                    f"the run at {length} images: lower it, or raise training.iterations or "
                    "training.images"
                )
        return self


class StorageConfig(Section):
    """Where checkpoints, samples, metrics and the student are written.

    Credentials never stand here: they come from the environment (``AWS_ACCESS_KEY_ID``,
    ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``).
    """

    uri: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="Folder of the run: s3://bucket/prefix or file:///path."
    )
    endpoint: Annotated[str, Field(pattern=r"^https?://[^/\s]+/?$", max_length=512)] | None = Field(
        default=None,
        description="URL of the S3 endpoint (http://minio.minio:9000), used for every s3:// value "
        "of the file. Default: AWS.",
    )

    @model_validator(mode="after")
    def _known_scheme(self) -> Self:
        if urlsplit(self.uri).scheme not in ("s3", "file"):
            raise ValueError(
                f"storage.uri {self.uri!r} is neither s3:// nor file://: give s3://bucket/prefix "
                "or file:///path"
            )
        return self


class LaunchConfig(Section):
    """How the processes of a run find each other. The defaults are one process on this machine."""

    nodes: int = Field(default=1, ge=1, le=1024, description="Number of nodes (pods).")
    processes_per_node: int = Field(
        default=1, ge=1, le=64, description="Training processes a node: one a GPU, or one on CPU."
    )
    device: Literal["cuda", "cpu"] = Field(
        default="cuda", description="cuda trains on GPUs over NCCL, cpu on the CPU over gloo."
    )
    rendezvous_host: str = Field(
        default="127.0.0.1", description="Host of node 0, where the others meet."
    )
    rendezvous_port: int = Field(default=29500, ge=1024, le=65535, description="Port there.")
    progress_host: str = Field(
        default="127.0.0.1", description="Address on which rank 0 serves its progress."
    )
    progress_port: int = Field(default=9400, ge=0, le=65535, description="Port there; 0 = none.")
    grace_seconds: int = Field(
        default=30,
        ge=1,
        le=86_400,
        description="Seconds between SIGTERM and SIGKILL, as a pod's grace period: room for a last "
        "checkpoint.",
    )

    @property
    def world_size(self) -> int:
        """Number of training processes."""
        return self.nodes * self.processes_per_node


class RunConfig(TrainerSections):
    """Everything the trainer needs to know of a run, as it stands in the file given by --config."""

    name: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        default="run", description="Name of the run, for logs and the model card."
    )
    teacher: TeacherConfig = Field(description="The text-to-image model to distil.")
    storage: StorageConfig = Field(description="Where the run writes.")
    checkpoint: CheckpointConfig = Field(
        default_factory=CheckpointConfig, description="When state is saved."
    )
    launch: LaunchConfig = Field(
        default_factory=LaunchConfig, description="How the processes find each other."
    )

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        world, batch = self.launch.world_size, self.training.batch_size
        if batch % world:
            raise ValueError(
                f"training.batchSize {batch} is not a multiple of the {world} training processes: "
                f"use {math.ceil(batch / world) * world}"
            )
        micro = self.training.micro_batch_size or batch // world
        if (batch // world) % micro:
            raise ValueError(
                f"training.microBatchSize {micro} does not divide the {batch // world} images that "
                "each process has of training.batchSize: use a divisor of it"
            )
        return self

    @model_validator(mode="after")
    def _offload_has_fp32_weights(self) -> Self:
        if self.training.precision == "pure-bf16" and self.deepspeed.offload != "none":
            raise ValueError(
                f"deepspeed.offload {self.deepspeed.offload} does not go with training.precision "
                "pure-bf16: use bf16, whose fp32 weights are then in host memory, or offload none"
            )
        return self

    @property
    def micro_batch_size(self) -> int:
        """Images that one process computes at a time."""
        return self.training.micro_batch_size or self.training.batch_size // self.launch.world_size

    @property
    def accumulation_steps(self) -> int:
        """Micro-batches a process in one iteration."""
        return self.training.batch_size // (self.launch.world_size * self.micro_batch_size)

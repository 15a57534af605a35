"""The section ``data``: prompts, images, and the cache of encodings."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from sid_trainer.config.base import Section
from sid_trainer.config.file_uri import Place


class PromptsConfig(Section):
    """The prompts that the student is trained on; no images are needed."""

    uri: Place = Field(
        description="Text with one prompt a line (.txt, or no suffix), JSON lines (.jsonl), .csv, "
        ".tsv or .parquet; all but Parquet may be gzipped (.gz). s3://bucket/key, a path on a "
        "mounted volume, or hf://datasets/OWNER/NAME@REVISION/PATH (@REVISION may be left out). "
        "A folder (s3://bucket/folder/), or a pattern in the last part (s3://bucket/folder/*.csv), "
        "takes all its files, ordered by name."
    )
    column: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        default=None,
        description="Column of CSV, TSV and Parquet, or field of JSON lines, that holds the "
        "prompts. Default: the first of prompt, caption, text that is there.",
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

    uri: Place = Field(
        description="Folder of the encodings: s3://bucket/folder, or a path on a mounted volume "
        "that is not read-only. A prompt takes, in bf16, 2.7 MB (SD3), 4.2 MB (FLUX.1-dev) or "
        "1.4 MB (SANA). Runs may share it, at the same time too; nothing is ever removed from it."
    )


class ImagesConfig(Section):
    """Images with captions, for data-aided training."""

    uri: Place = Field(
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
        description="Images for data-aided training, for which distillation.adversarial is given, "
        "too. They are scaled to data.resolution by their shorter side and cropped to the middle, "
        "never distorted.",
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

"""Latents and encoded captions of the images of any iteration, made chunk by chunk.

The autoencoder and the text encoders are large and the networks need the accelerator, so each rank
makes what its samples of the next iterations need at a time, and keeps it in host memory. Chunks
begin at the same iterations on all ranks; what fails on one is known to all. What an iteration is
given depends on the data, the seed and the sample's place in the global batch alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from sid_trainer.chunks import IMAGES_HELD
from sid_trainer.data.encoding import Encode
from sid_trainer.data.images.census import THREADS
from sid_trainer.data.images.consistency import fingerprint
from sid_trainer.data.images.count import Count
from sid_trainer.data.images.order import ImageOrder
from sid_trainer.data.images.parts import ImagePart, OpenPart
from sid_trainer.data.images.pixels import square_pixels
from sid_trainer.data.images.sample import Sample
from sid_trainer.method.conditions import Condition
from sid_trainer.method.noise import NoiseSource, Purpose
from sid_trainer.process.failures import naming
from sid_trainer.process.group import ProcessGroup, on_each
from sid_trainer.teachers import Teacher

IMAGES_AT_A_TIME = 16
"""Images that are decoded, and held as pixels, at a time."""


@dataclass(frozen=True)
class LatentChunk:
    """What a rank needs for some iterations.

    Attributes:
        iterations: for which it was made.
        latents: ``[iterations b, C, H, W]``, fp32.
        captions: encodings of the different captions.
        caption_rows: which of them each latent has, ``[iterations b]``.
    """

    iterations: range
    latents: Tensor
    captions: Condition
    caption_rows: Tensor


class PartReader:
    """The samples of a data set; it keeps those parts open that are needed now.

    Args:
        parts: the data set.
        counts: what each part has.
    """

    def __init__(self, parts: Sequence[ImagePart], counts: Sequence[Count]) -> None:
        self._parts = parts
        self._counts = counts
        self._open: dict[int, OpenPart] = {}

    @property
    def fingerprint(self) -> str:
        """Checksum of what decides which image is at which place."""
        return fingerprint(self._parts, self._counts)

    def keep_only(self, needed: set[int]) -> None:
        """Close and release the parts that no rank needs now."""
        for part in self._open.keys() - needed:
            self._open.pop(part).close()
            self._parts[part].release()

    def sample(self, part: int, number: int) -> Sample:
        """A usable image of a part."""
        if part not in self._open:
            self._open[part] = self._parts[part].open()
        return self._open[part].samples[self._counts[part].sample(number)]


class RealImages:
    """Images of this rank's samples in any iteration, best asked for in order.

    Args:
        reader: the data set.
        order: which sample has which image; its seed is that of the autoencoder's noise, too.
        samples: this rank's places in the global batch.
        teacher: whose autoencoder is used.
        encode: its text encoders.
        resolution: height and width of the images in pixels.
        group: the ranks of the run.
        capacity: images to hold in host memory; at least those of one iteration are.
    """

    def __init__(
        self,
        reader: PartReader,
        order: ImageOrder,
        samples: Sequence[int],
        teacher: Teacher,
        encode: Encode,
        resolution: int,
        group: ProcessGroup,
        capacity: int = IMAGES_HELD,
    ) -> None:
        self._reader = reader
        self._order = order
        self._samples = samples
        self._teacher = teacher
        self._encode = encode
        self._resolution = resolution
        self._group = group
        self._chunk_length = max(1, capacity // len(samples))
        self._chunk: LatentChunk | None = None

    @property
    def fingerprint(self) -> str:
        """Checksum of what decides which image a sample has, beside settings."""
        return self._reader.fingerprint

    def of(self, iteration: int) -> tuple[Tensor, Condition]:
        """Latents ``[b, C, H, W]`` and encoded captions of this rank's samples, in host memory.

        A collective wherever a chunk begins, and at the first call.

        Args:
            iteration: iterations finished before this one.

        Raises:
            SharedError: ``InvalidData`` naming an image that cannot be decoded.
        """
        if self._chunk is None or iteration not in self._chunk.iterations:
            self._chunk = None  # its memory is free before the next is made
            self._chunk = on_each(self._group, lambda: self._make(iteration))
        start = (iteration - self._chunk.iterations.start) * len(self._samples)
        rows = slice(start, start + len(self._samples))
        return self._chunk.latents[rows], self._chunk.captions[self._chunk.caption_rows[rows]]

    def _make(self, iteration: int) -> LatentChunk:
        length = self._chunk_length
        iterations = range(iteration, iteration - iteration % length + length)
        with naming("data.images.uri"):
            captions, latents = self._read(iterations)
        row_of = {caption: row for row, caption in enumerate(dict.fromkeys(captions))}
        return LatentChunk(
            iterations,
            latents,
            self._encode(list(row_of)),
            torch.tensor([row_of[caption] for caption in captions]),
        )

    def _read(self, iterations: range) -> tuple[list[str], Tensor]:
        """Captions and latents of the images of some iterations."""
        self._reader.keep_only(self._order.parts(iterations))
        chosen = [
            self._reader.sample(*place)
            for at in iterations
            for place in self._order.places(at, self._samples)
        ]
        return [sample.caption() for sample in chosen], self._latents(chosen, iterations)

    def _latents(self, chosen: Sequence[Sample], iterations: range) -> Tensor:
        places = [(at, place) for at in iterations for place in self._samples]
        made: list[Tensor] = []
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(chosen), IMAGES_AT_A_TIME):
                rows = slice(start, start + IMAGES_AT_A_TIME)
                pixels = torch.stack(list(pool.map(self._pixels, chosen[rows])))
                made.append(self._teacher.encode_images(pixels, self._noise(places[rows])))
        return torch.cat(made)

    def _pixels(self, sample: Sample) -> Tensor:
        return square_pixels(sample.image(), self._resolution, sample.name)

    def _noise(self, places: Sequence[tuple[int, int]]) -> Tensor:
        """Noise ``[B, C, H, W]`` of the autoencoder's posteriors; a sample always has the same."""
        shape, cpu = self._teacher.latent_shape(self._resolution), torch.device("cpu")
        rows = [
            NoiseSource(self._order.seed, iteration, [sample], cpu).normal(Purpose.POSTERIOR, shape)
            for iteration, sample in places
        ]
        return torch.cat(rows)

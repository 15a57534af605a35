"""Draw samples of a digits teacher (50 steps) beside those of its student (4 steps).

Needs torch, diffusers, transformers and Pillow only: a student is a stock pipeline directory.

    python compare.py --teacher DIR --student DIR --output compare.png
"""

import argparse
import importlib
import sys
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import StableDiffusion3Pipeline
from PIL import Image, ImageDraw

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SAMPLES = 6  # of each prompt and model
SIDE, GAP, LABEL, TITLE = 56, 4, 180, 24  # pixels


def sample(directory: str, prompts: list[str], steps: int, seed: int) -> list[Image.Image]:
    """Return ``SAMPLES`` images of each prompt, prompt by prompt."""
    pipeline = StableDiffusion3Pipeline.from_pretrained(directory, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    if (Path(directory) / "fixed_noise_scheduler.py").is_file():  # made with student.noise fixed
        sys.path.append(directory)
        scheduler = importlib.import_module("fixed_noise_scheduler").FixedNoiseScheduler
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    torch.manual_seed(seed)  # the noise between a student's steps comes from the global generator
    return pipeline(
        prompts,
        num_images_per_prompt=SAMPLES,
        num_inference_steps=steps,
        guidance_scale=1.0,  # no guidance
        max_sequence_length=pipeline.tokenizer_3.model_max_length,  # as in training
    ).images


def draw(columns: dict[str, list[Image.Image]], prompts: list[str]) -> Image.Image:
    """Return a sheet with a row for each prompt and a block of samples for each model."""
    step, block = SIDE + GAP, SAMPLES * (SIDE + GAP) + 4 * GAP
    sheet = Image.new("RGB", (LABEL + len(columns) * block, TITLE + len(prompts) * step), "white")
    pen = ImageDraw.Draw(sheet)
    for row, prompt in enumerate(prompts):
        pen.text((8, TITLE + row * step + SIDE // 2 - 6), prompt, fill="black")
    for column, (title, images) in enumerate(columns.items()):
        left = LABEL + column * block
        pen.text((left, 6), title, fill="black")
        for index, image in enumerate(images):
            row, place = divmod(index, SAMPLES)
            enlarged = image.resize((SIDE, SIDE), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (left + place * step, TITLE + row * step))
    return sheet


def main() -> None:
    """Read the command line, sample, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--teacher", required=True, help="pipeline directory")
    parser.add_argument("--student", required=True, help="pipeline directory")
    parser.add_argument("--output", required=True, help="PNG to write")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for library in (diffusers, transformers):  # the picture is what matters here
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    prompts = [f"a handwritten {word}" for word in WORDS]
    columns = {
        "teacher, 50 steps": sample(options.teacher, prompts, 50, options.seed),
        "student, 4 steps": sample(options.student, prompts, 4, options.seed),
    }
    draw(columns, prompts).save(options.output)
    print(f"picture: {options.output}")


if __name__ == "__main__":
    main()

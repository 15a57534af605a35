"""Score identity distillation written from its equations, in plain PyTorch on one process.

It shares with the trainer the stock network class and the source of random numbers, nothing else.

    x_s = (1 - s) x0 + s eps        v predicts eps - x0        f(x_s) = x_s - s v(x_s)
    v_cfg = v_0 + kappa (v_c - v_0)
    L_F = sum ||v_F(x_s) - (eps - x_g)||^2 / B
    L_G = sum w(s) (f_T - f_F) [(f_T - x_g) - alpha (f_T - f_F)] / B

With real images y (data-aided), n = C H W, D the sigmoid of the clamped mean of the tokens that the
output projection is given, and the mean over a sample's logits taken of all:

    L_F += 1/2 sum -[log D(y_s) + log(1 - D(x_s))] n / B
    L_G  = 1/2 L_G + 1/2 sum -w(s) log D(x_s) n / B
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor

from sid_trainer.method.noise import NoiseSource, Purpose, uniform_steps


@dataclass
class Reference:
    """Three networks, two Adams and an average."""

    teacher_directory: Path
    embeds: Tensor
    pooled: Tensor
    empty_embeds: Tensor
    empty_pooled: Tensor
    kappas: tuple[float, float, float]
    weight: Callable[[Tensor, Tensor, Tensor], Tensor]
    alpha: float = 1.0
    noise_mode: str = "fresh"
    steps: int = 4
    seed: int = 5
    rates: tuple[float, float] = (1e-3, 2e-3)
    average_beta: float = 0.5 ** (8 / 16)
    network_class: Any = SD3Transformer2DModel
    shape: tuple[int, int, int] = (4, 8, 8)
    shared_roll_out: bool = False
    pool_over: int = 1  # 1 tokens, 2 channels
    real: Any = None  # latents, encodings and pooled encodings of captions; None is data-free
    student_from: int = 0
    real_from: int = 0
    losses: list[tuple[float, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.teacher = self.network_class.from_pretrained(
            self.teacher_directory, subfolder="transformer"
        )
        self.teacher.requires_grad_(False)
        self.fake = copy.deepcopy(self.teacher).requires_grad_(True)
        self.student = copy.deepcopy(self.teacher).requires_grad_(True)
        self.average = copy.deepcopy(self.teacher)
        student_rate, fake_rate = self.rates
        options = {"betas": (0.0, 0.999), "eps": 1e-8}
        self.student_adam = torch.optim.Adam(self.student.parameters(), student_rate, **options)
        self.fake_adam = torch.optim.Adam(self.fake.parameters(), fake_rate, **options)

    def iterate(self, iteration: int, fake_after: dict[str, Tensor] | None = None) -> None:
        """One fake update and one student update; gradients stay in ``.grad``.

        Args:
            iteration: its number.
            fake_after: weights of the fake score for the student update, in place of its own.
        """
        k = uniform_steps(self.seed, iteration, self.steps)
        draw = NoiseSource(self.seed, iteration, range(len(self.embeds)), torch.device("cpu"))
        kappa_train, kappa_fake, kappa_teacher = self.kappas
        batch = len(self.embeds)

        shared = self.shared_roll_out and iteration >= self.student_from
        roll_out = Purpose.STUDENT_ROLL_OUT if shared else Purpose.FAKE_ROLL_OUT
        x_g = self._generate(draw, roll_out, k).detach()
        eps = draw.normal(Purpose.FAKE_NOISE, x_g.shape[1:])
        s = self._level(draw.normal(Purpose.FAKE_LEVEL))
        x_s = (1 - s) * x_g + s * eps
        score_fake = ((self._cfg(self.fake, x_s, s, kappa_train) - (eps - x_g)) ** 2).sum() / batch
        data_aided = self.real is not None and iteration >= self.real_from
        told = self._told(x_s, s, eps, kappa_train) if data_aided else torch.tensor(0.0)
        loss_fake = score_fake + told * x_g[0].numel() / 2
        self.fake_adam.zero_grad()
        loss_fake.backward()
        self.fake_adam.step()
        if fake_after is not None:
            self.fake.load_state_dict(fake_after, strict=False)

        if iteration < self.student_from:
            self.losses.append((score_fake.item(),))
            return

        fake_gradient = {n: p.grad.clone() for n, p in self.fake.named_parameters()}
        x_g = self._generate(draw, Purpose.STUDENT_ROLL_OUT, k)
        eps = draw.normal(Purpose.STUDENT_NOISE, x_g.shape[1:])
        s = self._level(draw.normal(Purpose.STUDENT_LEVEL))
        x_s = (1 - s) * x_g + s * eps
        f_f = x_s - s * self._cfg(self.fake, x_s, s, kappa_fake)
        f_t = x_s - s * self._cfg(self.teacher, x_s, s, kappa_teacher)
        w = self.weight(s, x_g, f_t).detach()
        score = (w * (f_t - f_f) * ((f_t - x_g) - self.alpha * (f_t - f_f))).sum() / batch
        passing = self._passing(x_s, s, w, kappa_fake) if data_aided else torch.tensor(0.0)
        loss = score / 2 + passing * x_g[0].numel() / 2 if data_aided else score
        self.student_adam.zero_grad()
        (100 * loss).backward()
        self.student_adam.step()

        for name, parameter in self.fake.named_parameters():
            parameter.grad = fake_gradient[name]
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.student.parameters(), strict=True)
            for mean, new in pairs:
                mean.copy_(self.average_beta * mean + (1 - self.average_beta) * new)
        adversarial = (told.item(), passing.item()) if data_aided else ()
        self.losses.append((score_fake.item(), score.item(), *adversarial))

    def _told(self, x_s: Tensor, s: Tensor, eps: Tensor, kappa: float) -> Tensor:
        y, *captions = self.real
        y_s = (1 - s) * y + s * eps
        of_real = self._probability(y_s, s, kappa, captions)
        of_generated = self._probability(x_s, s, kappa, (self.embeds, self.pooled))
        return -(of_real.log().mean(1) + (1 - of_generated).log().mean(1)).mean()

    def _passing(self, x_s: Tensor, s: Tensor, w: Tensor, kappa: float) -> Tensor:
        of_generated = self._probability(x_s, s, kappa, (self.embeds, self.pooled))
        return -(w.flatten() * of_generated.log().mean(1)).mean()

    def _probability(self, x: Tensor, s: Tensor, kappa: float, text: Sequence[Tensor]) -> Tensor:
        """Probability ``[B, L]`` of being real; no text is shown where guidance shows none."""
        if kappa == 0:
            n = len(x)
            text = self.empty_embeds.repeat(n, 1, 1), self.empty_pooled.repeat(n, 1)
        logits = self._tokens(x, s, kappa, text).mean(self.pool_over).clamp(-10, 10)
        return 1 / (1 + torch.exp(-logits))

    def _tokens(self, x: Tensor, s: Tensor, kappa: float, text: Sequence[Tensor]) -> Tensor:
        """What the fake score's output projection is given, by SD3's parts one after another."""
        net = self.fake
        time = net.time_text_embed(1000 * s.flatten(), text[1])
        tokens, context = net.pos_embed(x), net.context_embedder(text[0])
        for block in net.transformer_blocks:
            context, tokens = block(hidden_states=tokens, encoder_hidden_states=context, temb=time)
        return net.norm_out(tokens, time)

    def _generate(self, draw: NoiseSource, purpose: Purpose, k: int) -> Tensor:
        z = x = draw.normal(purpose, self.shape, 0)
        for i in range(k):
            s = 1 - i / self.steps
            with torch.set_grad_enabled(i == k - 1):
                v = self._call(self.student, x, torch.full((len(x),), s), with_text=True)
                d = x - s * v
            if i == k - 1:
                return d
            implied = (x - (1 - s) * d) / s
            modes = {"fixed": z, "ddim": implied}
            noise = modes.get(self.noise_mode)
            if noise is None:
                noise = draw.normal(purpose, self.shape, i + 1)
            s_next = 1 - (i + 1) / self.steps
            x = (1 - s_next) * d + s_next * noise
        raise AssertionError("k is at least 1")

    def _cfg(self, network: Any, x: Tensor, s: Tensor, kappa: float) -> Tensor:
        v_c = self._call(network, x, s.flatten(), with_text=True)
        v_0 = self._call(network, x, s.flatten(), with_text=False)
        return v_0 + kappa * (v_c - v_0)

    def _call(self, network: Any, x: Tensor, s: Tensor, *, with_text: bool) -> Tensor:
        n = len(x)
        return network(
            hidden_states=x,
            timestep=1000 * s,
            encoder_hidden_states=self.embeds if with_text else self.empty_embeds.repeat(n, 1, 1),
            pooled_projections=self.pooled if with_text else self.empty_pooled.repeat(n, 1),
        ).sample

    def _level(self, normal: Tensor) -> Tensor:
        logit = torch.log(torch.tensor(2.0)) + 1.6 * normal
        return (1 / (1 + torch.exp(-logit))).reshape(-1, 1, 1, 1)

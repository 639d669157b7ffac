"""Train the lite detector: `python -m training.detector --data <shared data folder> --out <folder for checkpoints>`.

Distillation: the teacher is the official RetinaFace mobile0.25 (MIT), applied to composites of portraits and
photographs. The student, a network of the same architecture with random initial weights, learns to predict the
teacher's outputs from degraded copies of the composites.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from facemend import weights
from facemend.nets import retinaface
from facemend.stages.geometry import compose, warp
from training import data, degradations, loop

SHAPES = ((256, 12), (384, 8), (512, 4), (640, 3))  # side in px and batch size, drawn with equal probability
# Fraction of the steps in which each block learns separately, with the teacher's features as input.
SEPARATE_UNTIL = 0.2
FROZEN_FROM = 0.5  # fraction of the steps after which batch norm uses its running statistics, as in inference
FINE_FROM = 0.85  # fraction of the steps after which landmarks have four times the weight
RATE = 3e-3  # the highest learning rate
TEMPLATE_FACE = 250.0  # px, about the width of a face on the template
SURE = 0.5  # the teacher's score from which a prior's box and landmarks are learned


@dataclass(frozen=True)
class Outputs:
    """The outputs of a detector for a batch.

    Attributes:
        loc: (N, P, 4).
        score: (N, P), probability of a face.
        landmarks: (N, P, 10).
        features: the outputs of its blocks.
    """

    loc: Tensor
    score: Tensor
    landmarks: Tensor
    features: list[Tensor]


class Composites(Dataset[tuple[Tensor, Tensor]]):
    """Batches of composites and of their degraded copies, each (N, 3, side, side) in the network's input format."""

    def __init__(self, portraits: list[data.Portrait], photos: list[NDArray[np.uint8]], seed: int, length: int) -> None:
        self.portraits, self.photos, self.seed, self.length = portraits, photos, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, index])
        side, count = SHAPES[rng.integers(len(SHAPES))]
        pairs = [self._pair(side, rng) for _ in range(count)]
        return torch.stack([clean for clean, _ in pairs]), torch.stack([given for _, given in pairs])

    def _pair(self, side: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        clean, smallest = self._compose(side, rng)
        if rng.random() < 0.3:
            clean = np.repeat(clean.mean(axis=2, keepdims=True), 3, axis=2)
        clean = degradations.retone(clean, rng)
        given = clean
        if rng.random() < 0.55:
            # A face of less than about 14 px is not recognisable and must not be learned as a face.
            recipe = degradations.draw_mild(rng, float(np.clip(smallest / 14, 1, 4)))
            given = degradations.enlarge(degradations.apply(clean, recipe, rng), recipe, clean.shape)
        return to_input(clean), to_input(given)

    def _compose(self, side: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], float]:
        """Make a background with up to six faces; returns it and the width of the smallest face in px."""
        canvas = self._background(side, rng)
        count = int(rng.choice([0, 1, 2, 3, 4, 6], p=[0.3, 0.4, 0.1, 0.07, 0.07, 0.06]))
        largest = 0.85 * side if count == 1 else 0.6 * side / np.sqrt(max(count, 1))
        smallest = float(side)
        for width in sorted(np.exp(rng.uniform(np.log(15), np.log(largest), count)), reverse=True):
            if count == 1 and rng.random() < 0.5:
                width = rng.uniform(0.3, 0.85) * side  # a portrait, the most common input
            smallest = min(smallest, float(width))
            canvas = self._paste(canvas, float(width), alone=count == 1, rng=rng)
        return canvas, smallest

    def _background(self, side: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """A crop of a photograph, scaled by 0.6 to 2, or plain paper with stains."""
        if rng.random() < 0.1:
            paper = np.full((side, side, 3), rng.uniform(0, 255, 3), np.float32)
            return paper + cv2.GaussianBlur(rng.normal(0, 40, paper.shape), (0, 0), rng.uniform(2, 20)).astype(
                np.float32
            )
        photo = self.photos[rng.integers(len(self.photos))]
        crop = int(min(side / np.exp(rng.uniform(np.log(0.6), np.log(2.0))), *photo.shape[:2]))
        y, x = (int(rng.integers(0, n - crop + 1)) for n in photo.shape[:2])
        filters = cv2.INTER_AREA if crop > side else cv2.INTER_LINEAR
        return cv2.resize(photo[y : y + crop, x : x + crop], (side, side), interpolation=filters).astype(np.float32)

    def _paste(
        self, canvas: NDArray[np.float32], width: float, *, alone: bool, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Paste a portrait on the canvas, whole or cut out around the head, sometimes partly covered."""
        side = len(canvas)
        portrait = self.portraits[rng.integers(len(self.portraits))]
        scale, angle = width / TEMPLATE_FACE, rng.normal(0, 12) if rng.random() < 0.8 else rng.normal(0, 45)
        place = cv2.getRotationMatrix2D((256, 290), angle, scale)
        room = max(side / 2 - width / 2, 0.15 * side)
        place[:, 2] += np.array((side / 2 - 256, side / 2 - 290)) + rng.uniform(-room, room, 2)
        if rng.random() < 0.5:
            place = compose(place, np.array([(-1.0, 0, 511), (0, 1, 0)]))
        matrix = compose(place, portrait.matrix)
        whole = rng.random() < (0.6 if alone else 0.25)
        picture = degradations.retone(portrait.image.astype(np.float32), rng) if rng.random() < 0.5 else portrait.image
        border = cv2.BORDER_REFLECT_101 if whole and alone and rng.random() < 0.5 else cv2.BORDER_CONSTANT
        face = warp(picture, matrix, (side, side), interpolation=cv2.INTER_LINEAR, border=border).astype(np.float32)
        mask = np.ones(portrait.image.shape[:2], np.float32)
        mask = warp(mask, matrix, (side, side), interpolation=cv2.INTER_LINEAR, border=border)
        if not whole:
            head = np.zeros((512, 512), np.float32)
            axes = (int(rng.uniform(165, 230)), int(rng.uniform(225, 280)))
            cv2.ellipse(head, (256, 265), axes, 0, 0, 360, 1.0, -1)
            head = cv2.GaussianBlur(head, (0, 0), rng.uniform(2, 12))
            size = (side, side)
            mask *= warp(head, place, size, interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_CONSTANT)
        result = canvas * (1 - mask[..., None]) + face * mask[..., None]
        if rng.random() < 0.2:
            self._hide(result, place, width, rng)
        return result

    def _hide(
        self, canvas: NDArray[np.float32], place: NDArray[np.float64], width: float, rng: np.random.Generator
    ) -> None:
        """Cover a part of the face with a piece of a photograph or with one colour."""
        side = len(canvas)
        centre = place @ (*rng.normal((256, 300), 70), 1)
        height, across = (max(int(width * rng.uniform(0.15, 0.5)), 2) for _ in range(2))
        y, x = max(int(centre[1]) - height // 2, 0), max(int(centre[0]) - across // 2, 0)
        target = canvas[y : y + height, x : x + across]
        if not target.size:
            return
        if rng.random() < 0.4:
            target[:] = rng.uniform(0, 255, 3)
        else:
            target[:] = self._background(side, rng)[: target.shape[0], : target.shape[1]]


def to_input(image: NDArray[np.float32]) -> Tensor:
    """Convert (H, W, 3) RGB in [0, 255] to (3, H, W) BGR minus the mean."""
    return torch.from_numpy(np.ascontiguousarray((image[..., ::-1] - retinaface.MEAN).transpose(2, 0, 1), np.float32))


class WithFeatures(nn.Module):
    """A RetinaFace that also returns the outputs of its blocks."""

    def __init__(self, net: retinaface.RetinaFace) -> None:
        super().__init__()
        self.net = net
        self.features: list[Tensor] = []
        self.replacements: list[Tensor] = []
        for module in (net.body.stage1, net.body.stage2, net.body.stage3, net.fpn, net.ssh1, net.ssh2, net.ssh3):
            module.register_forward_hook(self._record)

    def forward(self, x: Tensor, replacements: list[Tensor] | None = None) -> Outputs:
        """Run the detector.

        Args:
            x: (N, 3, H, W).
            replacements: the features of another network. Each block then gets these as input in place of the outputs
                of the blocks before it, so that all blocks can be trained separately, in the same step.
        """
        self.features, self.replacements = [], list(replacements or ())
        loc, conf, landmarks = self.net(x)
        return Outputs(loc, conf[..., 1].clamp(1e-5, 1 - 1e-5), landmarks, self.features)

    def _record(self, _module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> object:
        """Record a block's output; returns the replacement if there is one."""
        outputs = [output] if isinstance(output, Tensor) else list(output)
        self.features += outputs
        if not self.replacements:
            return None
        count = len(outputs)
        replaced, self.replacements = self.replacements[:count], self.replacements[count:]
        return replaced[0] if isinstance(output, Tensor) else tuple(replaced)


def distillation_loss(student: Outputs, teacher: Outputs, fine: bool) -> Tensor:
    """The difference between the outputs of student and teacher; landmarks have four times the weight if `fine`."""
    entropy = functional.binary_cross_entropy(student.score, teacher.score, reduction="none")
    sure = teacher.score > SURE
    found = max(int(sure.sum()), 1)
    # Hard negative mining: there are thousands of priors without a face for each one with a face.
    hardest = entropy[~sure].topk(min(7 * found + 200, int((~sure).sum()))).values
    where = sure.nonzero(as_tuple=True)
    weight = teacher.score[where][:, None]

    def difference(a: Tensor, b: Tensor) -> Tensor:
        return (functional.smooth_l1_loss(a[where], b[where], reduction="none", beta=0.1) * weight).sum()

    landmarks = difference(student.landmarks, teacher.landmarks)
    values = difference(student.loc, teacher.loc) + (8 if fine else 2) * landmarks
    features = sum(functional.mse_loss(a, b) / b.var() for a, b in zip(student.features, teacher.features, strict=True))
    return (entropy[sure].sum() + hardest.sum() + 2 * values) / found + features


def main() -> None:
    """Parse the command line and train."""
    parser = loop.command(__doc__)
    parser.add_argument("--teacher", type=Path, required=True, help="the official detection_mobilenet0.25_Final.pth")
    parser.add_argument("--steps", type=int, default=14000)
    parser.set_defaults(workers=1)  # composites are slow to make
    args = loop.begin(parser)
    teacher_net = weights.load("retinaface-mobile0.25", args.teacher)
    portraits = data.portraits(args.data / "portraits/train", teacher_net, args.out / "alignments.npz")[
        : -data.HELD_OUT
    ]
    photos = [data.read(path) for path in sorted((args.data / "photos").glob("*.png"))]
    composites = Composites(portraits, photos, 0, args.steps)

    net = retinaface.RetinaFace("mobile0.25").to(args.device, memory_format=torch.channels_last)
    student = WithFeatures(net)
    teacher = WithFeatures(teacher_net.to(args.device, memory_format=torch.channels_last)).eval()
    result_file = args.out / "lite-detector.safetensors"
    phase = loop.Phase(
        net, args.out / "detector.pt", args.steps, RATE, betas=(0.9, 0.999), max_norm=5.0, export_to=result_file
    )
    frozen_from = math.ceil(FROZEN_FROM * args.steps)
    for clean, given in phase.batches(composites, None, args.workers):
        if phase.step == frozen_from:
            net.load_state_dict(phase.averaged.state_dict())
        net.train(phase.step < frozen_from)  # batch norm is the only layer that behaves differently
        for x, degraded in ((clean, given), (clean.flip(-1), given.flip(-1))):  # twice, as composites are slow to make
            with torch.no_grad():
                wanted = teacher(x)
            separate = phase.progress < SEPARATE_UNTIL
            outputs = student(x, wanted.features) if separate else student(degraded)
            loss = distillation_loss(outputs, wanted, phase.progress >= FINE_FROM)
            phase.descend(loss)
        phase.show(loss=loss)


if __name__ == "__main__":
    main()

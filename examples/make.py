"""Makes old.jpg out of scikit-image's astronaut (NASA, public domain): smaller, grey, faded, grainy, JPEG.

pip install scikit-image, then: python -m examples.make
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage import data

SIZE = 320  # px
PAPER, INK = 225, 45  # grey levels that white and black have faded to


def main() -> None:
    """Write the picture beside this file."""
    grey = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2GRAY).astype(np.float32)
    soft = cv2.GaussianBlur(grey, (0, 0), 1.6)
    small = cv2.resize(soft, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    grain = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 7, small.shape).astype(np.float32), (0, 0), 0.7)
    faded = INK + small / 255 * (PAPER - INK) + grain
    faded[:, 231] += 40  # a scratch
    old = Image.fromarray(np.rint(faded.clip(0, 255)).astype(np.uint8))
    old.save(Path(__file__).with_name("old.jpg"), quality=70)


if __name__ == "__main__":
    main()

"""Decide how much of a restored face to use, so that a face that is good already does not become softer.

A face is good if it is large, sharp in all directions, and free of noise, specks and blocks. Each of these is measured
and mapped to a quality from 0 (bad) to 1 (good). Their product is the quality of the face. The share of the restored
face is 1 minus that product, so one bad quality is enough for full restoration.

The limits of the sharpness were chosen on 27 pictures of `portraits/train`: clean ones, and the same shrunk, blurred,
noisy, compressed and after `degrade.py`. Those of the size also depend on `old_photos`. Those of the noise were chosen
later on 60 pictures of `portraits/train`. The figures beside the limits of sharpness and noise are of these 60, as they
are, shrunk 1.6 times and shrunk twice; those with noise of 8 levels (sigma, in each channel) are not shrunk. Those of
the noise of colours, the specks and the blocks were chosen last, on 267 clean pictures of `portraits/train` in the same
three sizes and on 73 of `portraits/train` with damage. Levels are 8-bit grey levels.
"""

from facemend.records import Crop, Pixels
from facemend.stages.condition import blocks, colour_noise, grey_levels, noise, real_side, sharpness, specks

# Each pair is (value of quality 0, value of quality 1). "Clean" faces are undamaged portraits, 256 to 512 px wide.
SIZE = (185.0, 215.0)  # real px along the side of the crop: old photos have at most 188, clean faces at least 215
FINEST = (0.18, 0.22)  # clean faces have at least 0.22; blurred by 3 crop px (sigma), at most 0.13
FINE = (0.31, 0.38)  # clean faces have at least 0.36; blurred by 3 crop px, at most 0.33, or 0.47 with noise
EVENNESS = (0.6, 0.75)  # clean faces have at least 0.68; with motion blur over 11 px, at most 0.53
NOISE = (1.5, 1.1)  # levels: most clean faces have less than 0.9, all at most 1.2; with noise of 8 levels, 1.16 or more
# Of 99 % of the clean faces at most 1.2. Noise of 12 levels in grains of 3 px gives 2.4 or more, and at least 1.2 after
# JPEG quality 80, when the PSNR of the restored face is 1.6 dB higher.
COLOUR_NOISE = (1.6, 1.2)
SPECKS = (0.008, 0.0025)  # of the px: clean faces have at most 0.0019, and with specks on 1 % 0.014 or more
# Of clean faces at most 0.15. JPEG quality 85 mostly gives 0.15, 60 gives 0.3, 30 gives 0.6, and, after shrinking to
# 0.8 of the size, 0.08, 0.2 and 0.5. The PSNR of the restored face is higher from quality 80 on, by 0.1 to 0.4 dB;
# where the shrunk face has fewer than 260 px, from 25 on. Blocks are more visible than PSNR says.
BLOCKS = (0.32, 0.2)


def share(crop: Crop, pixels: Pixels) -> float:
    """Return the share of the restored face to use, from 0 (the face is good) to 1 (it needs restoration).

    Args:
        crop: the face as it was cut out of the picture, before restoration. The limits are those of 512 px crops.
        pixels: (H, W, 3) of the picture.
    """
    real = real_side(crop)
    quality = _ramp(real, SIZE)
    if quality == 0:  # most faces of old photographs; the rest takes about 25 ms
        return 1.0
    levels = grey_levels(crop.pixels)
    finest, fine, evenness = sharpness(levels)
    quality *= _ramp(finest, FINEST) * _ramp(fine, FINE) * _ramp(evenness, EVENNESS)
    quality *= _ramp(noise(levels, real), NOISE)
    if quality > 0:
        quality *= _ramp(specks(levels, real), SPECKS)
        quality *= _ramp(colour_noise(crop.pixels, real), COLOUR_NOISE)
        quality *= _ramp(blocks(pixels, crop), BLOCKS)
    return 1 - quality


def _ramp(value: float, limits: tuple[float, float]) -> float:
    """Return 0 up to the first limit, 1 from the second, and a smooth transition between them."""
    part = min(max((value - limits[0]) / (limits[1] - limits[0]), 0.0), 1.0)
    return part * part * (3 - 2 * part)

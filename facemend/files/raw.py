"""Read the raw files of cameras, by rawpy (LibRaw)."""

from typing import BinaryIO

import numpy as np

from facemend.files import tiff
from facemend.files.decoders import decoding
from facemend.files.directories import Reader
from facemend.files.samples import CheckSize, Samples
from facemend.records import Metadata


def read(stream: BinaryIO, check_size: CheckSize) -> Samples:
    """Develop the picture with the camera's white balance, to sRGB with 16 bits.

    Raises:
        DecodeError: it is damaged, or of a camera that LibRaw does not know.
    """
    import rawpy

    with decoding():
        try:
            with rawpy.imread(stream) as file:
                aspect = file.sizes.pixel_aspect  # of a px; where it is not 1, LibRaw enlarges one side
                check_size(round(file.sizes.height / min(aspect, 1)), round(file.sizes.width * max(aspect, 1)))
                colours = np.array(file.postprocess(use_camera_wb=True, output_bps=16))
        except rawpy.LibRawUnsufficientMemoryError as error:
            raise MemoryError from error
        except rawpy.LibRawError as error:  # not one of those that `decoding` knows; its text is bytes
            raise ValueError(error.args[0].decode()) from error
    reader = Reader(stream)
    block, moved = tiff.exif(reader, reader.first_directory())
    lost = ["EXIF"] if block is None else ["offsets inside the MakerNote (it had to move)"] if moved else []
    if colours.shape[2] == 1:  # of a camera without colour filters
        colours = colours[..., 0]
    return Samples(colours, metadata=Metadata(exif=block, lost=tuple(lost)), lost=("the raw data (it is developed)",))

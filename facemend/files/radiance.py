"""Read Radiance HDR files, by OpenCV."""

import re
from typing import BinaryIO

import cv2
import numpy as np

from facemend.errors import DecodeError
from facemend.files.decoders import decoding, quiet
from facemend.files.samples import CheckSize, Samples

SIZE = re.compile(rb"\n-Y (\d{1,9}) \+X (\d{1,9})\n")  # the only order of rows that is in use
HEADER = 1 << 16  # bytes that it can have


def read(stream: BinaryIO, check_size: CheckSize) -> Samples:
    """Read the picture.

    Raises:
        DecodeError: it is damaged.
    """
    data = stream.read()
    size = SIZE.search(data[:HEADER])
    if size is None:
        raise DecodeError("its size is not given, or its rows are in a rare order", "save it again")
    check_size(int(size[1]), int(size[2]))
    with quiet(), decoding():
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3:
        raise DecodeError("damaged (OpenCV cannot read it)", "use a complete copy")
    return Samples(np.nan_to_num(values[..., ::-1].astype(np.float32), posinf=0, neginf=0))

"""IPTC records, which Photoshop's image resources wrap (Adobe Photoshop File Formats Specification)."""

import struct

PHOTOSHOP = b"Photoshop 3.0\0"  # begins a JPEG segment of resources
RESOURCE = b"8BIM"
PATHS = range(2000, 2999)  # numbers of resources with a clipping path
RECORDS = 0x0404  # number of the resource with the IPTC records


def of_resources(data: bytes) -> bytes | None:
    """The IPTC records among the resources of Photoshop; None where there are none."""
    position = 0
    while data[position : position + 4] == RESOURCE and len(data) >= position + 12:
        (number,) = struct.unpack_from(">H", data, position + 4)
        start = position + 6 + (data[position + 6] | 1) + 1  # after the name, whose length is made even
        size = int.from_bytes(data[start : start + 4], "big")
        if number == RECORDS:
            return data[start + 4 : start + 4 + size]
        position = start + 4 + size + size % 2
    return None


def resource(records: bytes) -> bytes:
    """The resource that wraps IPTC records."""
    header = RESOURCE + struct.pack(">HHI", RECORDS, 0, len(records))
    return header + records + bytes(len(records) % 2)


def of_profile(data: bytes) -> bytes | None:
    """The IPTC records of a PNG, where some programs wrap them and others do not; None where there are none."""
    return of_resources(data) if data.startswith(RESOURCE) else data or None

"""PV Access over UDP (being written)."""

import numpy as np

PVA_BEACON = np.dtype(
    [
        ("datagram", "<u4"),
        ("host", "<u4"),
        ("port", "<u2"),
        ("changes", "<u2"),
        ("sequence", "u1"),
        ("guid", "V12"),
    ]
)

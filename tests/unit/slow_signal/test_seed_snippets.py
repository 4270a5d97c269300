"""The examples of the seed's documentation, with their three mistakes corrected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

# The third mistake: `ssdaq` was not imported. Here it is the package that takes its place.
WRITE = """
from socs.slow_signal import SSDataReader
import numpy as np
import socs.slow_signal as ssdaq
writer = ssdaq.SSDataWriter('path/to/ssdata.hdf5')
for i in range(100):
	ro = ssdaq.SSReadout(i*10,i,np.random.random((32,64)),
		np.random.randint(0,2**63,(32,2),dtype=np.uint64))
	writer.write_readout(ro)
writer.close_file()
"""

READ = """
from socs.slow_signal import SSDataReader
import numpy as np
import socs.slow_signal as ssdaq
reader = ssdaq.SSDataReader('path/to/ssdata.hdf5')
print('This file has %d readouts'%reader.n_readouts)
#loop over readouts
for r in reader.read(start=0,stop=10):#the arguments are optional
	print(reader.readout_number,np.max(reader.data))

reader.close_file()
"""


def test_a_file_is_written_and_read(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("path/to").mkdir(parents=True)
    np.random.seed(1)
    exec(WRITE, {})
    exec(READ, {})
    np.random.seed(1)
    maxima = []
    for _ in range(10):
        maxima.append(np.float32(np.random.random((32, 64)).max()))
        np.random.randint(0, 2**63, (32, 2), dtype=np.uint64)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "This file has 100 readouts"
    assert [line.split()[0] for line in lines[1:]] == [str(i) for i in range(10)]
    assert [float(line.split()[1]) for line in lines[1:]] == pytest.approx(maxima, rel=1e-6)

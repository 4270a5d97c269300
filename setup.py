"""Package metadata of socs; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'"(.+)"', (HERE / "socs" / "_version.py").read_text())[1]

slow_signal = ["pyzmq>=25", "tables>=3.10.1", "blosc2>=2.7", "pyyaml>=6", "click>=8.1"]
analysis = [*slow_signal, "dask[array,distributed]>=2024.1", "xarray>=2024.1"]
plot = [*slow_signal, "matplotlib>=3.8"]
tango = ["pytango>=10.1"]
epics = ["caproto>=1.1", "p4p>=4.2.2"]
iocs = ["softioc>=4.7"]
docs = ["sphinx>=7", "sphinx-argparse>=0.6", "sphinx-rtd-theme>=2"]
test = [
    "pytest>=8",
    "pytest-timeout>=2.2",
    "hypothesis>=6.90",
    "psutil>=5.9.4",
    "h5py>=3.10",
    "hdf5plugin>=4.1",
    "cbor2>=5.6",
    *iocs,
]
lint = ["ruff>=0.6", "mypy>=1.11", "import-linter>=2", "types-PyMySQL", "types-PyYAML"]

setup(
    name="socs",
    version=VERSION,
    description="OCS agents that watch an observatory's data plumbing and make it dependable",
    long_description=(HERE / "README.rst").read_text(),
    long_description_content_type="text/x-rst",
    license="BSD-2-Clause",
    python_requires=">=3.10",
    packages=[*find_packages(include=["socs", "socs.*"]), "socs.agents"]
    + [f"socs.agents.{name}" for name in find_packages("agents")]
    + find_packages("socs/drop_in"),
    package_dir={"socs.agents": "agents", "ssdaq": "socs/drop_in/ssdaq"},
    package_data={"socs": ["py.typed"], "": ["*.yaml"]},
    install_requires=[
        "ocs>=0.12.1",
        "twisted>=22.10",
        "autobahn>=24.4.2",
        "sqlalchemy>=2.0.20",
        "pymysql>=1.2",
        "msgspec>=0.18.5",
        "numpy>=1.24",
        "pyyaml>=6",
        "requests>=2.28",
        "rich>=13",
    ],
    extras_require={
        "slow-signal": slow_signal,
        "analysis": analysis,
        "plot": plot,
        "tango": tango,
        "epics": epics,
        "docs": docs,
        "test": test,
        "lint": lint,
        "demo": slow_signal + tango + epics + iocs,
        "all": analysis + plot + tango + epics,
    },
    entry_points={
        "console_scripts": [
            "socs = socs.cli.main:main",
            "ska-tango-event-monitor = socs.cli.tango_event_monitor:main",
            "control-ssdaq = socs.cli.ssdaq:control_ssdaq",
            "ssdaq = socs.cli.ssdaq:ssdaq",
            "ssdatawriter = socs.cli.ssdaq:ssdatawriter",
            "ss-example-listener = socs.cli.ssdaq:ss_example_listener",
        ],
        "ocs.plugins": ["socs = socs.plugin"],
    },
    classifiers=[
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Framework :: Twisted",
        "Topic :: Scientific/Engineering :: Astronomy",
    ],
)

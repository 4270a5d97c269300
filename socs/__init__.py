"""OCS agents that watch an observatory's data plumbing and make it dependable."""

from socs._version import __version__

__all__ = ["__version__"]

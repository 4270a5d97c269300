"""What receives readouts and does something with them."""

from socs.slow_signal.ssdaq.receiving_writer import SSFileWriter

__all__ = ["SSFileWriter"]

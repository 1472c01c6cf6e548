"""ScienceBox GPU: notebooks on exclusive GPUs, on a server of one's own."""

__version__ = "0.1.0"

"""Releases of the software stack: resolved to locks, built at their path under /cvmfs, published atomically."""

__version__ = "0.1.0"

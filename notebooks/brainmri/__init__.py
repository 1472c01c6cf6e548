"""Brain-tumour MRI for notebooks and the command line. Importing it loads no machine-learning framework."""

__version__ = "0.1.0"

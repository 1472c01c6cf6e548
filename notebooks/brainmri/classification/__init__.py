"""Telling slices with one kind of tumour from others: `brainmri train classification`, in PyTorch.

The notebook `11_classification_2d` has a small network in Keras, in view, to learn from. This one is larger, learns all
the labels that a data set has, and is what to use.
"""

"""Repositories in the format of the CernVM File System: written, signed, verified and tidied up.

The format is that of its documentation (https://cvmfs.readthedocs.io, "CernVM-FS Technical Information"), catalog
schema 2.5, so that its own client mounts what is published here.
"""

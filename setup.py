"""Build shim: Beam's stager builds a source distribution from a `setup.py`; everything else is in pyproject.toml."""

from setuptools import setup

setup()

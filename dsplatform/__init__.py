"""dsplatform: every file a data team receives, kept once, as versions of datasets."""

from importlib.metadata import version

__version__ = version("dsplatform")

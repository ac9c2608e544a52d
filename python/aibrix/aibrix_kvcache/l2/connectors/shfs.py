"""SHFS: blocks as files in a directory that hosts may share."""

from .cache_connector import CacheConnector


class SHFSConnector(CacheConnector):
    """Files under AIBRIX_KV_CACHE_OL_SHFS_ROOT. Every read is verified: a damaged file is a block that is not there."""

    BACKEND = "SHFS"

"""Where the members of a cluster are written down."""

from .meta_service import MetaService, MetaServiceConfig
from .redis_meta_service import RedisMetaService

__all__ = ["MetaService", "MetaServiceConfig", "RedisMetaService"]

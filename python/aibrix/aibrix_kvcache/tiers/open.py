"""Which tiers the environment asks for."""

from __future__ import annotations

import reprise

from ..common.absl_logging import getLogger
from ..config import KVCacheConfig
from ..l1.eviction_policy import is_python_policy, policy_name_from_environment
from ..namespaces import UNNAMED, model_of
from . import settings
from .footer import TokenFooter
from .native import NativeTiers
from .tiers import Tiers

logger = getLogger(__name__)


def open_tiers(config: KVCacheConfig, footer: TokenFooter | None) -> Tiers:
    """AssertionError when neither tier is on; ValueError naming the variable for what there is not.

    reprise.Error, naming the variables as well, when the cache could not be opened.
    """
    capacity, url = settings.l1_capacity(), settings.l2_url(config)
    assert capacity > 0 or url, (
        "neither L1 (AIBRIX_KV_CACHE_OL_L1_CACHE_ENABLED, _L1_CACHE_CAPACITY_GB) nor L2 "
        "(AIBRIX_KV_CACHE_OL_L2_CACHE_BACKEND) is on"
    )
    least = config.block_spec.block_nbytes + (footer.nbytes if footer else 0)
    if 0 < capacity < least:
        raise ValueError(
            f"AIBRIX_KV_CACHE_OL_L1_CACHE_CAPACITY_GB is {capacity} bytes, less than one block of {least} bytes"
        )
    if url and not url.startswith("mock:") and model_of(config) == UNNAMED:
        logger.warning(
            "L2 %s may be shared, and nobody said what the model is: models of one shape would share their blocks. "
            "Set AIBRIX_KV_CACHE_OL_MODEL, or KVCacheConfig(model=...)", url,
        )  # fmt: skip
    name = policy_name_from_environment()
    policy = settings.POLICIES.get(name.upper())
    if policy is None and capacity > 0 and not is_python_policy(name):
        raise ValueError(
            f"AIBRIX_KV_CACHE_OL_L1_CACHE_EVICTION_POLICY={name}: there is no such policy; there are "
            f"{', '.join(settings.POLICIES)}, those the program registered, and package.module:Class"
        )
    try:
        if policy is not None or capacity == 0:
            return NativeTiers(config, footer, capacity=capacity, policy=policy or "lru", url=url)
        from .policy import PolicyTiers  # Only who asks for it pays for it.

        return PolicyTiers(config, capacity=capacity, policy=name, url=url)
    except reprise.Error as error:
        if config.url is None and str(error).startswith("l2.url"):  # The core's name for it.
            raise type(error)(f"{settings.l2_variables()}: {error}") from error
        raise

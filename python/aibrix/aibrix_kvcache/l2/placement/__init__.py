"""Which member of a cluster has which block."""

from .base_placement import BasePlacement
from .placement import Member, Placement, PlacementConfig
from .simple_placement import SimplePlacement

__all__ = ["BasePlacement", "Member", "Placement", "PlacementConfig", "SimplePlacement"]

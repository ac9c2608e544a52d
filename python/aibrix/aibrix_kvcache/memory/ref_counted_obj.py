"""Objects that end when the last of their users lets go of them."""

import threading
from abc import ABC, abstractmethod


class RefCountedObj(ABC):
    """A count of users that starts at 1. Any thread may count up and down; `destroy_unsafe` runs once, at zero."""

    def __init__(self) -> None:
        self.ref_count = 1
        self._lock = threading.Lock()

    def ref_up(self) -> None:
        """One more user. ValueError if the object has ended: its memory may be somebody else's by now."""
        with self._lock:
            if self.ref_count <= 0:
                raise ValueError(f"Reference count is already zero: {type(self).__name__} has ended.")
            self.ref_count += 1

    def ref_down(self) -> None:
        """One user less; the last one destroys. ValueError for a release too many."""
        with self._lock:
            if self.ref_count <= 0:
                raise ValueError("Reference count is already zero.")
            self.ref_count -= 1
            last = self.ref_count == 0
        if last:  # Outside the lock: what is called may be code of the user, and nobody else can reach zero again.
            self.destroy_unsafe()

    @abstractmethod
    def destroy_unsafe(self) -> None:
        """Gives back what the object stands for. Called once, without a lock."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(ref_count={self.ref_count})"

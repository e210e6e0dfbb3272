"""Random numbers that depend on what they are for, not on how many were drawn before.

So a scenario from which a part was removed otherwise runs as before, and a failing one can be shrunk.
"""

_MASK = (1 << 64) - 1


class Chance:
    """Numbers of one seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def of(self, *key: int) -> float:
        """Returns a number from 0 to 1 (excluded) that belongs to `key`."""
        mixed = hash((self._seed, *key)) & _MASK
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            mixed = ((mixed ^ (mixed >> 33)) * factor) & _MASK
        return ((mixed ^ (mixed >> 33)) >> 11) * 2.0**-53

    def between(self, low: float, high: float, *key: int) -> float:
        return low + (high - low) * self.of(*key)

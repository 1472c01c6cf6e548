"""How much of the GPUs each user had lately, of which half is forgotten in every half-life. Pure.

What was used long ago counts less: a GPU-second that was used `t` ago counts 2^(-t / half-life). As everybody's use is
forgotten at the same rate, whose is greater never changes by waiting alone. So a user has a `level`, which stands still
while the user holds nothing, and may be compared with another's at any time.
"""

from __future__ import annotations

from math import exp, expm1, inf, log, log1p, log2

_LN2 = log(2)


class FairShare:
    """The decayed use of every user. `half_life_s` is in seconds, times are seconds since the epoch."""

    def __init__(self, half_life_s: float) -> None:
        if half_life_s <= 0:
            raise ValueError(f"a half-life is a time, not {half_life_s} seconds")
        self._half_life_s = half_life_s
        self._levels: dict[str, float] = {}

    def add(self, user: str, gpus: float, since: float, until: float) -> None:
        """`user` had so many GPUs from `since` to `until`. The parts of a lease may come in any order."""
        if until > since and gpus > 0:
            self._levels[user] = self.level_with(user, gpus, since, until)

    def level(self, user: str) -> float:
        """The logarithm (base 2) of the decayed GPU-seconds, on a scale that all times share; -inf for none."""
        return self._levels.get(user, -inf)

    def level_with(self, user: str, gpus: float, since: float, until: float) -> float:
        """The level that `user` would have with this use, too."""
        if until <= since or gpus <= 0:
            return self.level(user)
        # The integral of 2^(t / half-life) from since to until, as a logarithm: the powers themselves overflow.
        width = -expm1(-_LN2 * (until - since) / self._half_life_s)
        return _log2_sum(self.level(user), log2(gpus * self._half_life_s / _LN2 * width) + until / self._half_life_s)

    def used(self, user: str, now: float) -> float:
        """Decayed GPU-seconds as they count at `now`."""
        level = self.level(user)
        return 0.0 if level == -inf else float(2 ** (level - now / self._half_life_s))


def _log2_sum(a: float, b: float) -> float:
    """log2(2^a + 2^b)."""
    high, low = max(a, b), min(a, b)
    return high if low == -inf else high + log1p(exp((low - high) * _LN2)) / _LN2

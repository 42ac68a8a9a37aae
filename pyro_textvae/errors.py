"""Words for errors: the nearest known name to a wrong one."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the known name nearest to `name`, or "" when none is near.

    >>> did_you_mean("dem_vea", ["gm_vae", "dem_vae"])
    " (did you mean 'dem_vae'?)"
    """
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""

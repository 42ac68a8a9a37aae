"""Words for errors: the nearest known name to a wrong one."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the known name that begins with `name` or is nearest to it, or "" when none is.

    Case does not count.

    >>> did_you_mean("dem_vea", ["gm_vae", "dem_vae"])
    " (did you mean 'dem_vae'?)"
    >>> did_you_mean("BN-VAE", ["CNN-VAE", "bn-vae (0.6)"])
    " (did you mean 'bn-vae (0.6)'?)"
    """
    given, folded = str(name).casefold(), dict[str, str]()
    for each in known:
        folded.setdefault(each.casefold(), each)
    longer = [each for each in folded if given and each.startswith(given)]
    near = longer or difflib.get_close_matches(given, folded, n=1, cutoff=0.6)
    return f" (did you mean {folded[near[0]]!r}?)" if near else ""

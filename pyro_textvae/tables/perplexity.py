"""The measure of the vMF-VAE paper: perplexity by both bounds, and by the estimator that bounds nothing."""

from collections.abc import Mapping
from typing import Any

from pyro_textvae.run import Run
from pyro_textvae.tables.likelihood import MI, NLL, Likelihood
from pyro_textvae.terms import RELEASED_DRAWS as DRAWS


class Perplexity(Likelihood):
    """What Likelihood measures, as perplexities too; beside them the released estimator's, which is no bound."""

    titles = {
        "perplexity_importance_weighted": "PPL (IW)",
        "perplexity_elbo": "PPL (ELBO)",
        "perplexity_xu2018_released_no_bound": "PPL at the mean of 3, no bound",
        NLL: "NLL (IW)",
        "kl_nats_per_sentence": "KL",
        MI: "MI (aggregate)",
        "active_units": "AU",
        "concentration_mean": "concentration",
    }
    short = ("PPL (IW)", "PPL (ELBO)", "PPL at the mean of 3, no bound", "KL")

    def constants(self) -> Mapping[str, Any]:
        return {**super().constants(), "released_draws": DRAWS}

    def numbers(self, run: Run, samples: int) -> dict[str, float | list[float]]:
        run.evaluate("valid")
        draws = DRAWS if run.vae.prior.code else None
        test = run.evaluate("test", samples=samples, released_draws=draws)
        return {name: test[name] for name in self.titles if name in test}

    def about(self, settings: Mapping[str, Any]) -> str:
        return (
            "Perplexity of a word, `</s>` counted, by the importance-weighted bound "
            f"({settings['samples']} samples), by the ELBO, and by the estimator of the paper's code (but for its KL, "
            f"which here is exact): decoded from the mean of {DRAWS} draws of z and charged the KL of one, it is no "
            "bound on log p(x) in either direction, and stands beside bounds of the same weights to be seen. NLL, KL "
            "and MI are nats a sentence. ± is the standard deviation over seeds."
        )

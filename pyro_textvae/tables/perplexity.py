"""The measure of the vMF-VAE paper: perplexity by both bounds, and by the estimator that bounds nothing."""

from collections.abc import Mapping
from typing import Any

from pyro_textvae.evaluation.proposals import in_words
from pyro_textvae.run import Run
from pyro_textvae.tables.likelihood import MI, NLL, Likelihood
from pyro_textvae.terms import RELEASED_DRAWS as DRAWS


class Perplexity(Likelihood):
    """What Likelihood measures, as perplexities too; beside them the released estimator's, which is no bound."""

    titles = {
        "perplexity_importance_tempered": "PPL (IW)",
        "perplexity_importance_weighted": "PPL (IW of q alone)",
        "perplexity_elbo": "PPL (ELBO)",
        "perplexity_elbo_same_draws": f"PPL (ELBO by {DRAWS} draws)",
        "perplexity_xu2018_released_no_bound": f"PPL at the mean of the {DRAWS}, no bound",
        NLL: "NLL (IW)",
        "kl_nats_per_sentence": "KL",
        MI: "MI (aggregate)",
        "active_units": "AU",
        "concentration_mean": "concentration",
    }
    short = ("PPL (IW)", "PPL (ELBO)", titles["perplexity_xu2018_released_no_bound"], "KL")

    def constants(self) -> Mapping[str, Any]:
        return {**super().constants(), "released_draws": DRAWS}

    def numbers(self, run: Run, samples: int) -> dict[str, float | list[float]]:
        run.evaluate("valid")
        draws = DRAWS if run.vae.prior.code else None
        test = run.evaluate("test", samples=samples, tempered=samples, released_draws=draws)
        return {name: test[name] for name in self.titles if name in test}

    def about(self, settings: Mapping[str, Any]) -> str:
        return (
            "Perplexity of a word, `</s>` counted, by bounds: the importance-weighted one "
            f"({settings['samples']} samples, {in_words(settings['samples'])}), the "
            "same by as many samples of the posterior alone, which is loose where the posterior is surer than p(z|x), "
            f"and the ELBO. Last by the estimator of the paper's code (but for its KL, which here is exact): decoded "
            f"from the mean of {DRAWS} draws of z and charged the KL of one, it is no bound on log p(x) in either "
            "direction; beside it the ELBO by the same draws. NLL, KL and MI are nats a sentence. ± is the standard "
            "deviation over seeds."
        )

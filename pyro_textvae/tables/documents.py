"""The measure of document models: both perplexities by both bounds, what the code costs, and its topics."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pyro_textvae.corpus import Corpus
from pyro_textvae.evaluation import documents
from pyro_textvae.evaluation.collapse import LARGEST_VARIANCE_OF_AN_IDLE_UNIT
from pyro_textvae.evaluation.proposals import PROPOSALS, in_words
from pyro_textvae.run import Run
from pyro_textvae.tables.rows import Fitted, Found, Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CORPUS, PER_DOCUMENT = "perplexity_corpus_elbo", "perplexity_per_document_elbo"
CORPUS_IW, PER_DOCUMENT_IW = "perplexity_corpus_importance_tempered", "perplexity_per_document_importance_tempered"
NPMI = "npmi"

WORDS = 10
"""Of a topic, whose coherence is measured."""


class DocumentPerplexity(Measure):
    """Perplexity over the corpus and per document, KL, active units and the NPMI of topics."""

    titles = {
        CORPUS: "PPL, corpus",
        PER_DOCUMENT: "PPL, per document",
        CORPUS_IW: "PPL, corpus (IW)",
        PER_DOCUMENT_IW: "PPL, per document (IW)",
        "reconstruction_nats_per_sentence": "reconstruction",
        "kl_nats_per_sentence": "KL",
        "active_units": "AU",
        NPMI: "NPMI",
    }
    short = ("PPL, corpus", "PPL, per document", "KL", "NPMI")

    def constants(self) -> Mapping[str, Any]:
        return {
            "variance_of_an_idle_unit": LARGEST_VARIANCE_OF_AN_IDLE_UNIT,
            "words_of_a_topic": WORDS,
            "proposals": PROPOSALS,
        }

    def numbers(self, run: Run, samples: int) -> dict[str, float | list[float]]:
        run.evaluate("valid")
        test = run.evaluate("test", tempered=samples)
        return {
            **{name: test[name] for name in self.titles if name in test},
            NPMI: run.describe_topics(words=WORDS).npmi,
        }

    def about(self, settings: Mapping[str, Any]) -> str:
        return (
            "Perplexity of a word of a test document, `</s>` not counted, by a bound on log p of its words in a row. "
            "Corpus: exp(sum of NLL / sum of words). Per document: exp(mean over documents of NLL / words), in which a "
            "short document counts as much as a long one. The first two columns are by the ELBO at one draw of z, (IW) "
            f"by {settings['samples']} importance samples, {in_words(settings['samples'])}; the unigram's are exact, "
            "LDA's its variational bound given "
            f"its topics. Reconstruction and KL are nats a document; NPMI is the mean over topics, of the {WORDS} "
            "words that each number of the code raises most, by the training documents they share. ± is the standard "
            "deviation over seeds."
        )

    def picture(self, found: Found, groups: Mapping[str, str], about: str) -> "Figure | None":
        return None


def _parts(corpus: Corpus) -> tuple[Any, Any, int]:
    return corpus.split("train"), corpus.split("test"), len(corpus.vocabulary)


def _unigram(corpus: Corpus) -> dict[str, float]:
    found = documents.unigram(*_parts(corpus))
    kinds = {"corpus": (CORPUS, CORPUS_IW), "per_document": (PER_DOCUMENT, PER_DOCUMENT_IW)}
    return {name: found[f"perplexity_{kind}_exact"] for kind, names in kinds.items() for name in names}


def _lda(corpus: Corpus, topics: int) -> dict[str, float]:
    return documents.lda(*_parts(corpus), topics=topics)


def unigram() -> Fitted:
    """The line of the training documents' word frequencies."""
    return Fitted("unigram", "unigram", find=_unigram)


def lda(topics: int, published: Mapping[str, Mapping[str, str]] | None = None) -> Fitted:
    """The line of latent Dirichlet allocation with so many topics."""
    return Fitted(f"LDA {topics}", "lda", published=published or {}, find=partial(_lda, topics=topics))

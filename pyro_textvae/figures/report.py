"""One page on a run, in Markdown: the verdict in words first, then what was trained, what came of it, and pictures."""

import inspect
import json
import re
import shlex
from collections import Counter
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_textvae.corpus import UNK, Corpus, Split, Vocabulary
from pyro_textvae.evaluation import generation
from pyro_textvae.evaluation.codes import Codes, evaluating
from pyro_textvae.evaluation.collapse import MERGED_KL, MOST_SENTENCES, information_of_components
from pyro_textvae.evaluation.generated import how
from pyro_textvae.figures import has_texts
from pyro_textvae.figures.comparison import changed_options, valid_metrics
from pyro_textvae.figures.points import a_part
from pyro_textvae.figures.style import corpus_of, entropy_of, told
from pyro_textvae.priors import WithClasses
from pyro_textvae.recipes import recipes
from pyro_textvae.size import Size

if TYPE_CHECKING:
    from pyro_textvae.run import Run

MEANINGS: dict[str, str] = {
    "nll_elbo_nats_per_sentence": "negative ELBO: an upper bound on the NLL",
    "nll_elbo_standard_error": "its standard error over sentences",
    "nll_elbo_above_entropy_nats_per_sentence": "above the true entropy: 0 is perfect",
    "nll_importance_weighted_nats_per_sentence": "importance-weighted: a tighter bound",
    "nll_importance_tempered_nats_per_sentence": "the same by draws from q(z given x) to the prior: tighter still",
    "reconstruction_nats_per_sentence": "-log p(x given z)",
    "kl_z_nats_per_sentence": "what z costs",
    "kl_c_nats_per_sentence": "what c costs",
    "kl_nats_per_sentence": "what the code costs",
    "kl_floor_nats_per_sentence": "KL that the model holds at least, by construction",
    "perplexity_elbo": "from the ELBO, a token",
    "perplexity_importance_weighted": "from the tighter bound, a token",
    "perplexity_importance_tempered": "from the bound by draws from q(z given x) to the prior",
    "perplexity_corpus_elbo": "from the ELBO, a word: exp(sum of NLL / sum of words)",
    "perplexity_per_document_elbo": "from the ELBO, a word: exp(mean over documents of NLL / words)",
    "perplexity_corpus_importance_weighted": "the same from the tighter bound: exp(sum of NLL / sum of words)",
    "perplexity_per_document_importance_weighted": "the same, exp(mean over documents of NLL / words)",
    "perplexity_corpus_importance_tempered": "the same by draws from q(z given x) to the prior, over the corpus",
    "perplexity_per_document_importance_tempered": "the same by draws from q(z given x) to the prior, per document",
    "mutual_information_aggregate_nats": f"I(x;z) over {MOST_SENTENCES:,} sentences at most; at most ln of these",
    "mutual_information_in_batch_nats": "I(x;z) within batches of like length; at most ln of the batch size",
    "active_units": "dimensions whose posterior mean varies between sentences",
    "latent_dimensions": "of so many",
    "shuffled_z_gap_nats_per_sentence": "what decoding from another sentence's code costs: 0 means z is ignored",
    "dispersion_nats_per_sentence": "what mixing the components costs: 0 means that they coincide",
    "information_c_nats": "I(x;c): what the discrete code tells",
    "entropy_c_nats": "entropy of the discrete code over the split",
    "components_in_use": "exp of that entropy, a variable",
    "components_assigned": "likeliest of a tenth of an even share of sentences or more, a variable",
    "component_spread": "variance of the components' means, summed over dimensions",
    "posterior_spread": "variance of the codes, summed over dimensions",
    "component_pairwise_kl_nats": "KL between two components, on average",
    "component_pairwise_kl_in_use_nats": "the same, weighted by use, of the median variable",
    "variables_apart": f"variables whose components in use are {MERGED_KL} nats apart or more",
    "concentration_mean": "of the posteriors' concentrations: that of sentences that say little is low",
    "concentration_min": "the least of them",
    "concentration_max": "the greatest",
    "reconstruction_xu2018_released_nats_per_sentence": "-log p(x given the mean of several z)",
    "no_bound_xu2018_released_nats_per_sentence": "that and the KL of one z: NO bound; what was published",
    "perplexity_xu2018_released_no_bound": "from that number, a token: NO bound either",
    "xu2018_released_draws": "z's in that mean",
    "perplexity_reverse": "a token of real text, to a language model of generated text: right and varied is low",
    "perplexity_forward": "a token of generated text, to a language model of real text: likely is low, varied or not",
    "perplexity_real": "a token of real text, to that language model: what the reverse perplexity is read against",
    "word_kl_generated_to_train_nats": "KL from the generated words' frequencies to the training text's",
    "word_kl_train_to_generated_nats": "KL from the training words' frequencies to the generated text's",
    "self_bleu": "BLEU of a generated sentence against the others: 100 means that all are alike",
    "self_bleu_train": "the same of as many training sentences",
    "generated_longest_share": "generated sentences as long as any may be, most of which were cut",
}
"""What metrics say, for a reader who has not met them."""

SENTENCES = 5000
"""Of the training split, to find the words of components in: some hundred a component."""

VARIABLES = 5
"""Discrete variables whose components are listed, those that tell most; 20 of them would be a hundred rows."""

WORDS, SAMPLES = 8, 3


OF_ONE_VARIABLE = re.compile(r"_c\d+(_chance)?$")
"""Ends the names of metrics of one discrete variable out of several."""


def markdown(run: "Run") -> str:
    """The report of a run. Pictures are those that stand in its figures/, by relative path; save_all draws them."""
    parts = [f"# {told(run)}", _verdict(run), _trained(run), _metrics(run), _components(run), _samples(run)]
    parts += [_generated(run), _pictures(run), _reproduce(run)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _verdict(run: "Run") -> str:
    if not run.metrics:
        return "The run has not been evaluated yet: `run.evaluate()`."
    verdict = run.verdict
    reasons = "\n".join(f"- {reason}" for reason in verdict.reasons)
    return f"**Verdict: {verdict.state}.**\n\n{reasons}\n\nTo try next: {verdict.advice}."


def _trained(run: "Run") -> str:
    corpus, recipe = corpus_of(run), run.recipe
    splits = ", ".join(f"{count:,} {name}" for name, count in corpus["splits"].items())
    summary = recipes().summary(run.name) if run.name in recipes() else "a recipe of your own"
    rows = run.history
    lines = [
        f"- recipe `{run.name}`: {summary}",
        f"- options: {_settings(recipe['options']) or 'none'}",
        f"- sizes: {_settings(recipe['size'])}",
        f"- training: {_settings(recipe['training'])}",
        f"- seed {recipe['seed']}",
        f"- corpus `{corpus['name']}` ({corpus['source']}): {splits} sentences, {corpus['vocabulary_size']:,} words "
        f"in the vocabulary, checksum {corpus['sha256'][:12]}",
    ]
    if (entropy := entropy_of(run)) is not None:
        lines.append(f"- true entropy of the corpus: {entropy:.3f} nats a sentence, the floor of every NLL")
    if rows:
        seconds = sum(row["seconds"] for row in rows)
        speed = sum(row["tokens_per_second"] * row["seconds"] for row in rows) / max(seconds, 1e-9)
        lines.append(f"- {len(rows)} epochs, {rows[-1]['step']:,} updates, {_time(seconds)}, {speed:,.0f} tokens/s")
    lines.append("- with " + ", ".join(f"{name} {version}" for name, version in recipe.get("versions", {}).items()))
    return "## What was trained\n\n" + "\n".join(lines)


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _metrics(run: "Run") -> str:
    metrics = run.metrics
    if not metrics:
        return ""
    names = list(dict.fromkeys(name for each in metrics.values() for name in each))
    single = [name for name in names if OF_ONE_VARIABLE.search(name)]
    names = [name for name in names if name not in single]
    lines = [
        "| metric | " + " | ".join(metrics) + " | what it says |",
        "|---|" + "---:|" * len(metrics) + "---|",
    ]
    for name in names:
        cells = [f"{each[name]:,.3f}" if name in each else "-" for each in metrics.values()]
        lines.append(f"| `{name}` | " + " | ".join(cells) + f" | {_meaning(name)} |")
    rest = "\n\nThe agreement of each discrete variable with each label is in evaluation.json." if single else ""
    return "## Metrics of the best weights\n\n" + "\n".join(lines) + rest


def _generated(run: "Run") -> str:
    if not (run.directory / "generation.json").exists():
        return ""
    found = run.generation
    rows = [f"| `{name}` | {value:,.3f} | {_meaning(name)} |" for name, value in found.metrics.items()]
    lines = [*how(found.settings), "", "| metric | | what it says |", "|---|---:|---|", *rows]
    return "## Generated text beside real text\n\n" + "\n".join(lines)


def _meaning(name: str) -> str:
    if name.startswith("distinct_"):
        n = name.split("_")[1]
        what = "as many training sentences" if name.endswith("_train") else "the generated text"
        return f"share of different {n}-grams among all of {what}"
    if name.startswith("reconstruction_bleu_"):
        return "0 to 100, unsmoothed: 0 where not one run of four words is right, as happens on few sentences"
    if name.startswith(("homogeneity_", "drawn_homogeneity_")):
        if name.endswith("_chance"):
            return "of shuffled labels: the floor to read it against"
        of = "drawn from q(c given x)" if name.startswith("drawn_") else "the likeliest"
        return f"1: each code has one label; a sentence's code is {of}"
    if name.startswith("adjusted_mutual_information_"):
        return "0 by chance, 1: code and label are the same"
    return MEANINGS.get(name, "")


def over_represented(inside: Counter[int], outside: Counter[int], count: int) -> list[int]:
    """The `count` words that most surely are more frequent inside than outside, by log-odds with a Dirichlet prior.

    The prior is the words' overall frequency, worth one word per distinct word; log-odds are divided by their standard
    deviation, so that neither rare words nor frequent ones win by being so (Monroe et al. 2008). Words whose z-score is
    below 2 are left out: where components coincide, there are no words to tell.
    """
    total = inside + outside
    n, n_in, n_out, kinds = total.total(), inside.total(), outside.total(), len(total)
    if not n_in or not n_out:
        return []
    scores: dict[int, float] = {}
    for word, both in total.items():
        prior = kinds * both / n
        a, b = inside[word] + prior, outside[word] + prior
        log_odds = np.log(a / (n_in + kinds - a)) - np.log(b / (n_out + kinds - b))
        scores[word] = float(log_odds / np.sqrt(1 / a + 1 / b))
    best = sorted(scores, key=lambda word: (-scores[word], word))[:count]
    return [word for word in best if scores[word] > 2]


def _components(run: "Run") -> str:
    prior = run.vae.prior
    if not isinstance(prior, WithClasses):
        return ""
    split: Split | None = a_part(run.corpus.splits["train"], SENTENCES) if has_texts(run) else None
    if split is None:
        return ""
    with evaluating(run.vae, 0):
        codes = Codes.read(run.vae, split)
        assert codes.assignment is not None
        assignment = codes.assignment[codes.index.argsort()].cpu()
    information = [information_of_components(assignment[:, m : m + 1])[0] for m in range(prior.variables)]
    order = sorted(range(prior.variables), key=lambda m: -information[m])[:VARIABLES]
    code = assignment.argmax(-1).numpy()  # (N, M)
    text = "## Components\n\nShares and words are those of "
    text += f"{len(split):,} training sentences, each given to its likeliest component; words are those that are "
    text += "over-represented in it (log-odds); samples are drawn from the component. The verdict's "
    text += "components in use count probabilities: one that is never the likeliest may still have its share of them."
    if prior.variables > VARIABLES:
        text += f" Shown are the {VARIABLES} of {prior.variables} discrete variables that tell most."
    for m in order:
        heading = f"### Variable {m}: tells {information[m]:.2f} nats\n\n" if prior.variables > 1 else ""
        text += f"\n\n{heading}{_table(run, prior, split, code[:, m], m)}"
    return text


def _table(run: "Run", prior: WithClasses, split: Split, code: np.ndarray, variable: int) -> str:
    column = _found_best(run, list(split.labels))
    names = run.corpus.label_names[column] if column is not None else []
    lines = ["| component | share |" + (f" most frequent {column} |" if column else "") + " its words | samples |"]
    lines.append("|---:|---:|" + "---|" * (3 if column else 2))
    words, lengths = split.gather(np.arange(len(split)))
    owner = np.repeat(code, lengths)
    known = words != UNK
    for k in range(prior.components):
        mine = code == k
        inside, outside = (Counter(words[known & where].tolist()) for where in (owner == k, owner != k))
        typical = (
            ", ".join(run.vocabulary.words[i] for i in over_represented(inside, outside, WORDS)) or "none stand out"
        )
        cells = [str(k), f"{mine.mean():.1%}"]
        if column is not None:
            present = split.labels[column][mine]
            present = present[present >= 0]
            top = Counter(present.tolist()).most_common(1)
            cells.append(f"{names[top[0][0]]} ({top[0][1] / len(present):.0%})" if top else "-")
        cells += [
            _escaped(typical),
            "<br>".join(map(_escaped, _drawn_from(run, prior, variable, k))),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _found_best(run: "Run", columns: list[str]) -> str | None:
    """The label column that the code agrees with most, above chance; the first where this was not measured."""
    measured = valid_metrics(run)
    above = {
        column: measured.get(f"homogeneity_{column}", 0.0) - measured.get(f"homogeneity_{column}_chance", 0.0)
        for column in columns
    }
    return max(columns, key=lambda column: above[column], default=None)


def _drawn_from(run: "Run", prior: WithClasses, variable: int, component: int) -> list[str]:
    """Sentences from one component of one variable; the others are drawn from their prior."""
    with evaluating(run.vae, component):
        codes = run.vae.decoder.condition_freely(prior.sample(SAMPLES, component, variable))
        return _texts(run.vocabulary, generation.sample(run.vae.decoder, codes, max_length=30))


def _texts(vocabulary: Vocabulary, sentences: list[list[int]]) -> list[str]:
    return [vocabulary.decode(ids) or "(empty)" for ids in sentences]


def _samples(run: "Run") -> str:
    if run.vae.decoder.writes_freely:
        texts = run.sample(5)
        text = "## Samples\n\n" + "\n".join(f"- {_escaped(each) or '(empty)'}" for each in texts)
    else:
        text = f"## Samples\n\nNone: it writes only what it is told the {run.vae.decoder.told[-1]} of."
    if not run.vae.prior.code or not has_texts(run):
        return text
    split = run.corpus.splits["valid"]
    some = [i for i in range(min(5, len(split))) if (split.ids(i) != UNK).any()]
    if not some:
        return text
    originals, labels = split.texts(run.vocabulary, some), None
    column = run.recipe["options"].get("label")
    if column is not None:
        labels = [run.corpus.label_names[column][split.labels[column][i]] for i in some]
    lines = [
        f"| {_escaped(before)} | {_escaped(after) or '(empty)'} |"
        for before, after in zip(originals, run.reconstruct(originals, labels=labels), strict=True)
    ]
    return (
        text
        + "\n\n## Reconstructions\n\n| validation sentence | decoded from its code |\n|---|---|\n"
        + "\n".join(lines)
    )


def _escaped(text: str) -> str:
    """Text that neither ends a table's cell nor becomes mark-up: <unk> would be taken for a tag."""
    for character in "\\|*_`":
        text = text.replace(character, f"\\{character}")
    return text.replace("<", "&lt;")


CAPTIONS: dict[str, str] = {
    "latent_space": "Codes of the validation sentences and the components' means",
    "sphere": "The codes on the sphere",
    "training_curves": "Training",
    "dispersion": "Whether the components stay apart",
    "through_training": "The latent space as training went on",
    "variables": "Each discrete variable",
}


def _pictures(run: "Run") -> str:
    there = [name for name in CAPTIONS if (run.directory / "figures" / f"{name}.png").exists()]
    if not there:
        return ""
    return "## Pictures\n\n" + "\n\n".join(f"![{CAPTIONS[name]}](figures/{name}.png)" for name in there)


def _reproduce(run: "Run") -> str:
    texts = corpus_of(run)["data"] is None
    text = "## How to reproduce\n\n"
    text += "`texts` stands for the texts that were in memory.\n\n" if texts else ""
    text += f"```python\nimport pyro_textvae\n\n{call(run)}\n```"
    # The command line knows the recipes of the package alone.
    built_in = run.name in recipes() and recipes()[run.name].__module__ == recipes.__module__
    text += f"\n\nor\n\n```\n{command(run)}\n```" if built_in and not texts else ""
    text += "" if built_in else f"\n\nImport the file that defines `{run.name}` first."
    return text + (
        "\n\nThe same versions on the same kind of processor give the same weights. "
        f"`pyro_textvae.load({run.directory.name!r})` opens this run, from the folder in which its directory lies."
    )


def call(run: "Run") -> str:
    """The call of train() that makes this run again."""
    data = corpus_of(run)["data"]
    lines = [f"    {run.name!r},", f"    {data!r}," if data is not None else "    texts,"]
    lines += [f"    {name}={value!r}," for name, value in _given(run).items()]
    return "run = pyro_textvae.train(\n" + "\n".join(lines) + "\n)"


def command(run: "Run") -> str:
    """The same on the command line. Raises ValueError for texts in memory, which have no name there."""
    data = corpus_of(run)["data"]
    if data is None:
        raise ValueError(f"{run.directory} was trained on texts in memory: there is a call of it, but no command")
    given = _given(run)
    parts = [f"pyro-textvae train {run.name} --data {shlex.quote(data)}"]
    parts += [f"--{name} {given.pop(name)}" for name in ("seed", "epochs")]
    parts += ["--set " + shlex.quote(f"{name}={_as_text(value)}") for name, value in given.items()]
    return " \\\n    ".join(parts)


def _as_text(value: Any) -> str:
    """A value as --set takes it; strings that would be read as something else, such as "none", in quotes."""
    quoted = not isinstance(value, str) or value.lower() in ("none", "null", "true", "false")
    return json.dumps(value) if quoted else value


def _given(run: "Run") -> dict[str, Any]:
    """Options of recipe, sizes and corpus that are not defaults, and all of training's, so that it holds when those
    defaults change."""
    corpus, recipe = corpus_of(run), run.recipe
    defaults = {field.name: field.default for field in fields(Size)}
    opened = inspect.signature(Corpus.open).parameters
    given: dict[str, Any] = {"seed": recipe["seed"]}
    given |= changed_options(run)
    given |= {name: value for name, value in recipe["size"].items() if value != defaults.get(name)}
    # These two change nothing that comes out.
    given |= {
        name: value for name, value in recipe["training"].items() if name not in ("threads", "checkpoint_seconds")
    }
    given |= {
        name: value
        for name, value in corpus["options"].items()
        if name != "seed" and name in opened and value != opened[name].default
    }
    return given

"""The embedded corpus: its sentences are deterministic, and what is said of their distribution is exact."""

import math
import random
from collections import Counter, defaultdict
from functools import cache
from itertools import product

import pytest

from pyro_textvae.toy import VARIANTS, generate, language, lexicon, log_probability
from pyro_textvae.toy.grammar import Echo, Frame, Grammar, Slot, frame
from pyro_textvae.toy.variants import FACTORS, Acts, Modes, Toy

variants = pytest.mark.parametrize("variant", VARIANTS)
whole = cache(generate)  # for tests that only read a corpus: the largest takes half a second to draw

# Each variant's own grammar, small enough to be enumerated.
REDUCED = {
    "toy": Toy(topics=3, agents=2, verbs=2, objects=3, adjectives=2, places=2, tools=1),
    "toy-acts": Acts(topics=2, words=2),
    "toy-modes": Modes(factors=4, values=3),
}
reduced = pytest.mark.parametrize("settings", REDUCED.values(), ids=REDUCED)


def paths(row: Frame, position: int):
    """The (slot, phrase) that can give the next word after `position` slots, and None where the end can follow."""
    if position == len(row.slots):
        yield None
        return
    for choice, phrase in enumerate(row.slot(position).phrases):
        if phrase:
            yield position, choice
        else:
            yield from paths(row, position + 1)


def is_ambiguous(grammar: Grammar) -> bool:
    """Whether a sentence may have two derivations, by walking two derivations of the same words side by side.

    A state is (frame, slot, phrase, word just said); None for a frame that has ended. An echo counts as a
    choice of its own: that only adds sentences, so a grammar found unambiguous is.
    """

    def word(state):
        number, position, choice, index = state
        return grammar.frames[number].slot(position).phrases[choice][index]

    @cache
    def after(state):
        number, position, choice, index = state
        row = grammar.frames[number]
        if index + 1 < len(row.slot(position).phrases[choice]):
            return [(number, position, choice, index + 1)]
        return [step and (number, *step, 0) for step in paths(row, position + 1)]

    def pairs(first, second):
        by_word = defaultdict(list)
        for state in second:
            by_word[state and word(state)].append(state)
        return {(one, other) for one in first for other in by_word[one and word(one)]}

    starts = [(number, *step, 0) for number, row in enumerate(grammar.frames) for step in paths(row, 0) if step]
    seen: set = set()
    # A pair of equal states is a single derivation so far; a pair of different ones has parted for good.
    # (one, other) and (other, one) part and meet alike: one of them is enough.
    waiting = [(one, other, one != other) for one, other in pairs(starts, starts) if one <= other]
    while waiting:
        one, other, parted = waiting.pop()
        if (one, other, parted) in seen:
            continue
        seen.add((one, other, parted))
        if parted and one == other:  # they met again: both can end alike
            return True
        if one is None:
            continue
        waiting += [(a, b, parted or a != b) for a, b in pairs(after(one), after(other))]
    return False


def distribution_of_lengths(row: Frame) -> dict[int, float]:
    """Exact p(number of words) of a frame."""
    lengths = {0: 1.0}
    for position, slot in enumerate(row.slots):
        if isinstance(slot, Echo):
            assert len({len(phrase) for phrase in row.slot(position).phrases}) == 1
            choices = [(len(row.slot(position).phrases[0]), 1.0)]
        else:
            choices = [(len(phrase), p) for phrase, p in zip(slot.phrases, slot.probabilities, strict=True)]
        longer: dict[int, float] = defaultdict(float)
        for (length, p), (more, q) in product(lengths.items(), choices):
            longer[length + more] += p * q
        lengths = dict(longer)
    return lengths


def information_in_lengths(grammar: Grammar, column: str) -> float:
    """Exact mutual information, in nats, of a label and the number of words."""
    joint: dict[tuple[str, int], float] = defaultdict(float)
    for row in grammar.frames:
        for length, p in distribution_of_lengths(row).items():
            joint[row.labels[column], length] += row.probability * p
    labels: dict[str, float] = defaultdict(float)
    lengths: dict[int, float] = defaultdict(float)
    for (label, length), p in joint.items():
        labels[label] += p
        lengths[length] += p
    return math.fsum(p * math.log(p / labels[label] / lengths[length]) for (label, length), p in joint.items())


@variants
def test_the_same_seed_gives_the_same_corpus_and_another_seed_another(variant):
    assert generate(variant, 200, seed=3) == generate(variant, 200, seed=3)
    drawn = [tuple(generate(variant, 200, seed=seed).texts) for seed in (-1, 0, 1)]
    assert len(set(drawn)) == 3


@variants
def test_a_longer_corpus_begins_with_the_shorter_one_of_its_seed(variant):
    assert generate(variant, 300, seed=1).texts[:100] == generate(variant, 100, seed=1).texts


def test_the_first_sentences_never_change():
    # Published numbers on the embedded corpus name a variant and a seed: these must go on meaning the same text.
    first = {variant: generate(variant, 1).texts[0] for variant in VARIANTS}
    assert first == {
        "toy": "defenders defend the clumsy corner in the dugout with a sprint",
        "toy-acts": "it was kind of you to shelter the elephant with a rifle",
        "toy-modes": "elena brings seven blue robes to lima some days later and "
        "elena sells the seven blue robes in lima",
    }


@variants
def test_a_corpus_has_the_sentences_asked_for_each_with_all_its_labels(variant):
    by_default = {"toy": 4000, "toy-acts": 30_000, "toy-modes": 6000}[variant]
    for corpus, expected in ((whole(variant), by_default), (generate(variant, 7), 7)):
        assert len(corpus.texts) == expected
        assert all(len(values) == expected for values in corpus.labels.values())
    assert "topic" in corpus.labels
    assert ("act" in corpus.labels) == (variant == "toy-acts")


@variants
def test_every_sentence_that_the_grammar_has_is_4_to_20_words_long(variant):
    possible = {length for row in language(variant).frames for length in distribution_of_lengths(row)}
    assert min(possible) >= 4 and max(possible) <= 20
    drawn = {len(text.split()) for text in whole(variant).texts}
    assert drawn <= possible


@variants
def test_every_word_is_in_the_lexicon_in_lower_case_and_sentences_have_single_spaces(variant):
    corpus = whole(variant)
    assert {word for text in corpus.texts for word in text.split()} <= language(variant).lexicon
    assert all(text == " ".join(text.split()) for text in corpus.texts)
    assert all(word.isascii() and word.isalpha() and word.islower() for word in language(variant).lexicon)


def test_the_largest_corpus_has_thousands_of_words_and_tens_of_thousands_of_sentences():
    corpus = whole("toy-acts")
    assert len({word for text in corpus.texts for word in text.split()}) >= 2000
    assert len(set(corpus.texts)) >= 25_000


def test_the_first_grammar_has_some_hundred_words_and_each_has_tens_of_thousands_of_sentences():
    assert 250 <= len(language("toy").lexicon) <= 600
    assert all(language(variant).size >= 50_000 for variant in VARIANTS)


@variants
def test_no_word_stands_twice_in_a_list_of_the_lexicon(variant):
    for row in language(variant).frames:
        for slot in row.own:
            assert len(set(slot.phrases)) == len(slot.phrases)


def test_no_content_word_belongs_to_two_topics():
    glue = {
        word
        for words in lexicon.TOPICS.values()
        for phrase in words.places + words.tools
        for word in phrase.split()[:-1]
    }
    topics_of = defaultdict(set)
    for topic, words in lexicon.TOPICS.items():
        for phrase in (*words.agents, *words.verbs, *words.objects, *words.adjectives, *words.places, *words.tools):
            for word in set(phrase.split()) - (glue if len(phrase.split()) > 1 else set()):
                topics_of[word].add(topic)
    assert {word: topics for word, topics in topics_of.items() if len(topics) > 1} == {}


def test_no_sentence_is_shared_by_two_topics_and_the_first_word_already_tells_which():
    first_words = [set(row.slot(0).phrases) for row in language("toy").frames]
    assert all(() not in words for words in first_words)
    assert len(set().union(*first_words)) == sum(len(words) for words in first_words)


@variants
def test_labels_are_balanced(variant):
    corpus = whole(variant)
    for values in corpus.labels.values():
        counts = Counter(values)
        mean = len(values) / len(counts)
        # Uniform draws: five standard deviations of a binomial.
        assert all(abs(count - mean) < 5 * math.sqrt(mean) for count in counts.values())


def test_topic_and_act_are_planted_independently():
    grammar = language("toy-acts")
    assert grammar.label_entropy("topic", "act") == pytest.approx(math.log(20) + math.log(5), rel=1e-12)
    corpus = whole("toy-acts")
    assert len(set(zip(corpus.labels["topic"], corpus.labels["act"], strict=True))) == 100


@pytest.mark.parametrize(("variant", "nats"), [("toy", 1e-12), ("toy-acts", 0.01)])
def test_the_number_of_words_says_next_to_nothing_of_the_topic(variant, nats):
    assert information_in_lengths(language(variant), "topic") < nats


@variants
def test_no_sentence_of_the_full_grammar_has_two_derivations(variant):
    assert not is_ambiguous(language(variant))


def test_the_search_for_two_derivations_finds_them():
    slots = {"a": Slot.of(["x", "x y"]), "b": Slot.of(["y"]), "c": Slot.of(["y z", "z"]), "d": Slot.of(["x", "w"])}
    for template, ambiguous in {
        "{a} {c}": True,
        "{a} {b?}": True,
        "{a} {b}": False,
        "{b?} {b?}": True,
        "{b?} {a} {c}": True,
        "{a} {d}": False,
        "{b?} {a} {=a}": False,
    }.items():
        assert is_ambiguous(Grammar([frame(template, slots, {})])) == ambiguous, template
    assert is_ambiguous(Grammar([frame("{a} {b}", slots, {}), frame("x {b}", slots, {})]))
    assert not is_ambiguous(Grammar([frame("{a} {b}", slots, {}), frame("w {b}", slots, {})]))


@reduced
def test_entropy_size_and_length_equal_those_by_enumeration(settings):
    grammar = settings.grammar()
    derivations = list(grammar.enumerate())
    assert len({text for text, _, _ in derivations}) == len(derivations) == grammar.size
    assert math.fsum(p for *_, p in derivations) == pytest.approx(1.0, abs=1e-12)
    assert grammar.entropy == pytest.approx(-math.fsum(p * math.log(p) for *_, p in derivations), abs=1e-10)
    assert grammar.words_per_sentence == pytest.approx(
        math.fsum(p * len(x.split()) for x, _, p in derivations), abs=1e-10
    )


@reduced
def test_log_probability_equals_that_by_enumeration(settings):
    grammar = settings.grammar()
    for text, _, p in random.Random(0).sample(list(grammar.enumerate()), 200):
        assert grammar.log_probability(text) == pytest.approx(math.log(p), abs=1e-12)


@reduced
def test_entropy_given_labels_equals_that_of_each_labels_own_sentences(settings):
    grammar = settings.grammar()
    for columns in [(column,) for column in grammar.columns] + [grammar.columns]:
        of: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for _, labels, p in grammar.enumerate():
            of[tuple(labels[column] for column in columns)].append(p)
        mass = {value: math.fsum(of[value]) for value in of}
        conditional = -math.fsum(p * math.log(p / mass[value]) for value in of for p in of[value])
        assert grammar.entropy - grammar.label_entropy(*columns) == pytest.approx(conditional, abs=1e-10)


@variants
def test_mean_log_probability_of_a_sample_converges_to_the_entropy(variant):
    corpus = generate(variant, 4000, seed=5)
    surprise = [-log_probability(text, variant) for text in corpus.texts]
    mean = math.fsum(surprise) / len(surprise)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in surprise) / len(surprise))
    assert abs(mean - corpus.entropy["nats_per_sentence"]) < 4 * deviation / math.sqrt(len(surprise)) + 1e-9


@variants
def test_labels_tell_their_entropy_of_the_sentence(variant):
    entropy = generate(variant, 1).entropy
    values = {"toy": 8, "toy-acts": 20, "toy-modes": 6}[variant]
    told = entropy["nats_per_sentence"] - entropy["nats_per_sentence_given_topic"]
    assert told == pytest.approx(math.log(values), abs=1e-12)
    mean_tokens = entropy["nats_per_sentence"] / entropy["nats_per_token"]
    assert mean_tokens == pytest.approx(language(variant).words_per_sentence + 1, rel=1e-12)


@variants
def test_what_the_grammar_cannot_say_has_log_probability_minus_infinity(variant):
    for text in ("", "soup", "cooks stir the wound", generate(variant, 1).texts[0] + " soup", "<unk> stir the soup"):
        assert log_probability(text, variant) == -math.inf


def test_log_probability_sums_over_the_derivations_of_an_ambiguous_sentence():
    slots = {"a": Slot.of(["x", "x y"]), "c": Slot.of(["y z", "z", "w"]), "b": Slot.of(["z"])}
    grammar = Grammar([frame("{a} {c} {b?}", slots, {}, probability=3.0), frame("x y {b}", slots, {})])
    total: dict[str, float] = defaultdict(float)
    for text, _, p in grammar.enumerate():
        total[text] += p
    assert len(total) < grammar.size
    for text, p in total.items():
        assert grammar.log_probability(text) == pytest.approx(math.log(p), abs=1e-12)


@pytest.mark.parametrize("template", ["{a?} {b}", "{a?} {=a} {b}", "{a?} {=a}"])
def test_log_probability_knows_that_the_first_words_may_be_left_out(template):
    slots = {"a": Slot.of(["x", "x y"]), "b": Slot.of(["z", "w"])}
    grammar = Grammar([frame(template, slots, {}), frame("w {b}", slots, {})])
    for text, _, p in grammar.enumerate():
        assert grammar.log_probability(text) == pytest.approx(math.log(p), abs=1e-12)


def test_a_factor_of_the_modes_variant_is_said_early_and_again_after_the_interlude():
    corpus = generate("toy-modes", 500)
    factors = {factor.name: factor for factor in FACTORS}
    for column, values in corpus.labels.items():
        words = dict(zip(factors[column].labels or factors[column].words, factors[column].words, strict=True))
        for text, value in zip(corpus.texts, values, strict=True):
            places = [index for index, word in enumerate(text.split()) if word == words[value]]
            assert len(places) == 2 and places[1] - places[0] >= 8


@pytest.mark.parametrize("factors", range(2, 7))
def test_the_modes_variant_has_as_many_independent_factors_as_asked_for(factors):
    grammar = Modes(factors=factors, values=4, interlude=(1, 2)).grammar()
    assert len(grammar.columns) == factors
    assert grammar.label_entropy(*grammar.columns) == pytest.approx(factors * math.log(4), rel=1e-12)


def test_an_unknown_variant_names_the_nearest_and_the_known_ones():
    for ask in (generate, language, lambda variant: log_probability("cooks stir the soup", variant)):
        with pytest.raises(ValueError, match=r"'toy-act' \(did you mean 'toy-acts'\?\).*toy, toy-acts, toy-modes"):
            ask("toy-act")


@pytest.mark.parametrize("sentences", [0, -5])
def test_fewer_than_one_sentence_is_refused(sentences):
    with pytest.raises(ValueError, match=f"'sentences' is {sentences}, but a corpus needs at least 1"):
        generate("toy", sentences)


def test_a_misspelt_template_is_refused_with_the_item_that_is_wrong():
    with pytest.raises(ValueError, match=r"'\{agents!\}'"):
        frame("{agents!} sleep", {}, {})


@variants
def test_the_description_says_counts_labels_and_entropy(variant):
    corpus = generate(variant, 100)
    text = corpus.describe()
    assert "100 sentences" in text and f"{corpus.language_size:,}" in text and f"{variant}:" in text
    assert all(f"label {column}:" in text for column in corpus.labels)
    assert f"entropy nats_per_sentence: {corpus.entropy['nats_per_sentence']:.4f}" in text

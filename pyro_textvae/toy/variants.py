"""The three grammars of the embedded corpus. Each one's sizes stand in one dataclass, to be changed in one place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pyro_textvae.toy import lexicon
from pyro_textvae.toy.grammar import Frame, Grammar, Slot, frame


@dataclass(frozen=True)
class Toy:
    """One frame, many topics: the words say the topic from the first token on. Sizes are words per topic."""

    sentences: int = 4000
    topics: int = 8
    agents: int = 6
    verbs: int = 6
    objects: int = 8
    adjectives: int = 6
    places: int = 5
    tools: int = 5

    # A code follows what is cheapest to read. So the frame opens with a content word, which tells the topic, and
    # an optional slot is mostly filled: filled half of the time, a dispersed mixture's components told how many
    # words a sentence has (homogeneity 0.56) and not its topic (0.06); at 0.9, 0.16 and 0.56.
    optional: float = 0.9
    template: str = "{agents} {verb} the {adjective?} {object} {place?} {tool?}"

    def grammar(self) -> Grammar:
        frames = []
        for name, words in list(lexicon.TOPICS.items())[: self.topics]:
            slots = {
                "agents": Slot.of(words.agents[: self.agents]),
                "verb": Slot.of(words.verbs[: self.verbs]),
                "object": Slot.of(words.objects[: self.objects]),
                "adjective": Slot.of(words.adjectives[: self.adjectives]),
                "place": Slot.of(words.places[: self.places]),
                "tool": Slot.of(words.tools[: self.tools]),
            }
            frames.append(frame(self.template, slots, {"topic": name}, optional=self.optional))
        return Grammar(frames)


ACTS: Mapping[str, tuple[str, ...]] = {
    "inform": (
        "{agents} {adverb?} {verb} the {adjective?} {object} {place?} {time?} {reason?}",
        "the {agents} say that the {object} is too {adjective}",
        "it is {certainty} that {agents} {verb} the {object} {tool?} {time?}",
        "most {agents} prefer the {adjective} {object} {place?}",
        "yesterday we saw the {agents} {verb} the {object} {tool?}",
    ),
    "question": (
        "do the {agents} {adverb?} {verb} the {adjective?} {object} {place?} {time?}",
        "{question} should {agents} {verb} the {object} {tool?}",
        "who wants to {verb} the {adjective?} {object} {place?}",
        "is the {object} really {adjective}",
        "which {object} did the {agents} {verb} {time?}",
    ),
    "directive": (
        "please {verb} the {adjective?} {object} {place?} {deadline?} {reason?}",
        "you must {adverb?} {verb} the {object} {tool?} {deadline?}",
        "never {verb} the {adjective?} {object} {tool?}",
        "tell the {agents} to {verb} the {object} {deadline?}",
        "could you {verb} the {object} for the {agents} {deadline?}",
    ),
    "commissive": (
        "i will {adverb?} {verb} the {adjective?} {object} {place?} {deadline?}",
        "we promise the {agents} to {verb} the {object} {tool?} {deadline?}",
        "let me {verb} the {object} {place?} {deadline?} {reason?}",
        "you have my word that the {agents} will {verb} the {adjective?} {object}",
        "if the {agents} agree we shall {verb} the {object} {deadline?}",
    ),
    "thanks": (
        "thank you for the {adjective?} {object} {place?}",
        "many thanks to the {agents} who {verb} the {object} {time?} {reason?}",
        "it was kind of you to {verb} the {adjective?} {object} {tool?}",
        "our {agents} deserve praise for the {adjective} {object}",
        "how nice that the {agents} {verb} the {object} {place?} {time?}",
    ),
}


@dataclass(frozen=True)
class Acts:
    """Five speech acts of five frames each, times twenty topics, over the whole lexicon."""

    sentences: int = 30_000
    topics: int = 20
    words: int = 24  # of each kind and topic at most: the longest list has 24
    optional: float = 0.5
    zipf: bool = True  # so that a language model has frequencies to learn

    def grammar(self) -> Grammar:
        def slot(phrases: tuple[str, ...]) -> Slot:
            return Slot.of(phrases[: self.words], zipf=self.zipf)

        shared = {
            "adverb": slot(lexicon.ADVERBS),
            "time": slot(lexicon.TIMES),
            "deadline": slot(lexicon.DEADLINES),
            "reason": slot(lexicon.REASONS),
            "certainty": slot(lexicon.CERTAINTIES),
            "question": slot(lexicon.QUESTION_WORDS),
        }
        frames: list[Frame] = []
        for topic, words in list(lexicon.TOPICS.items())[: self.topics]:
            slots = shared | {
                "agents": slot(words.agents),
                "verb": slot(words.verbs),
                "object": slot(words.objects),
                "adjective": slot(words.adjectives),
                "place": slot(words.places),
                "tool": slot(words.tools),
            }
            for act, templates in ACTS.items():
                for number, template in enumerate(templates, start=1):
                    labels = {"topic": topic, "act": act, "frame": f"{act}-{number}"}
                    frames.append(frame(template, slots, labels, optional=self.optional))
        return Grammar(frames)


@dataclass(frozen=True)
class Factor:
    """One discrete factor: the template of its first and of its second mention, its words and their labels."""

    name: str
    first: str
    again: str
    words: tuple[str, ...]
    labels: tuple[str, ...] = ()


# In the order in which they are added as `Modes.factors` grows; `_ORDER` is their order in a sentence.
FACTORS = (
    Factor("name", "{name} brings", "{=name} sells the", lexicon.NAMES),
    Factor("topic", "{topic}", "{=topic}", tuple(lexicon.GOODS.values()), tuple(lexicon.GOODS)),
    Factor("place", "to {place}", "in {=place}", lexicon.CITIES),
    Factor("colour", "{colour}", "{=colour}", lexicon.COLOURS),
    Factor("number", "{number}", "{=number}", lexicon.NUMBERS),
    Factor("day", "on {day}", "by {=day}", lexicon.DAYS),
)
_ORDER = ("name", "number", "colour", "topic", "place", "day")


@dataclass(frozen=True)
class Modes:
    """Independent factors, each said early and said again after an interlude.

    A recurrent decoder without z has to carry all of them over the interlude, so z carries them; and as none
    dominates, no clustering into few components is much better than another. `factors` is 2 to 6, `values` at
    most 12 a factor (10 topics, 7 days), `interlude` the allowed numbers of words in between, each 1 to 5: a
    longer interlude is harder without z.
    """

    sentences: int = 6000
    factors: int = 5
    values: int = 6
    interlude: tuple[int, ...] = (2, 3, 4)

    def grammar(self) -> Grammar:
        chosen = {factor.name: factor for factor in FACTORS[: self.factors]}
        slots = {
            name: Slot.of(factor.words[: self.values], column=name, values=factor.labels[: self.values])
            for name, factor in chosen.items()
        }
        slots["interlude"] = Slot.of([phrase for length in self.interlude for phrase in lexicon.INTERLUDES[length]])
        order = [chosen[name] for name in _ORDER if name in chosen]
        first = " ".join(factor.first for factor in order)
        again = " ".join(factor.again for factor in order)
        return Grammar([frame(f"{first} {{interlude}} and {again}", slots, {})])


@dataclass(frozen=True)
class Variant:
    """A grammar to be built, its default number of sentences, and a line that says what it is for."""

    description: str
    settings: Toy | Acts | Modes

    @property
    def grammar(self) -> Callable[[], Grammar]:
        return self.settings.grammar


KNOWN: dict[str, Variant] = {
    "toy": Variant("one sentence frame, eight topics: the first run", Toy()),
    "toy-acts": Variant("five speech acts times twenty topics: which factor wins?", Acts()),
    "toy-modes": Variant("five factors, each said twice: modes collapse while z stays informative", Modes()),
}

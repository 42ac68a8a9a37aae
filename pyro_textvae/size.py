"""The sizes and shapes that the parts of one text VAE share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

CELLS = ("lstm", "gru", None)
INITIALISATIONS = ("torch", "he2019", "kim2018")
Z_ENTERS = ("state", "steps", "both")
OF_ORDER = ("embedding", "cell", "bidirectional", "z_enters", "tied", "word_dropout")
"""What of a Size means nothing to a model of bags of words."""


@dataclass(frozen=True)
class Size:
    """What every part of a composition has to agree on.

    vocabulary      V, with the four special tokens
    embedding       width of the word embeddings (encoder and decoder each have their own)
    hidden          H, width of the recurrent state, or channels of a CNN
    latent          D, width of z; for mixtures, of each of the M variables' z; where z is discrete, how many
                    categorical variables it has
    layers          recurrent layers of encoder and of decoder
    encoder_layers  those of the encoder, where they are not as many as the decoder's; None: as many
    cell            "lstm" or "gru"; None: a GRU (Shi et al. 2020), but for lstm_lm, cnn_vae and the NVRNN's recipes
                    (Xu & Durrett 2018), which have LSTMs
    bidirectional   whether the encoder also reads backwards
    z_enters        the decoder sees z in its initial "state", at its "steps", or at "both" (a CNN has no state)
    tied            whether the decoder's output layer is its embedding, seen through a projection
    dropout         on the decoder's word embeddings and on its outputs; in the NVRNN's encoder on what it reads too, in
                    document models in the encoder and on the logits
    word_dropout    probability that a word fed to the decoder is replaced by <unk>, in training only; but 1 makes the
                    decoder inputless: it never sees a word, in evaluation and in writing neither (Bowman et al. 2016)
    initialisation  "torch": the framework's own; "he2019": U(-0.01, 0.01), embeddings U(-0.1, 0.1) (He et al. 2019);
                    "kim2018": U(-0.1, 0.1) (Kim et al. 2018)
    """

    vocabulary: int
    embedding: int = 64
    hidden: int = 128
    latent: int = 16
    layers: int = 1
    cell: Literal["lstm", "gru"] | None = None
    bidirectional: bool = False
    z_enters: Literal["state", "steps", "both"] = "both"
    tied: bool = False
    dropout: float = 0.0
    word_dropout: float = 0.0
    initialisation: Literal["torch", "he2019", "kim2018"] = "torch"
    encoder_layers: int | None = None

    def __post_init__(self) -> None:
        for name in ("vocabulary", "embedding", "hidden", "latent", "layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"'{name}' is {value!r}, but a size is a whole number of at least 1")
        if self.encoder_layers is not None and (not isinstance(self.encoder_layers, int) or self.encoder_layers < 1):
            raise ValueError(
                f"'encoder_layers' is {self.encoder_layers!r}, but it is a whole number of at least 1, or None: as "
                "many as 'layers'"
            )
        for name in ("dropout", "word_dropout"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"'{name}' is {value!r}, but a probability lies in 0 to 1")
        for name, known in (("cell", CELLS), ("z_enters", Z_ENTERS), ("initialisation", INITIALISATIONS)):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"'{name}' is {value!r}, but it is one of {', '.join(map(repr, known))}")

    @property
    def recurrent(self) -> Callable[..., nn.RNNBase]:
        """The recurrent network of encoder and decoder."""
        return nn.LSTM if self.cell == "lstm" else nn.GRU

    @property
    def features(self) -> int:
        """Width of what the encoder says of a sentence."""
        return self.hidden * (2 if self.bidirectional else 1)

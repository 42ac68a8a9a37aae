"""The training loop: one for every recipe, with exact resumption."""

import json
import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import pyro
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pyro_textvae.batch import Batch, Batches, Shuffled
from pyro_textvae.checkpoint import save_tensors, write_atomically
from pyro_textvae.corpus import Corpus
from pyro_textvae.decay import DECAYS
from pyro_textvae.errors import did_you_mean
from pyro_textvae.evaluation import evaluate, judge
from pyro_textvae.figures.points import WATCHED, a_part, pack, points_of
from pyro_textvae.objective import Objective
from pyro_textvae.optim import PRECISIONS
from pyro_textvae.recipes import Recipe
from pyro_textvae.run import SELECTED_BY, Run, best_of
from pyro_textvae.schedules import END, weight_at
from pyro_textvae.updates import Side
from pyro_textvae.vae import TextVAE

LEARNING_RATES = {"adamw": 2e-3, "sgd": 1.0}
OPTIMIZERS = tuple(LEARNING_RATES)
SELECTIONS = tuple(SELECTED_BY)


class Diverged(ArithmeticError):
    """The loss stopped being a number."""


@dataclass(frozen=True)
class Training:
    """How a recipe is trained.

    epochs              passes over the training split
    batch_size          sentences a batch
    optimizer           "adamw" (fused) or "sgd"
    learning_rate       None: 2e-3 for adamw, 1.0 for sgd
    clip                largest global gradient norm
    decay               how the learning rate falls and training stops (decay.py): "none", "linear",
                        "cosine_restarts", "zhu2020", "shi2020", "kim2018", "xu2018",
                        "xu2018_nvdm"
    patience            stop after so many epochs without a better one, counted from the first by whose end every
                        weight of the objective has reached its final value, since the loss may rise before;
                        None: never
    select              the best epoch has the lowest validation "loss" (with final weights) or "elbo", of those by
                        whose end every weight has reached its final value; of all, if training ends before that
    batching            which sentences share a batch (batch.py): "paired", short ones with long ones; "bucketed", of
                        like length; "exact", of one (the protocol of Zhu et al. 2020); "random" (of Shi et al. 2020).
                        Bags of words, whose cost does not depend on their length, are drawn at random for "paired"
    precision           "float32", or "bfloat16": autocast, with q, KL and softmax in float32
    threads             torch threads on a CPU; "auto" is 1, since a second one waits more than it works
    checkpoint_seconds  how long at most between two savings of last.safetensors
    watch               keep the codes of so many validation sentences, and the components, after every epoch (in
                        watched/): what figures.through_training shows; 0: none
    """

    epochs: int = 20
    batch_size: int = 32
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float | None = None
    weight_decay: float = 0.0
    clip: float = 5.0
    decay: Literal["none", "linear", "cosine_restarts", "zhu2020", "shi2020", "kim2018", "xu2018", "xu2018_nvdm"] = (
        "none"
    )
    patience: int | None = None
    select: Literal["loss", "elbo"] = "loss"
    batching: Shuffled = "paired"
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: int | Literal["auto"] = "auto"
    checkpoint_seconds: float = 60.0
    watch: int = 0

    def __post_init__(self) -> None:
        for name, or_else in (("epochs", 1), ("batch_size", 1), ("patience", None), ("threads", "auto")):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not whole and not (value is or_else or value == or_else == "auto"):
                raise ValueError(f"'{name}' is {value!r}, but a whole number of at least 1 is needed")
        if not isinstance(self.watch, int) or isinstance(self.watch, bool) or self.watch < 0:
            raise ValueError(f"'watch' is {self.watch!r}, but a whole number of sentences is needed, or 0 for none")
        for name in ("learning_rate", "clip", "weight_decay", "checkpoint_seconds"):
            value, zero = getattr(self, name), name in ("weight_decay", "checkpoint_seconds")
            if value is not None and not (0 < value < math.inf or (zero and value == 0)):
                raise ValueError(f"'{name}' is {value!r}, but {'0 or more' if zero else 'more than 0'} is needed")
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("precision", PRECISIONS),
            ("select", SELECTIONS),
            ("decay", tuple(DECAYS)),
            ("batching", get_args(Shuffled)),
        ):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"'{name}' is {value!r}{did_you_mean(value, known)}; it is one of {', '.join(known)}")

    @property
    def initial_rate(self) -> float:
        return LEARNING_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate


class Stop:
    """Remembers that Ctrl-C or a termination signal came, so that a step is never left half done."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may listen
            return
        # One that is ignored stays so: a shell starts what runs in the background like that.
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        before = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}
        for number in before:
            signal.signal(number, self._hear)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt("stopped at once: what was saved before stays")
        self.asked = True


def resting(vae: TextVAE) -> dict[Side, list[nn.Parameter]]:
    """The parameters that keep still when a side moves."""
    return {
        "both": [],
        "guide": [*vae.prior.parameters(), *vae.decoder.parameters()],
        "model": [*vae.encoder.parameters(), *vae.posterior.parameters()],
    }


def move(
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    clip: float,
    resting: Sequence[nn.Parameter] = (),
) -> Tensor:
    """One step of the optimiser down a loss, its gradient clipped to the norm `clip`; returns the norm before that."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(parameters, clip)
    for parameter in resting:
        parameter.grad = None  # which the optimiser passes over
    optimizer.step()
    return norm


@dataclass
class Place:
    """Where training stands; what a checkpoint keeps beside the tensors.

    Of the epoch: batches, tokens and sentences, and what its updates took of wall time and of the process's CPU time
    (NaN where a part of them was not measured).
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    tokens: int = 0
    sentences: int = 0


class Loop:
    """The training loop of one run."""

    def __init__(
        self,
        run: Run,
        recipe: Recipe,
        corpus: Corpus,
        training: Training,
        device: torch.device,
        progress: bool,
        drop_singletons: bool,
    ) -> None:
        self.files, self.directory, self.seed = run, run.directory, run.recipe["seed"]
        self.corpus, self.training, self.device, self.progress = corpus, training, device, progress
        self.objective = Objective(recipe.vae, recipe.objective).to(device)
        self.updates = recipe.updates
        self.parameters = list(self.objective.parameters())
        self.resting = resting(recipe.vae)
        self.drop_singletons = drop_singletons
        self.place = Place()
        self.rows: list[dict[str, float]] = []
        self.sums: dict[str, Tensor] = {}
        self.bad_step = torch.full((), -1, device=device)
        self.saved = time.monotonic()
        self.stop = Stop()
        self.optimizer = self._optimizer(training.initial_rate)

    def _optimizer(self, rate: float) -> torch.optim.Optimizer:
        parameters, decay = self.parameters, self.training.weight_decay
        if self.training.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=rate, weight_decay=decay, fused=True)
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)

    # The loop.

    def run(self) -> None:
        with self.stop.listening(), pyro.validation_enabled(False):
            if not self.place.step:
                self._watch(0)
            if self.progress and not self._schedules_ended(planned := self._planned_updates()):
                tqdm.write(
                    f"the objective's weights do not reach their final values in the {planned:,} updates that are "
                    "planned: no epoch's weights will be wholly annealed. Train longer, or shorten the schedule"
                )
            while not self.done:
                self._epoch()
                self._end_of_epoch()
                self._obey()

    @property
    def done(self) -> bool:
        """Whether training is over; read from the rows, so a run goes on with more epochs as if asked at first."""
        training, losses = self.training, self._losses
        if self.place.epoch >= training.epochs or DECAYS[training.decay](losses, training.epochs).stop:
            return True
        if training.patience is None or not losses:
            return False
        best = best_of(self.rows, training.select)
        return self._schedules_ended(best["step"]) and self.place.epoch - best["epoch"] >= training.patience

    @property
    def _losses(self) -> list[float]:
        return [row[SELECTED_BY[self.training.select]] for row in self.rows]

    def _schedules_ended(self, step: float) -> bool:
        """Whether every term has had its final weight by an update, all at once; a cycle has it where it first rose.

        To a hundredth: a sigmoid gets no closer in a finite time.
        """
        weights = [(term.weight, weight_at(term.weight, END)) for term in self.objective.elbo.terms]
        return any(
            all(math.isclose(weight_at(weight, at), end, rel_tol=0.01) for weight, end in weights)
            for at in range(int(step), -1, -1)
        )

    def _planned_updates(self) -> int:
        return self.training.epochs * len(self._batches(0))

    def _obey(self) -> None:
        """Stop where a signal asked for it; everything is saved by now."""
        if self.stop.asked:
            raise KeyboardInterrupt(f"stopped and saved: go on with resume=True and output={self.directory}")

    def _epoch(self) -> None:
        place, training = self.place, self.training
        batches = self._batches(place.epoch, place.batch)
        if self.progress and batches.dropped and not place.step:
            tqdm.write(f"{batches.dropped} sentences an epoch are left out: no other has their length")
        self.objective.train()
        shown, shown_tokens, shown_at = {}, place.tokens, time.monotonic()
        with tqdm(
            total=place.batch + len(batches),
            initial=place.batch,
            desc=f"epoch {place.epoch + 1}/{training.epochs}",
            unit="batch",
            leave=False,
            disable=None if self.progress else True,
            mininterval=0.5,
        ) as bar:
            for batch in batches:
                began, cpu_began = time.monotonic(), time.process_time()
                loss, norm = self.updates(self._move, batch, batches.random, self.rows)
                self._note(loss, norm, len(batch))
                place.step += 1
                place.batch += 1
                place.tokens += batch.real.numel()
                place.sentences += len(batch)
                place.seconds += time.monotonic() - began
                place.cpu_seconds += time.process_time() - cpu_began
                # What follows reads from the device, so it happens now and then, not at every step.
                if self.device.type == "cpu" or place.step % 50 == 0:
                    self._check_finite()
                if bar.update() and not bar.disable:
                    shown = {name: value.item() / place.sentences for name, value in self.sums.items()}
                    speed = (place.tokens - shown_tokens) / (time.monotonic() - shown_at)
                    bar.set_postfix_str(_line(shown, speed), refresh=False)
                if self.stop.asked or time.monotonic() - self.saved > training.checkpoint_seconds:
                    self.save()
                self._obey()
        self._check_finite()

    def _batches(self, epoch: int, start: int = 0) -> Batches:
        batching = self.training.batching
        if batching == "paired" and not self.objective.vae.decoder.ordered:
            batching = "random"  # a bag's cost does not depend on its length
        return Batches(
            self.corpus.splits["train"],
            self.training.batch_size,
            seed=self.seed,
            epoch=epoch,
            batching=batching,
            start=start,
            drop_singletons=self.drop_singletons,
        )

    def _move(self, batch: Batch, side: Side) -> tuple[Tensor, Tensor]:
        """`updates.Move`."""
        batch, training = batch.to(self.device, non_blocking=True), self.training
        with torch.autocast(self.device.type, torch.bfloat16, enabled=training.precision == "bfloat16"):
            loss = self.objective(batch, self.place.step)
        return loss.detach(), move(loss, self.optimizer, self.parameters, training.clip, self.resting[side])

    def _note(self, loss: Tensor, norm: Tensor, sentences: int) -> None:
        bad = (self.bad_step < 0) & ~(torch.isfinite(loss) & torch.isfinite(norm))
        self.bad_step = torch.where(bad, self.place.step, self.bad_step)
        for name, value in self.objective.elbo.report.items():
            value = value * sentences
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def _check_finite(self) -> None:
        """Raise Diverged if a loss or a gradient since the start was no number, naming the terms that were none."""
        bad = int(self.bad_step)
        if bad < 0:
            return
        report = {name: value.item() for name, value in self.objective.elbo.report.items()}
        broken = [name for name, value in report.items() if not math.isfinite(value)]
        terms = [name for name in broken if name not in ("elbo", "loss")]  # which are sums of these
        raise self._diverged(terms or broken or ["the gradient"], bad)

    def _diverged(self, broken: list[str], step: int) -> Diverged:
        last = self.directory / "last.safetensors"
        kept = f"the last good checkpoint is {last}" if last.exists() else "no checkpoint was saved yet"
        return Diverged(
            f"training stopped being numbers at step {step} (epoch {self.place.epoch + 1}): {', '.join(broken)} "
            f"is not finite; {kept}. A learning rate of {self._rate():g} may be too high: begin a new run with a tenth "
            f"of it, or with a clip below {self.training.clip:g}"
        )

    def _rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def _end_of_epoch(self) -> None:
        place, training = self.place, self.training
        train_means = {name: value.item() / place.sentences for name, value in self.sums.items()}
        valid = self._validate()
        row: dict[str, float] = {
            "epoch": place.epoch + 1,
            "step": place.step,
            "seconds": round(place.seconds, 3),
            "tokens_per_second": round(place.tokens / max(place.seconds, 1e-9), 1),
            "learning_rate": self._rate(),
            "schedules_ended": self._schedules_ended(place.step),
        }
        if self.device.type == "cpu" and math.isfinite(place.cpu_seconds):  # beside a GPU it is no measure of the work
            row["cpu_seconds"] = round(place.cpu_seconds, 3)
        # An autoencoder's KL is infinite by its nature, and JSON has no word for that: it is left out.
        row |= {f"train_{name}": value for name, value in train_means.items() if math.isfinite(value)}
        row |= {f"valid_{name}": value for name, value in valid.items()}
        if not math.isfinite(valid["loss"]):
            broken = [f"the validation's {name}" for name, value in valid.items() if not math.isfinite(value)]
            raise self._diverged(broken, place.step)
        self.rows.append(row)
        self._watch(place.epoch + 1)
        write_atomically(
            self.directory / "metrics.jsonl",
            "".join(json.dumps(each, allow_nan=False) + "\n" for each in self.rows).encode(),
        )
        if best_of(self.rows, training.select) is row:
            self._save("best.safetensors", self._weights(), {"epoch": place.epoch + 1})
        if self.progress:
            tqdm.write(f"epoch {place.epoch + 1:>3}  {_line(valid, None)}  | {judge(valid).state}")
        decision = DECAYS[training.decay](self._losses, training.epochs)
        if decision.reload_best:
            weights, _ = self.files.tensors("best.safetensors")
            self.objective.vae.load_state_dict(weights)
        if decision.rate_factor != self._rate() / training.initial_rate:
            self._change_rate(training.initial_rate * decision.rate_factor, anew=decision.reload_best)
        self.place = Place(epoch=place.epoch + 1, step=place.step)
        self.sums = {}
        self.save()

    def _change_rate(self, rate: float, anew: bool) -> None:
        if anew:
            self.optimizer = self._optimizer(rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """The loss with every schedule at its end, and what the verdict needs, on the validation split."""
        split = self.corpus.splits["valid"]
        self.objective.eval()
        total = torch.zeros((), device=self.device)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(self.seed)
            for batch in Batches(split, self.training.batch_size, batching="sorted"):
                total += self.objective(batch.to(self.device), END) * len(batch)
            measured = evaluate(self.objective.vae, split, seed=self.seed, deep=False)
        return {"loss": total.item() / len(split)} | measured

    def _watch(self, epoch: int) -> None:
        """Keep what the model makes of some validation sentences, always the same, as it is now."""
        if not self.training.watch:
            return
        corpus, split = self.corpus, self.corpus.splits["valid"]
        column = next(iter(corpus.label_names), "")
        part, names = a_part(split, self.training.watch), corpus.label_names.get(column, [])
        tensors, points = pack(points_of(self.objective.vae, part, column, names, sentences=len(split)))
        folder = self.directory / WATCHED
        folder.mkdir(exist_ok=True)
        state = {"run": self.files.identity, "epoch": epoch, "points": points}
        save_tensors(folder / f"epoch-{epoch:04d}.safetensors", tensors, state)

    # Saving and resuming.

    def _weights(self) -> dict[str, Tensor]:
        return dict(self.objective.vae.state_dict())

    def _save(self, name: str, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Save to a file of the run, but never weights that are no numbers: they would replace good ones."""
        for parameter, value in self.objective.vae.named_parameters():
            if not torch.isfinite(value).all():
                raise self._diverged([parameter], self.place.step)
        save_tensors(self.directory / name, tensors, state | {"run": self.files.identity})

    def save(self) -> None:
        """Write everything that going on exactly needs, atomically."""
        self._check_finite()
        tensors = {f"vae.{name}": value for name, value in self._weights().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items() if value is not None}
        tensors |= {f"sum.{name}": value for name, value in self.sums.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        state = {"place": asdict(self.place), "rows": self.rows, "learning_rate": self._rate()}
        self._save("last.safetensors", tensors, state)
        self.saved = time.monotonic()

    def restore(self) -> None:
        """Go back to what `save` wrote."""
        tensors, state = self.files.tensors("last.safetensors")
        part: dict[str, dict[str, Tensor]] = {"vae": {}, "optimizer": {}, "sum": {}, "random": {}}
        for name, value in tensors.items():
            group, _, rest = name.partition(".")
            part[group][rest] = value
        self.objective.vae.load_state_dict(part["vae"])
        self._change_rate(state["learning_rate"], anew=False)
        optimizer = self.optimizer.state_dict()
        for name, value in part["optimizer"].items():
            index, _, rest = name.partition(".")
            optimizer["state"].setdefault(int(index), {})[rest] = value
        self.optimizer.load_state_dict(optimizer)
        self.sums = {name: value.to(self.device) for name, value in part["sum"].items()}
        torch.set_rng_state(part["random"]["cpu"])
        if "cuda" in part["random"] and self.device.type == "cuda":
            torch.cuda.set_rng_state(part["random"]["cuda"], self.device)
        self.rows = state["rows"]
        # A checkpoint of an older version, in the middle of an epoch, does not know what its CPU time was.
        unmeasured = math.nan if state["place"]["batch"] else 0.0
        self.place = Place(**{"cpu_seconds": unmeasured} | state["place"])


def _line(values: dict[str, float], speed: float | None) -> str:
    """What a progress line says: NLL and KLs in nats a sentence, tokens a second."""
    wanted = {
        "loss": "loss",
        "elbo": "elbo",
        "nll_elbo_nats_per_sentence": "nll",
        "kl_z": "kl_z",
        "kl_c": "kl_c",
        "kl_z_nats_per_sentence": "kl_z",
        "kl_c_nats_per_sentence": "kl_c",
        "active_units": "active",
    }
    shown = [f"{short} {values[name]:.2f}" for name, short in wanted.items() if name in values]
    return "  ".join(shown + ([f"{speed:,.0f} tokens/s"] if speed is not None else []))

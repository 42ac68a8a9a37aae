"""Points: the posterior means of a run's sentences and the means of its components, in one space and one unit."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyro_textvae.corpus import Split
from pyro_textvae.errors import did_you_mean
from pyro_textvae.evaluation.codes import Codes, evaluating, on_sphere
from pyro_textvae.evaluation.collapse import information_of_components
from pyro_textvae.priors import Mixture
from pyro_textvae.vae import TextVAE

if TYPE_CHECKING:
    from pyro_textvae.run import Run

DRAWS = 2000
"""From the prior, to measure its deviation and its components' shapes: a standard error below 2 %, less than a line's
width. Drawing serves every family, also one that a user brings."""


@dataclass(frozen=True)
class Points:
    """What a latent picture is made of, of one discrete variable where there are several.

    means         (N, D) posterior means, as they are in the latent space
    components    (K, D) component means, in the same space; None without a mixture
    shapes        (K, D, D) covariance of each component; None without a mixture, and on a sphere
    caps          (K,) cosine of the angle from a component's direction within which half of it lies; on a sphere alone
    assigned      (N,) likeliest component; None without a mixture
    deviation     the prior's standard deviation a dimension (root mean square over dimensions): the unit of length
    labels        (N,) ids into label_names, -1 for none; None where the column does not exist
    lengths       (N,) words
    sentences     how many the split has, of which N are here
    variable      which of `variables` this is; information is its I(c;x) in nats
    """

    means: np.ndarray
    components: np.ndarray | None
    shapes: np.ndarray | None
    caps: np.ndarray | None
    assigned: np.ndarray | None
    deviation: float
    on_sphere: bool
    labels: np.ndarray | None
    column: str
    label_names: list[str]
    lengths: np.ndarray
    sentences: int
    variable: int
    variables: int
    information: float

    @property
    def spread(self) -> float:
        """Variance of the posterior means, summed over dimensions: 0 where all sentences have one code."""
        return float(self.means.var(0).sum())


def a_part(split: Split, limit: int, seed: int = 0) -> Split:
    """At most `limit` sentences of a split, drawn without regard to anything, in the split's order."""
    if limit < 1:
        raise ValueError(f"limit={limit} came, but a picture needs at least 1 sentence: 2000 is usual")
    if len(split) <= limit:
        return split
    chosen = np.sort(np.random.default_rng(seed).choice(len(split), limit, replace=False))
    tokens, lengths = split.gather(chosen)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Split(tokens, offsets, {name: np.asarray(ids[chosen]) for name, ids in split.labels.items()})


def read(
    run: "Run",
    split: str = "valid",
    limit: int = 2000,
    *,
    column: str | None = None,
    variable: int | None = None,
    seed: int = 0,
) -> Points:
    """Encode at most `limit` sentences of a split.

    `column` is the labels' (default: the first). `variable` is the discrete variable whose part of the code is taken
    (default: the one with the highest I(c;x), as the parts of other variables live in other spaces).
    """
    return read_all(run, split, limit, column=column, variable=variable, seed=seed)[0]


def read_all(
    run: "Run",
    split: str = "valid",
    limit: int = 2000,
    *,
    column: str | None = None,
    variable: int | None = None,
    most: int = 1,
    seed: int = 0,
) -> list[Points]:
    """The same of the `most` variables with the highest I(c;x), the highest first; of a model without one, of all z."""
    if run.vae.prior.code == 0:
        raise ValueError(f"a {run.name!r} has no code to picture: draw its training_curves, or train 'vae'")
    whole = run.corpus.split(split)
    part = a_part(whole, limit, seed)
    names = run.corpus.label_names
    if column is not None and column not in names:
        raise ValueError(
            f"unknown label column {column!r}{did_you_mean(column, names)}: the corpus has {', '.join(names) or 'none'}"
        )
    column = column or next(iter(names), "")
    found = points_of(run.vae, part, column, names.get(column, []), sentences=len(whole), seed=seed)
    if variable is None:
        return sorted(found, key=lambda each: -each.information)[:most]
    if not 0 <= variable < len(found):
        raise ValueError(f"variable={variable}, but the discrete variables are 0 to {len(found) - 1}")
    return [found[variable]]


def points_of(
    vae: TextVAE, part: Split, column: str = "", label_names: Sequence[str] = (), *, sentences: int, seed: int = 0
) -> list[Points]:
    """What a model makes of a part of `sentences`: of each discrete variable, or of all z where there is none."""
    prior = vae.prior
    with evaluating(vae, seed):
        codes = Codes.read(vae, part)
        back = codes.index.argsort()  # Codes are in order of length
        every = codes.means[back].double().cpu().numpy()
        draws = prior.sample(DRAWS).double().cpu().numpy()
        mixture = prior if isinstance(prior, Mixture) and codes.assignment is not None else None
        variables = mixture.variables if mixture else 1
        information, drawn, components = [0.0], None, None
        if mixture is not None:
            assert codes.assignment is not None
            information = [information_of_components(codes.assignment[:, m : m + 1])[0] for m in range(variables)]
            components = mixture.means().double().cpu().numpy()  # (M, K, D)
            everything = mixture.component(mixture.every().expand(-1, variables, DRAWS))
            drawn = everything.sample().double().cpu().numpy()  # (K, M, S, D)
    sphere = on_sphere(vae)
    width = every.shape[1] // variables
    found = []
    for m in range(variables):
        own = slice(m * width, (m + 1) * width)
        shapes, caps = None, None
        if drawn is not None and components is not None and sphere:
            directions = components[m] / np.linalg.norm(components[m], axis=-1, keepdims=True)
            caps = np.median(np.einsum("ksd,kd->ks", drawn[:, m], directions), 1)
        elif drawn is not None:
            shapes = np.stack([np.cov(each, rowvar=False).reshape(width, width) for each in drawn[:, m]])
        found.append(
            Points(
                means=every[:, own],
                components=None if components is None else components[m],
                shapes=shapes,
                caps=caps,
                assigned=None if codes.assignment is None else _likeliest(codes.assignment[back, m]),
                deviation=float(np.sqrt(draws[:, own].var(0).mean())),
                on_sphere=sphere,
                labels=np.asarray(part.labels[column]) if column in part.labels else None,
                column=column,
                label_names=list(label_names),
                lengths=part.lengths,
                sentences=sentences,
                variable=m,
                variables=variables,
                information=information[m],
            )
        )
    return found


def pack(points: Sequence[Points]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Points as what a file of a run holds: tensors, float32 or integers, and a JSON-able rest."""
    tensors, rest = {}, []
    for m, one in enumerate(points):
        values = {field.name: getattr(one, field.name) for field in fields(one)}
        arrays = {name: torch.tensor(value) for name, value in values.items() if isinstance(value, np.ndarray)}
        tensors |= {f"{m}.{name}": each.float() if each.is_floating_point() else each for name, each in arrays.items()}
        rest.append({name: value for name, value in values.items() if name not in arrays})
    return tensors, rest


def unpack(tensors: dict[str, Tensor], rest: Sequence[dict[str, Any]]) -> list[Points]:
    """What `pack` packed."""
    found = []
    for m, values in enumerate(rest):
        arrays = {name.partition(".")[2]: value.numpy() for name, value in tensors.items() if name.startswith(f"{m}.")}
        fields_of: dict[str, Any] = values | arrays
        fields_of |= {name: value.astype(float) for name, value in arrays.items() if value.dtype == np.float32}
        found.append(Points(**fields_of))
    return found


WATCHED = "watched"
"""The folder of a run in which `train(watch=...)` keeps the points of every epoch, a file each."""


def watched(run: "Run") -> dict[int, list[Points]]:
    """The points that were kept of each epoch, by epoch; 0 is before training. A Points for each discrete variable.

    Raises ValueError where none were kept.
    """
    found = {}
    for path in sorted((run.directory / WATCHED).glob("*.safetensors")):
        tensors, state = run.tensors(f"{WATCHED}/{path.name}")
        found[int(state["epoch"])] = unpack(tensors, state["points"])
    if not found:
        raise ValueError(
            f"{run.directory} kept no codes of its epochs: train it with watch=500, and it keeps those of 500 "
            "validation sentences"
        )
    return found


def _likeliest(assignment: torch.Tensor) -> np.ndarray:
    return assignment.argmax(-1).cpu().numpy()


@dataclass(frozen=True)
class Map:
    """Points (N, 2) and component means (K, 2) in the plane, in standard deviations of the prior (`raw`: as they are).

    shapes is (K, 2, 2); origin is where the latent space's zero falls; share is the part of the points' variance seen.
    """

    points: np.ndarray
    components: np.ndarray | None
    shapes: np.ndarray | None = None
    origin: tuple[float, float] = (0.0, 0.0)
    share: float = 1.0


def pca(points: Points, plane_of: Sequence[Points] | None = None) -> Map:
    """The plane in which points and component means vary most, each of the two counted alike.

    Of the points alone, the plane would hide components that lie where no sentence is; of all rows alike, 2000 points
    would outvote 10 means. It is a linear map: distances in it are distances in the latent space, at most shortened.
    `share` is how much of the points' variance it holds. With `plane_of`, the plane is the one in which those vary
    most, each counted alike: so that one space seen several times is always seen from one side.
    """
    x = points.means / points.deviation
    centre = x.mean(0)
    covariance = sum((_covariance(each) for each in plane_of or [points]), np.zeros(()))
    _, vectors = np.linalg.eigh(covariance)
    plane = vectors[:, ::-1][:, :2]
    plane = plane * np.where(plane[np.abs(plane).argmax(0), range(plane.shape[1])] < 0, -1, 1)  # a sign, once for all
    if plane.shape[1] == 1:
        plane = np.concatenate([plane, np.zeros_like(plane)], 1)
    there = (x - centre) @ plane
    total = x.var(0).sum()
    return Map(
        there,
        None if points.components is None else (points.components / points.deviation - centre) @ plane,
        None if points.shapes is None else plane.T @ points.shapes @ plane / points.deviation**2,
        tuple(-centre @ plane),
        float(there.var(0).sum() / total) if total > 0 else 1.0,
    )


def _covariance(points: Points) -> np.ndarray:
    """Of the points, and of the component means, (D, D), in prior variances; their sum."""
    both = [points.means] if points.components is None else [points.means, points.components]
    return sum(
        (np.atleast_2d(np.cov(x / points.deviation, rowvar=False, bias=True)) for x in both),
        np.zeros(()),
    )


def raw(points: Points) -> Map:
    """The axes of a latent space of two dimensions, as they are."""
    return Map(points.means, points.components, points.shapes)


SMALLEST_MAP = 10
"""Points, below which neighbourhoods mean nothing: t-SNE is left out and PCA stands in its place."""


def tsne(points: Points, seed: int = 0) -> Map:
    """t-SNE of points and component means together, at their true size.

    Together: a mean embedded by itself, or put at the centre of its points in the map, shows nothing of where it is.
    At their true size: t-SNE throws the scale of its input away, so it makes of a thousand equal codes, told apart by
    rounding, as wide and clustered a map as of a thousand good ones. Here its map is scaled to the root mean square
    distance from the centre that the points have in the latent space. The codes of a collapsed run then are a dot.
    """
    from sklearn.manifold import TSNE

    x = points.means if points.components is None else np.concatenate([points.means, points.components])
    x = (x - x.mean(0)) / points.deviation
    size = np.sqrt(x.var(0).sum())
    if len(points.means) < SMALLEST_MAP or size < 1e-9:
        return pca(points)
    perplexity = min(30.0, (len(x) - 1) / 3)
    there = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(x / size).astype(float)
    there -= there.mean(0)
    there *= size / np.sqrt(there.var(0).sum())
    N = len(points.means)
    return Map(there[:N], None if points.components is None else there[N:])

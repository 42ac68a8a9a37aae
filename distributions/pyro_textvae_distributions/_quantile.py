"""The quantile function of the angle between a vMF draw and its location, as a table of polynomials.

In R^d at concentration k the cosine w = tanh(y) of a draw with its location has, in y, the density

    f(y)  proportional to  sech(y)^(d-1) exp(k tanh y),        with mode  y0 = asinh(2k / (d-1)) / 2.

If z is a standard normal draw, then y0 + e with F(y0 + e) = Phi(z) is a draw from f: no rejection, and one number in
for one out. y rather than w, because 1 - w^2 = sech(y)^2 keeps its digits when w is nearly 1, and less its mode,
because e is a smooth function of z and of x = exp(-y0) on all of [-8.6, 8.6] x (0, 1]: x = 1 is the uniform
distribution, x = 0 the limit of large k, where exp(-2e) is a Gamma variable. Normal draws in float64 do not
leave that interval: the largest that a 53-bit uniform number makes is 8.57.

What is wanted of y is sinh(y), the cotangent of the angle, and -dy/dk at fixed z, the implicit gradient (Figurnov et
al. 2018) of the angle over its sine. Both are a smooth function over one of k,

    sinh(y) = (exp(e) - x^2 exp(-e)) / 2x            -dy/dk = (x de/dx - 1) / ((d-1) cosh(2 y0)),

and these functions are what is tabulated: the rectangle is cut into equal cells, on each of which either is a
polynomial in both variables.

A dimension's table is built when the dimension is first used, in 0.02 to 0.2 s: for every x, the distribution function
is integrated over panels that are short where f varies, and z as a function of e is interpolated backwards. Measured
(tests/distributions/test_quantile.py): |F(table) - Phi(z)| below 2e-12 in every dimension.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_textvae_distributions._tables import kept, recent

REACH = 8.6
"""Largest |z| of the table."""
_LARGEST_X = 1 + 1e-9  # a hair more than the largest, 1, so that this lies inside the last cell

# (smallest dimension, cells in either variable, coefficients in either for float32, for float64): they leave an error
# below the rounding of what is made of y. Where the dimension is small the density has heavy tails in y, and needs
# small cells; elsewhere a small table is made and read faster.
_LAYOUTS = ((50, 16, 5, 8), (16, 24, 5, 8), (8, 32, 6, 8), (5, 40, 6, 8), (4, 48, 6, 8), (3, 64, 6, 8), (2, 96, 6, 8))
# Panels in the deviation sqrt(2 log(f(y0) / f(y))), which beyond 11 leaves less than Phi(-REACH); nodes in each.
_DEVIATIONS, _PANELS, _NODES = 11.0, 40, 14
# No quantile is farther from the mode than this; the bisection that looks for them halves it to 1e-10.
_FARTHEST, _BISECTIONS = 100.0, 40
_CONCENTRATIONS_AT_ONCE = 128  # so that a build takes some 30 MB


def draw_cotangent(
    concentration: Tensor, z: Tensor, dimension: int, precision: torch.dtype, *, with_rate: bool
) -> tuple[Tensor, Tensor | None]:
    """sinh(y) at the standard normal draws z (..., 1) and, if asked for, -dy/dk there, of the shape of z.

    All tensors are float64; the concentration is at least 0 and broadcasts with z. `precision`, float32 or float64, is
    that of what is made of sinh(y): for the first, shorter polynomials do.
    """
    if z.dim() != 2:
        k = concentration.expand(z.shape).reshape(-1, 1)
        cotangent, rate = draw_cotangent(k, z.reshape(-1, 1), dimension, precision, with_rate=with_rate)
        return cotangent.view(z.shape), None if rate is None else rate.view(z.shape)
    table = kept(_table_on, dimension, precision, z.device)
    root, x = _of_mode(concentration, table)
    both = torch.cat((x if x.shape == z.shape else x.expand(z.shape), z), -1)
    position = torch.addcmul(table.shift, both, table.scale)
    cell, powers = _cell_and_powers(position, table)
    cell_of_x, cell_of_z = cell.unbind(-1)
    # The index alone is made safe: a NaN stays one in the powers, and so in the draw.
    index = torch.add(cell_of_z, cell_of_x, alpha=table.cells).clamp_(0, table.cells**2 - 1)
    of_x, of_z = powers.unbind(1)  # (N, P, 1) each
    polynomials = table.with_rates if with_rate else table.cotangents
    in_x = torch.bmm(polynomials.index_select(0, index), of_z)  # z is put in
    if not with_rate:
        return torch.bmm(in_x.mT, of_x).squeeze(-1).div_(x), None
    over_x, over_root = torch.bmm(in_x.view(len(z), 2, table.count), of_x).unbind(1)
    return over_x / x, over_root / root


def draw_cotangent_of_number(concentration: float, z: Tensor, dimension: int, precision: torch.dtype) -> Tensor:
    """sinh(y) as above where all draws share a plain number, for which the polynomials in z alone are remembered."""
    row = recent(_row_on, concentration, dimension, precision, z.device)
    table = kept(_table_on, dimension, precision, z.device)
    cell, of_z = _cell_and_powers(torch.addcmul(table.shift[1:], z, table.scale[1:]), table)
    return (row[cell] * of_z).sum((-2, -1))


def _row_on(concentration: float, dimension: int, precision: torch.dtype, device: torch.device) -> Tensor:
    """(cells, P, 1): coefficients of sinh(y) in the offset of z, for one concentration."""
    table = kept(_table_on, dimension, precision, device)
    _, x = _of_mode(torch.tensor(concentration, dtype=torch.float64, device=device), table)
    cell, of_x = _cell_and_powers(x * table.scale[0], table)
    of_cell = table.cotangents.unflatten(0, (table.cells, table.cells))[cell]  # (cells, P, P)
    return (of_cell.mT @ of_x) / x


def _of_mode(concentration: Tensor, table: "_Table") -> tuple[Tensor, Tensor]:
    """(d-1)/2 cosh(2 y0), and x over the root of (d-1)/2."""
    root = torch.hypot(concentration, table.half_degree)
    return root, (concentration + root).rsqrt_()


def _cell_and_powers(position: Tensor, table: "_Table") -> tuple[Tensor, Tensor]:
    """The cell of a position (...) in units of a cell, and the powers (..., P, 1) of the offset from its middle."""
    in_cell = position.frac().view(*position.shape, 1, 1)
    return position.long(), torch.addcmul(table.first, in_cell, table.others).cumprod(-2)


def _layout(dimension: int, precision: torch.dtype) -> tuple[int, int]:
    """Cells of the table and coefficients of a polynomial, in either variable."""
    cells, single, double = next(layout for smallest, *layout in _LAYOUTS if dimension >= smallest)
    return cells, single if precision == torch.float32 else double


class _Table(NamedTuple):
    """The table of a dimension on a device, with the constants of its look-up, float64; P coefficients a variable."""

    cells: int
    count: int
    """P."""
    with_rates: Tensor
    """(cells^2, 2P, P): coefficients, in the offsets from the middle of a cell, x first, of two functions: sinh(y) and
    -dy/dk, the one times x and the other times `root`, which are those of `_of_mode`."""
    cotangents: Tensor
    """(cells^2, P, P): those of the first."""
    first: Tensor
    others: Tensor
    """(P, 1) each: what makes a position in a cell, from 0 to 1, into 1 and P - 1 times its offset from the middle."""
    scale: Tensor
    shift: Tensor
    """(2,) each: from x and z to positions in units of a cell."""
    half_degree: Tensor
    """(): (d-1) / 2."""


def _table_on(dimension: int, precision: torch.dtype, device: torch.device) -> _Table:
    cells, count = _layout(dimension, precision)
    with_rates = _polynomials(dimension, cells, count).to(device)
    half_degree = (dimension - 1) / 2

    def exactly(*values: float) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=device)

    return _Table(
        cells=cells,
        count=count,
        with_rates=with_rates,
        cotangents=with_rates[:, :count].contiguous(),
        first=exactly(1, *[-0.5] * (count - 1))[:, None],
        others=exactly(0, *[1] * (count - 1))[:, None],
        scale=exactly(math.sqrt(half_degree) * cells / _LARGEST_X, cells / (2 * REACH)),
        shift=exactly(0, cells / 2),
        half_degree=exactly(half_degree).squeeze(),
    )


def _polynomials(dimension: int, cells: int, count: int) -> Tensor:
    """The polynomials of `_Table.with_rates`, with `count` coefficients in each variable."""
    half_degree = (dimension - 1) / 2
    offset = torch.cos(math.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count).flip(0) / 2
    middle = torch.arange(cells, dtype=torch.float64) + 0.5
    at = (middle[:, None] + offset) / cells  # the nodes of every cell, in units of the interval
    x, z = at.flatten() * _LARGEST_X, (2 * at.flatten() - 1) * REACH
    e = torch.cat([_quantiles(some, z, dimension) for some in x.split(_CONCENTRATIONS_AT_ONCE)])
    # Axes: cell and node of x, cell and node of z.
    e, x = e.view(cells, count, cells, count), x.view(cells, count, 1, 1)
    vandermonde = torch.linalg.vander(offset)
    to_coefficients = torch.linalg.inv(vandermonde)
    slope = torch.zeros_like(vandermonde)
    slope[:, 1:] = vandermonde[:, :-1] * torch.arange(1, count) * cells / _LARGEST_X
    in_x = torch.einsum("ij,cjdk->cidk", slope @ to_coefficients, e)
    cotangent = (e.exp() - x.square() * (-e).exp()) / (2 * math.sqrt(half_degree))
    rate = (x * in_x - 1) / 2
    values = torch.stack((cotangent, rate)).permute(1, 3, 0, 2, 4)  # cell of x and of z, function, node of x and of z
    return (to_coefficients @ values @ to_coefficients.T).reshape(cells * cells, 2 * count, count)


def _quantiles(x: Tensor, z: Tensor, dimension: int) -> Tensor:
    """e with F(y0 + e) = Phi(z) for concentrations x (K,) and increasing deviates z (Z,): (K, Z), float64."""
    r = ((x.pow(-2) - x.square()) / 2)[:, None]  # sinh(2 y0)
    root = torch.hypot(r, torch.ones_like(r))
    w0, deficit = r / (1 + root), (1 + 1 / (root + r)) / (1 + root)  # tanh(y0), and 1 less it

    def log_density(e: Tensor) -> Tensor:
        """log f(y0 + e) - log f(y0), for e (K, ...)."""
        at = (slice(None),) + (None,) * (e.dim() - 2)
        u = w0[at] * torch.tanh(e)
        one_more = deficit[at] + w0[at] * 2 / (1 + torch.exp(-2 * e))  # 1 + u, also where u is nearly -1
        log_one_more = torch.where(e > -0.5, torch.log1p(u), one_more.log())
        return (dimension - 1) * (u / one_more - log_one_more - torch.log1p(torch.sinh(e).square()) / 2)

    # Panels whose edges are equally far apart in the deviation.
    deviation = torch.linspace(-_DEVIATIONS, _DEVIATIONS, _PANELS + 1, dtype=torch.float64).expand(len(x), -1)
    edge = _where_falls_to(log_density, deviation)
    nodes, integral = _cumulative_rule()
    half = (edge[:, 1:] - edge[:, :-1])[..., None] / 2
    e = edge[:, :-1, None] + half * (1 + nodes)  # (K, panels, nodes)
    density = log_density(e).exp() * half
    # Each tail is summed from its own end, so that both keep their digits.
    below, above = density @ integral.T, density @ integral.flip(0, 1).T
    mass = below[..., -1]
    total = mass.sum(-1)[:, None, None]
    below = below + (mass.cumsum(-1) - mass)[..., None]
    above = above + (mass.flip(-1).cumsum(-1).flip(-1) - mass)[..., None]
    deviate = torch.where(below < above, torch.special.ndtri(below / total), -torch.special.ndtri(above / total))
    # The outermost panels end where no probability is left. Within a panel e is a polynomial in the deviate.
    e, deviate = e[:, 1:-1], deviate[:, 1:-1]
    z = z.expand(len(x), -1).contiguous()
    panel = torch.searchsorted(deviate[:, 1:, 0].contiguous(), z)[..., None].expand(-1, -1, _NODES)
    return _interpolate(deviate, e, panel, z)


def _where_falls_to(log_density: Callable[[Tensor], Tensor], deviation: Tensor) -> Tensor:
    """e, of the sign of each deviation, at which the log density has fallen by half its square: by bisection."""
    near, far = torch.zeros_like(deviation), deviation.sign() * _FARTHEST
    for _ in range(_BISECTIONS):
        middle = (near + far) / 2
        beyond = log_density(middle) < -deviation.square() / 2
        near, far = torch.where(beyond, near, middle), torch.where(beyond, middle, far)
    return far


def _cumulative_rule() -> tuple[Tensor, Tensor]:
    """Chebyshev nodes (n,) on [-1, 1] with its ends, and the matrix (n, n) that integrates from -1 to each node."""
    angle = math.pi * torch.arange(_NODES - 1, -1, -1, dtype=torch.float64) / (_NODES - 1)
    nodes = torch.cos(angle)
    chebyshev = torch.cos(angle[:, None] * torch.arange(_NODES + 1))
    chebyshev_integral = [nodes + 1, (nodes.square() - 1) / 2]
    for n in range(2, _NODES):
        primitive = chebyshev[:, n + 1] / (n + 1) - chebyshev[:, n - 1] / (n - 1)
        chebyshev_integral.append((primitive - primitive[0]) / 2)
    return nodes, torch.stack(chebyshev_integral, 1) @ torch.linalg.inv(chebyshev[:, :-1])


def _interpolate(nodes: Tensor, values: Tensor, panel: Tensor, at: Tensor) -> Tensor:
    """The polynomials through `values` at `nodes`, both (K, panels, n), at points (K, Z) that lie in `panel`."""
    apart = nodes[..., :, None] - nodes[..., None, :]
    apart = apart / (nodes[..., -1:] - nodes[..., :1])[..., None] * 4  # so that the products stay near 1
    apart.diagonal(dim1=-2, dim2=-1).fill_(1)
    distance = at[..., None] - nodes.gather(1, panel)
    # On a node the weight is so large that it is the only one.
    weight = (1 / apart.prod(-1)).gather(1, panel) / torch.where(distance == 0, 1e-200, distance)
    return (weight * values.gather(1, panel)).sum(-1) / weight.sum(-1)

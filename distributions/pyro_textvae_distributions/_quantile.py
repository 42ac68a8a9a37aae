"""The quantile function of the cosine between a vMF draw and its location, as a table of polynomials.

In R^d at concentration k the cosine w = tanh(y) of a draw with its location has, in y, the density

    f(y)  proportional to  sech(y)^(d-1) exp(k tanh y),        with mode  y0 = asinh(2k / (d-1)) / 2.

If z is a standard normal draw, then y0 + e with F(y0 + e) = Phi(z) is a draw from f: no rejection, and one number in
for one out. y rather than w, because 1 - w^2 = sech(y)^2 keeps its digits when w is nearly 1, and less its mode,
because e is a smooth function of z and of x = exp(-y0) on all of [-8.6, 8.6] x (0, 1]: x = 1 is the uniform
distribution, x = 0 the limit of large k, where exp(-2e) is a Gamma variable. Normal draws in float64 do not
leave that interval: the largest that a 53-bit uniform number makes is 8.57.

The rectangle is cut into equal cells, on each of which e is a polynomial in both variables. The same polynomial,
differentiated in x, is the implicit gradient: dy/dk at fixed z (Figurnov et al. 2018).

A dimension's table is built when the dimension is first used, in some 0.2 s: for every x, the distribution function
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

# Coefficients in each variable: they leave an error of about the rounding of what is made of y.
_COEFFICIENTS = {torch.float32: 6, torch.float64: 8}
# Panels in the deviation sqrt(2 log(f(y0) / f(y))), which beyond 11 leaves less than Phi(-REACH); nodes in each.
_DEVIATIONS, _PANELS, _NODES = 11.0, 40, 14
# No quantile is farther from the mode than this; the bisection that looks for them halves it to 1e-10.
_FARTHEST, _BISECTIONS = 100.0, 40
_CONCENTRATIONS_AT_ONCE = 128  # so that a build takes some 30 MB


def draw_height(
    concentration: Tensor, z: Tensor, dimension: int, precision: torch.dtype, *, with_rate: bool
) -> tuple[Tensor, Tensor | None]:
    """y at the standard normal draws z and, if asked for, dy/dk there: float64, of the shape of z.

    `concentration` and z are float64, the concentration at least 0 and of a shape that broadcasts to z's. `precision`,
    float32 or float64, is that of what is made of y: for the first, shorter polynomials do.
    """
    table = kept(_table_on, dimension, precision, z.device)
    root, growth = _of_mode(concentration, dimension, table)
    x = growth.rsqrt()
    both = torch.stack((x if x.shape == z.shape else x.expand_as(z), z)).view(2, -1)
    cell, (of_x, of_z) = _cell_and_powers(torch.addcmul(table.shift, both, table.scale), table)
    # The index alone is made safe: a NaN stays one in the powers, and so in the draw.
    index = torch.add(cell[1], cell[0], alpha=table.cells).long().clamp_(0, table.cells**2 - 1)
    in_x = torch.bmm(table.polynomials.index_select(0, index), of_z[..., None])  # (N, P, 1): z is put in
    if not with_rate:
        e = torch.bmm(of_x[:, None], in_x).view_as(z)
        return torch.add(e, growth.log_(), alpha=0.5), None
    and_derivatives = (of_x @ table.with_derivatives).view(-1, 2, in_x.shape[1])
    e, slope = torch.bmm(and_derivatives, in_x).view(*z.shape, 2).unbind(-1)  # slope is de/dx / (d-1)
    y = torch.add(e, growth.log_(), alpha=0.5)
    # By dr/dk = 2 / (d-1), dy0/dr = 1 / (2 root) and dx/dr = -x / (2 root).
    return y, torch.addcmul(table.per_degree, x, slope, value=-1).div_(root)


def draw_height_of_number(concentration: float, z: Tensor, dimension: int, precision: torch.dtype) -> Tensor:
    """y as above where all draws share a plain number, for which the polynomials in z alone are remembered."""
    row = recent(_row_on, concentration, dimension, precision, z.device)
    table = kept(_table_on, dimension, precision, z.device)
    cell, of_z = _cell_and_powers(torch.add(table.shift[1], z, alpha=table.cells / (2 * REACH)), table)
    return (row[cell.long()] * of_z).sum(-1)


def _row_on(concentration: float, dimension: int, precision: torch.dtype, device: torch.device) -> Tensor:
    """(cells, P): coefficients of y in the offset of z, for one concentration."""
    table = kept(_table_on, dimension, precision, device)
    _, growth = _of_mode(torch.tensor(concentration, dtype=torch.float64, device=device), dimension, table)
    cell, of_x = _cell_and_powers(table.shift[0] + table.scale[0] * growth.rsqrt(), table)
    of_cell = table.polynomials.unflatten(0, (table.cells, table.cells))[cell.long()].squeeze(0)  # (cells, P, P)
    row = (of_x @ of_cell).squeeze(1)
    row[:, 0] += growth.log() / 2
    return row


def _of_mode(concentration: Tensor, dimension: int, table: "_Table") -> tuple[Tensor, Tensor]:
    """cosh(2 y0) and exp(2 y0)."""
    r = concentration * (2 / (dimension - 1))
    root = torch.hypot(r, table.one)
    return root, r + root


def _cell_and_powers(position: Tensor, table: "_Table") -> tuple[Tensor, Tensor]:
    """The cell of a position (...) in units of a cell, less 1/2, and the powers (..., P) of the offset from its middle.

    The nearest integer is the cell.
    """
    cell = position.round().clamp_(0, table.cells - 1)
    offset = (position - cell)[..., None]
    return cell, torch.addcmul(table.is_zero, offset, table.is_positive).cumprod(-1)


def _cells(dimension: int) -> int:
    """Cells of the table in either variable: where the density has heavy tails in y, they must be small."""
    return {2: 96, 3: 64, 4: 48}.get(dimension, 32)


class _Table(NamedTuple):
    """The table of a dimension on a device, with the constants of its look-up, float64; P coefficients a variable."""

    cells: int
    polynomials: Tensor
    """(cells^2, P, P): coefficients of e in the offsets from the middle of a cell, x first."""
    with_derivatives: Tensor
    """(P, 2P): takes the powers of an offset of x to themselves, and to their derivatives in x / (d-1)."""
    is_zero: Tensor
    is_positive: Tensor
    """(P,) each, 1 or 0: whether a power is the first."""
    scale: Tensor
    shift: Tensor
    """(2, 1) each: from x and z to positions in units of a cell, less 1/2."""
    one: Tensor
    per_degree: Tensor
    """() each: 1 and 1 / (d-1)."""


def _table_on(dimension: int, precision: torch.dtype, device: torch.device) -> _Table:
    count, cells = _COEFFICIENTS[precision], _cells(dimension)
    powers = torch.eye(count, dtype=torch.float64)
    derivatives = torch.diag(torch.arange(1, count, dtype=torch.float64) * cells / (dimension - 1), 1)

    def exactly(*values: float) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=device)

    return _Table(
        cells=cells,
        polynomials=_polynomials(dimension, count).to(device),
        with_derivatives=torch.cat((powers, derivatives), 1).to(device),
        is_zero=powers[0].to(device),
        is_positive=(1 - powers[0]).to(device),
        scale=exactly(cells, cells / (2 * REACH))[:, None],
        shift=exactly(-0.5, (cells - 1) / 2)[:, None],
        one=exactly(1).squeeze(),
        per_degree=exactly(1 / (dimension - 1)).squeeze(),
    )


def _polynomials(dimension: int, count: int) -> Tensor:
    """The table's polynomials with `count` coefficients in each variable, in float64."""
    cells = _cells(dimension)
    offset = torch.cos(math.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count).flip(0) / 2
    middle = torch.arange(cells, dtype=torch.float64) + 0.5
    at = ((middle[:, None] + offset) / cells).flatten()  # the nodes, in units of the interval
    e = torch.cat([_quantiles(x, (2 * at - 1) * REACH, dimension) for x in at.split(_CONCENTRATIONS_AT_ONCE)])
    e = e.view(cells, count, cells, count).transpose(1, 2)
    to_coefficients = torch.linalg.inv(torch.linalg.vander(offset))
    return (to_coefficients @ e @ to_coefficients.T).reshape(cells * cells, count, count)


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

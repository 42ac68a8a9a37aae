"""The picture of methods side by side: everything that was measured is in it, and can be read."""

import itertools
import random

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from pyro_textvae.figures.methods import Method, nll_against
from pyro_textvae.tables.likelihood import CODE


def crowd(count: int) -> list[Method]:
    """Half of them collapsed to nearly one place, as in the published tables."""
    generator = random.Random(0)
    return [
        Method(
            f"method {i} (0.{i})",
            nll=(328 + generator.random(), 0.2 if i % 3 else None),
            told=(0.01 * i if i % 2 else 9 * generator.random(), 0.1 if i % 3 else None),
            group="from an AE" if i % 5 == 0 else "from scratch",
        )
        for i in range(count)
    ]


def test_every_method_is_a_point_with_its_name_and_a_language_model_is_a_line():
    methods = [*crowd(4), *(Method(f"LM {i}", (327.5 + i, None), None) for i in range(5))]
    axes = nll_against(methods, CODE, "somewhere").axes[0]
    points = [c for c in axes.containers if isinstance(c, ErrorbarContainer)]
    assert [np.asarray(c.lines[0].get_xydata()).tolist()[0] for c in points] == [
        [m.told[0], m.nll[0]] for m in methods if m.told is not None
    ]
    assert [text.get_text() for text in axes.texts] == [m.name for m in methods[:4]]
    assert [bool(c.has_yerr) for c in points] == [m.nll[1] is not None for m in methods[:4]]
    legend = axes.get_legend()
    assert legend is not None
    said = [text.get_text() for text in legend.get_texts()]
    assert set(said) == {"from an AE", "from scratch", *(f"LM {i}, without a code" for i in range(5))}
    for i in range(5):
        assert any(np.allclose(line.get_ydata(), 327.5 + i) for line in axes.get_lines())


def test_no_name_lies_over_another_nor_over_a_point_nor_outside():
    figure = nll_against(crowd(20), CODE)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    for (a, one), (b, other) in itertools.combinations(zip(axes.texts, boxes, strict=True), 2):
        width, height = (min(one.x1, other.x1) - max(one.x0, other.x0)), (min(one.y1, other.y1) - max(one.y0, other.y0))
        assert width <= 0 or height <= 1, (a.get_text(), b.get_text())
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
    assert all(frame.y0 <= box.y0 + 1 and box.y1 - 1 <= frame.y1 for box in boxes)
    centres = axes.transData.transform([(m.told[0], m.nll[0]) for m in crowd(20) if m.told])
    assert not any(box.contains(x, y) for box in boxes for x, y in centres)


def test_an_axis_is_logarithmic_over_a_decade_and_one_group_needs_no_legend():
    near, far = (
        [Method(name, (3.0, None), (told, None), group="all") for name, told in (("a", 100.0), ("b", most))]
        for most in (116.0, 1600.0)
    )
    axes = [nll_against(methods, CODE, logarithmic=True).axes[0] for methods in (near, far)]
    assert [each.get_xscale() for each in axes] == ["linear", "log"]
    assert all(each.get_legend() is None for each in axes)
    assert nll_against(far, CODE).axes[0].get_xscale() == "linear"


def test_no_method_makes_no_picture():
    with pytest.raises(ValueError, match="no method"):
        nll_against([], CODE)

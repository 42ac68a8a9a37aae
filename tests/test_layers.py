"""Data flow one way, and so do imports: a module sees only those above it in LAYERS."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pyro_textvae"
DISTRIBUTIONS = ROOT / "distributions" / "pyro_textvae_distributions"

# Modules of one line may see each other, as long as no circle comes of it.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "options", "shown", "distributions", "size", "linear_cross_entropy", "information"),
    ("corpus", "toy"),
    ("batch",),
    ("encoders", "posteriors", "priors", "decoders", "nvrnn"),
    ("vae",),
    ("schedules", "objective", "terms", "optim"),
    ("updates", "refine"),
    ("recipes",),
    ("evaluation",),
    ("figures",),  # of a run, whose type alone they import
    ("checkpoint",),
    ("run",),
    ("pretraining", "protocols"),
    ("decay",),
    ("loop",),
    ("training",),
    ("demo", "tables"),
    ("cli",),
    ("__init__", "__main__"),  # names, no logic
)
FRONT = ("cli", "__init__", "__main__")  # these may see everything, each other too
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def modules() -> dict[str, list[Path]]:
    """The package's modules and their files; a folder counts as one module."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        found.setdefault(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), []).append(path)
    return found


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(absolute dotted name, line) of each import of `path`, inside functions too.

    Imports under `if TYPE_CHECKING:` are left out: they name a type and run nothing;
    import_module("...") counts as one.
    """
    root = DISTRIBUTIONS.parent if path.is_relative_to(DISTRIBUTIONS) else ROOT
    package = list(path.relative_to(root).parts[:-1])

    def walk(node: ast.AST) -> Iterator[tuple[str, int]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from ((".".join([*base, alias.name]), node.lineno) for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.orelse:
                yield from walk(child)
        else:
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                names = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
                yield from ((name, node.lineno) for name in names if isinstance(name, str))
            for child in ast.iter_child_nodes(node):
                yield from walk(child)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")))


def ours(dotted: str) -> str | None:
    """Which module of pyro_textvae a dotted name is of: itself for a module, `__init__` for a public name."""
    parts = dotted.split(".")
    if parts[0] != "pyro_textvae":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in {*RANK, *modules()} else "__init__"


def test_every_module_has_its_place_in_the_layers():
    homeless = sorted(set(modules()) - set(RANK))
    assert not homeless, f"{homeless} of pyro_textvae: give each a line of LAYERS in {Path(__file__).name}"


@pytest.mark.parametrize("name", [name for name in modules() if name not in FRONT])
def test_a_module_imports_only_from_those_above_it(name: str):
    assert name in RANK, f"give pyro_textvae.{name} a line of LAYERS in {Path(__file__).name}"
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {dotted}"
        for path in modules()[name]
        for dotted, line in imports(path)
        if (target := ours(dotted)) not in (None, name) and RANK.get(target, 0) > RANK[name]
    ]
    assert not wrong, "imports from below:\n" + "\n".join(wrong)


def test_modules_of_one_layer_make_no_circle():
    graph = {
        name: {target for path in paths for dotted, _ in imports(path) if (target := ours(dotted)) not in (None, name)}
        for name, paths in modules().items()
        if name not in FRONT
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports go round: {' -> '.join(error.args[1])}")


def test_the_distributions_know_torch_pyro_and_numpy_and_nothing_of_text():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {dotted}"
        for path in sorted(DISTRIBUTIONS.rglob("*.py"))
        for dotted, line in imports(path)
        if (top := dotted.partition(".")[0]) not in {"torch", "pyro", "numpy", DISTRIBUTIONS.name}
        and top not in sys.stdlib_module_names
    ]
    assert not wrong, "\n".join(wrong)


def test_the_distributions_are_entered_through_one_door():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {dotted}: import it from pyro_textvae.distributions"
        for name, paths in modules().items()
        if name != "distributions"
        for path in paths
        for dotted, line in imports(path)
        if dotted.partition(".")[0] == DISTRIBUTIONS.name
    ]
    assert not wrong, "\n".join(wrong)


def test_importing_package_and_command_line_leaves_scikit_learn_and_matplotlib_alone():
    code = "import sys, pyro_textvae.cli; print(*sorted({'sklearn', 'matplotlib'} & set(sys.modules)))"
    path = f"import sys; sys.path[:0] = {[str(ROOT), str(DISTRIBUTIONS.parent)]!r}; "
    child = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, timeout=120)
    assert child.returncode == 0, child.stderr
    assert child.stdout.split() == []

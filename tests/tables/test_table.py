"""A table of two existing recipes on a hundred sentences: trained once, and asked for in many ways."""

import csv
import json
import math
import os
import re
import shutil
import signal
import statistics
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyro_textvae import load, train
from pyro_textvae.cli import main
from pyro_textvae.loop import Loop
from pyro_textvae.shown import Spread
from pyro_textvae.tables import (
    TABLES,
    Budget,
    FewLabels,
    Likelihood,
    Result,
    Row,
    Table,
    engine,
    likelihood,
    table,
)
from pyro_textvae.tables.few_labels import MAJORITY, METHODS, accuracy
from pyro_textvae.tables.likelihood import MI, NLL
from pyro_textvae.tables.page import duration
from pyro_textvae.training import MEASUREMENT
from tests.tiny import some_texts

SIZES = {"hidden": 8, "embedding": 8, "latent": 3, "batch_size": 16, "epochs": 2}
TINY = Table(
    "tiny",
    title="Three of them",
    source="nobody",
    rows=(
        Row("LM", "lstm_lm", published={"there": {"NLL": "≤9.1"}}),
        Row("VAE", "annealed_vae", shares={"warm_up": 0.5}, seeds=2, published={"there": {"NLL": "9.5", "KL": "0.0"}}),
        Row("β-VAE (0.4)", "beta_vae", {"beta": 0.4}),
    ),
    budgets={"smoke": Budget("nothing", SIZES, samples=3), "small": Budget("more", SIZES | {"hidden": 9}, samples=4)},
    protocols={"modern": {}, "old": {"optimizer": "sgd"}},
    measure=Likelihood(),
    notes=("Nobody said so.",),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for number, split in enumerate(("train", "valid", "test")):
        (folder / f"{split}.txt").write_text("\n".join(some_texts(100 if split == "train" else 30, seed=number)))
    return folder


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return table(TINY, data, tmp_path_factory.mktemp("table") / "tiny", budget="smoke", progress=False)


@pytest.fixture
def nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise AssertionError("something was trained")

    monkeypatch.setattr(engine, "trained", train)


def again(made: Result, data: Path, **options: Any) -> Result:
    which = options.pop("which", TINY)
    return table(which, data, made.output, **{"budget": "smoke", "progress": False} | options)


# What is made.


def test_every_row_is_trained_at_its_seeds_and_measured_with_importance_samples(made: Result):
    assert [(line.row.name, list(line.seeds)) for line in made.lines] == [
        ("LM", [0]),
        ("VAE", [0, 1]),
        ("β-VAE (0.4)", [0]),
    ]
    assert {path.parent.name for path in made.output.glob("*/seed-*")} == {"lm", "vae", "beta-vae-0.4"}
    for line in made.lines:
        for directory, seed in zip(line.runs, line.seeds, strict=True):
            run = load(directory)
            assert run.recipe["seed"] == seed and set(run.metrics) == {"valid", "test"}
            assert run.metrics["test"]["importance_tempered_samples"] == 3


def test_options_that_count_updates_are_shares_of_those_planned(made: Result):
    # 100 sentences by 16 are 7 updates an epoch, 14 in all, half of which are 7
    assert load(made.output / "vae" / "seed-0").recipe["options"]["warm_up"] == 7


def test_updates_planned_are_those_of_the_protocols_own_batches(data: Path, tmp_path: Path):
    # Batches of one length: as many for each as its sentences need.
    protocols = {"paper": {"protocol": "zhu2020"}}
    made = table(
        replace(TINY, rows=TINY.rows[1:2], protocols=protocols), data, tmp_path, budget="smoke", seeds=1, progress=False
    )
    run = load(made.lines[0].runs[0])
    assert run.recipe["training"]["batching"] == "exact"
    per_length = Counter(len(text.split()) for text in (data / "train.txt").read_text().splitlines())
    an_epoch = sum(math.ceil(count / SIZES["batch_size"]) for count in per_length.values())
    assert an_epoch > 7 and run.recipe["options"]["warm_up"] == an_epoch  # half of two epochs


def test_numbers_are_mean_and_deviation_over_seeds(made: Result):
    vae = made.lines[1]
    tests = [load(directory).metrics["test"] for directory in vae.runs]
    for name in Likelihood.titles:
        values = [test[name] for test in tests]
        assert vae.measures[name].mean == pytest.approx(statistics.fmean(values))
        assert vae.measures[name].deviation == pytest.approx(statistics.stdev(values))
    assert made.lines[0].measures[NLL].deviation is None
    assert MI not in made.lines[0].measures  # a language model has no code
    assert str(Spread(1.005, None)) == "1.00" and str(Spread(2, 0.125)) == "2.00 ± 0.12"


def test_time_is_for_each_example_seen_and_beside_the_timed_row(made: Result):
    def an_example(directory: str) -> float:
        return sum(row["cpu_seconds"] for row in load(directory).history) / (2 * 100)

    vae = statistics.fmean(map(an_example, made.lines[1].runs))
    assert made.lines[1].time_ratio == pytest.approx(1)
    assert made.lines[0].time_ratio == pytest.approx(an_example(made.lines[0].runs[0]) / vae)
    assert made.lines[0].epochs == [2] and made.lines[1].epochs == [2, 2]


def test_the_page_says_what_was_done_and_whose_numbers_are_whose(made: Result):
    text = (made.output / "table.md").read_text(encoding="utf-8")
    assert "hidden=8" in text and "epochs=2" in text and "Budget `smoke`: nothing" in text and "by 3 samples" in text
    assert "of the protocol or by default layers=1, cell=None, " in text and "clip=5.0" in text
    assert text.count("hidden=") == 1 and "threads" not in text
    assert "100 sentences to train on" in text and f"at most {math.log(30):.2f}" in text and "Nobody said so." in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    head, _, *body = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert head[-2:] == ["paper's there: NLL", "paper's there: KL"] and len(body) == 3
    assert [row[-2:] for row in body] == [["≤9.1", ""], ["9.5", "0.0"], ["", ""]]
    assert body[0][head.index("AU")] == "-" and body[1][head.index("seeds")] == "2"
    assert body[1][head.index("NLL (IW)")] == str(made.lines[1].measures[NLL])
    assert (made.output / "table.png").read_bytes().startswith(b"\x89PNG")


def test_the_csv_has_every_digit_and_the_units_in_its_names(made: Result):
    with open(made.output / "table.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == ["LM", "VAE", "β-VAE (0.4)"]
    spread = made.lines[1].measures[NLL]
    assert float(rows[1][NLL]) == spread.mean and float(rows[1][f"{NLL}_standard_deviation"]) == spread.deviation
    assert rows[0][f"{NLL}_standard_deviation"] == "" and rows[0]["published_there_NLL"] == "≤9.1"
    assert json.loads(rows[2]["options"]) == {"beta": 0.4} and float(rows[2]["seconds_of_training"]) > 0


def test_rows_that_begin_with_an_autoencoder_share_it(data: Path, tmp_path: Path):
    rows = (
        Row("AE+BN", "bn_vae", {"gamma": 0.6}, init_from="ae"),
        Row("AE+vMF", "vmf_vae", init_from="ae"),
        Row("AE+wide", "vae", {"hidden": 9}, init_from="ae"),  # which the others' encoder does not fit
    )
    made = table(replace(TINY, rows=rows, timed="AE+BN"), data, tmp_path / "t", budget="smoke", progress=False)
    shared = tmp_path / "t" / "ae" / "seed-0"
    runs = [load(line.runs[0]) for line in made.lines]
    assert [run.stages[0].directory.resolve() for run in runs] == [shared, shared, runs[2].directory / "ae"]
    assert load(shared).recipe["recipe"] == "beta_vae" and load(shared).recipe["options"]["beta"] == 0
    # Its epochs and its time are theirs, for each of them.
    assert [line.epochs for line in made.lines] == [[4], [4], [4]]
    assert made.lines[0].seconds == sum(row["cpu_seconds"] for stage in runs[0].stages for row in stage.history)
    # A table that was moved finds it.
    moved = (tmp_path / "t").rename(tmp_path / "elsewhere")
    assert load(moved / "ae+bn" / "seed-0").stages[0].directory.resolve() == moved / "ae" / "seed-0"


def test_a_budget_caps_what_is_dear_and_says_so(data: Path, tmp_path: Path):
    capped = Budget("nothing", SIZES | {"epochs": 1}, samples=2, caps={"beta_vae": {"beta": 0.25}})
    made = table(replace(TINY, budgets={"smoke": capped}), data, tmp_path, budget="smoke", seeds=1, progress=False)
    assert load(made.lines[2].runs[0]).recipe["options"]["beta"] == 0.25
    assert "Only for beta_vae: beta=0.25." in (tmp_path / "table.md").read_text(encoding="utf-8")


# Called again.


@pytest.mark.usefixtures("nothing_is_trained")
def test_a_finished_table_is_only_read_again(made: Result, data: Path):
    before = {path.name: path.read_bytes() for path in made.files}
    assert again(made, data).data() == made.data()
    # What was asked for before stays in the table, whatever is asked for now.
    assert again(made, data, rows=["LM"], seeds=1).data() == made.data()
    assert {path.name: path.read_bytes() for path in made.files} == before


def test_what_is_measured_by_hand_does_not_change_the_table(made: Result, data: Path, tmp_path: Path):
    output = tmp_path / "copy"
    shutil.copytree(made.output, output)
    load(output / "lm" / "seed-0").evaluate("test")
    assert table(TINY, data, output, budget="smoke", progress=False).lines[0].measures == made.lines[0].measures


def test_a_run_that_was_trained_on_is_measured_again(made: Result, data: Path, tmp_path: Path):
    output, run = tmp_path / "copy", tmp_path / "copy" / "lm" / "seed-0"
    shutil.copytree(made.output, output)
    (measured,) = json.loads((run / MEASUREMENT).read_text())["measurements"]
    longer: dict[str, Any] = SIZES | {"epochs": 3}
    train("lstm_lm", data, output=run, resume=True, finish=False, progress=False, **longer)
    assert not (run / MEASUREMENT).exists()
    result = engine.finished_runs(TINY, output, 3)
    assert "LM" not in result and result["VAE"][0].numbers.keys() == Likelihood.titles.keys()
    assert measured["numbers"].keys() < Likelihood.titles.keys()  # a language model has no code


def test_runs_without_cpu_time_keep_their_wall_time_and_the_page_says_which(made: Result, data: Path, tmp_path: Path):
    output = tmp_path / "copy"
    shutil.copytree(made.output, output)
    for path in output.glob("lm/seed-*/metrics.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            del row["cpu_seconds"]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lm, vae, _ = table(TINY, data, output, budget="smoke", progress=False).lines
    assert (lm.clock, lm.ratio_clock, vae.clock) == ("seconds", "seconds", "cpu_seconds")
    wall = [sum(row["seconds"] for row in load(line.runs[0]).history) for line in (lm, vae)]
    assert lm.seconds == wall[0] and vae.seconds == made.lines[1].seconds
    walls = [sum(row["seconds"] for row in load(run).history) for run in vae.runs]
    assert lm.time_ratio == pytest.approx(wall[0] / (sum(walls) / len(walls)))  # never CPU time over wall time
    text = (output / "table.md").read_text(encoding="utf-8")
    assert f"| {lm.seconds / 60:.1f} (wall) | {lm.time_ratio:.2f} (wall) |" in text and "| 1.00 |" in text


def test_another_number_of_samples_measures_anew_and_forgets_nothing(
    made: Result, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output = tmp_path / "copy"
    shutil.copytree(made.output, output)
    more = table(TINY, data, output, budget="smoke", samples=9, progress=False)
    assert [len(line.runs) for line in more.lines] == [len(line.runs) for line in made.lines]
    vae, as_made = (result.lines[1].measures[NLL].mean for result in (more, made))
    assert vae != as_made  # by 9 draws and by 3
    assert "9 samples" in (output / "table.md").read_text(encoding="utf-8")
    monkeypatch.setattr(Likelihood, "numbers", None)  # nothing is measured
    back = table(TINY, data, output, budget="smoke", progress=False)
    assert [line.measures for line in back.lines] == [line.measures for line in made.lines]
    for path in output.glob(f"*/seed-*/{MEASUREMENT}"):  # as files were before they kept several
        (first, *_) = [each for each in json.loads(path.read_text())["measurements"] if each["samples"] == 3]
        path.write_text(json.dumps(first))
    assert engine.finished_runs(TINY, output, 3).keys() == {line.row.name for line in made.lines}


def test_a_changed_constant_of_the_measure_measures_anew_and_nothing_else_does(
    made: Result, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output = tmp_path / "copy"
    shutil.copytree(made.output, output)
    files = sorted(output.glob(f"*/seed-*/{MEASUREMENT}"))
    assert len(files) == 4
    count, numbers = 0, Likelihood.numbers

    def counted(self: Likelihood, *given: Any) -> Any:
        nonlocal count
        count += 1
        return numbers(self, *given)

    monkeypatch.setattr(Likelihood, "numbers", counted)
    table(TINY, data, output, budget="smoke", progress=False)
    assert count == 0
    monkeypatch.setattr(likelihood, "MOST_SENTENCES", 20)
    assert engine.finished_runs(TINY, output, 3) == {}
    table(TINY, data, output, budget="smoke", progress=False)
    assert count == 4
    found = [json.loads(path.read_text())["measurements"] for path in files]
    assert all(each["constants"]["most_sentences"] == 20 for (each,) in found)


LABELLED = replace(TINY, name="labelled", rows=TINY.rows[1:], measure=FewLabels())


def test_a_table_of_accuracies_has_a_number_for_each_subset_of_labels(tmp_path: Path):
    folder = tmp_path / "labelled"
    folder.mkdir()
    for number, split in enumerate(("train", "valid", "test")):
        texts = some_texts(120 if split == "train" else 30, seed=number)
        rows = [f"{'even' if len(text.split()) % 2 else 'odd'}\t{text}" for text in texts]
        (folder / f"{split}.tsv").write_text("\n".join(rows))
    made = table(LABELLED, folder, tmp_path / "t", budget="smoke", seeds=1, progress=False)
    line = made.lines[0]
    # Of COUNTS there are labels for 100 alone, of which three subsets are drawn.
    assert {name for name in line.measures if name.startswith("accuracy")} == {
        MAJORITY,
        *(accuracy(method, 100) for method in METHODS),
    }
    run = load(line.runs[0])
    for method, options in METHODS.items():
        shares = [100 * share for share in run.classify(seeds=3, **options).accuracies[100]]
        assert line.measures[accuracy(method, 100)] == Spread.of(shares)
    page = (tmp_path / "t" / "table.md").read_text(encoding="utf-8")
    assert "frozen, 100" in page and "over 3 labelled subsets" in page
    assert (tmp_path / "t" / "table.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("nothing_is_trained")
def test_a_table_of_accuracies_needs_labels(data: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="has no label column"):
        table(LABELLED, data, tmp_path / "t", budget="smoke", progress=False)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_loses_nothing_and_the_numbers_are_those_of_a_table_never_stopped(
    made: Result, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps, note = 0, Loop._note

    def stopping(self: Loop, *given: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 14 + 5:  # in the first epoch of the second run
            os.kill(os.getpid(), signal.SIGINT)
        note(self, *given)

    monkeypatch.setattr(Loop, "_note", stopping)
    output = tmp_path / "tiny"
    with pytest.raises(KeyboardInterrupt):
        table(TINY, data, output, budget="smoke", progress=False)
    text = (output / "table.md").read_text(encoding="utf-8")
    assert "| LM |" in text and "| VAE |" not in text and "Not measured yet: VAE" in text
    result = table(TINY, data, output, budget="smoke", progress=False)
    assert steps == 4 * 14
    assert [line.measures for line in result.lines] == [line.measures for line in made.lines]


def test_more_seeds_of_some_rows_are_added_to_a_table(made: Result, data: Path, tmp_path: Path):
    output = tmp_path / "copy"
    shutil.copytree(made.output, output)
    result = table(TINY, data, output, budget="smoke", rows=["beta-vae-0.4"], seeds=2, progress=False)
    assert [list(line.seeds) for line in result.lines] == [[0], [0, 1], [0, 1]]


@pytest.mark.usefixtures("nothing_is_trained")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 3}, "epochs: 2 then, 3 now"),
        ({"budget": "small"}, "budget: 'smoke' then, 'small' now; hidden: 8 then, 9 now"),
        ({"protocol": "old"}, "protocol: 'modern' then, 'old' now"),
        ({"min_count": 2}, "min_count: None then, 2 now"),
        (
            {"which": replace(TINY, rows=(*TINY.rows[:2], Row("β-VAE (0.4)", "beta_vae", {"beta": 0.5})))},
            "beta of row 'β-VAE (0.4)': 0.4 then, 0.5 now",
        ),
    ],
)
def test_a_table_is_not_resumed_with_other_settings(made: Result, data: Path, options: dict[str, Any], said: str):
    settings = (made.output / "table.json").read_bytes()
    with pytest.raises(ValueError, match="holds a table of other settings") as refused:
        again(made, data, **options)
    assert said in str(refused.value)
    assert (made.output / "table.json").read_bytes() == settings


@pytest.mark.usefixtures("nothing_is_trained")
def test_a_table_is_not_resumed_on_another_corpus(made: Result, data: Path, tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(data, other)
    (other / "valid.txt").write_text("w1 w2\n")
    with pytest.raises(ValueError, match=r"corpus name: .* then, 'other' now; corpus sha256"):
        again(made, other)


# What is refused before anything is trained.


@pytest.mark.usefixtures("nothing_is_trained")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rows": ["VEA"]}, "no row 'VEA' (did you mean 'VAE'?); its rows are: LM, VAE, β-VAE (0.4)"),
        ({"rows": []}, "no row was asked for"),
        ({"budget": "smal"}, "unknown budget 'smal' (did you mean 'small'?)"),
        ({"protocol": "odl"}, "unknown protocol 'odl' (did you mean 'old'?)"),
        ({"seeds": 0}, "seeds=0"),
        ({"samples": 0}, "samples=0"),
        ({"hiden": 3}, "row 'LM': 'lstm_lm' has no option 'hiden' (did you mean 'hidden'?)"),
        (
            {"beta": 0.7},
            "beta=0.7 was asked for, but every row of table 'tiny' that has 'beta' has its own (β-VAE (0.4) 0.4)",
        ),
        ({"epochs": 0}, "'epochs' is 0"),
        ({"hidden": 0}, "'hidden' is 0"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        (
            {"which": replace(TINY, rows=(*TINY.rows, Row("new", "newest_vae"), Row("BN", "bn_vae", {"gamma": 1})))},
            "1 rows of table 'tiny' need recipes that are not known here: newest_vae (new)",
        ),
        ({"which": replace(TINY, rows=(Row("BN", "bn_vae", {"gamma": -1}),))}, "row 'BN': 'gamma' is -1"),
        ({"which": "zhu2002"}, "unknown table 'zhu2002' (did you mean 'zhu2020'?)"),
    ],
)
def test_a_mistake_is_refused_before_any_training(data: Path, tmp_path: Path, options: dict[str, Any], said: str):
    given: dict[str, Any] = {"which": TINY, "budget": "smoke"} | options
    with pytest.raises(ValueError, match=re.escape(said)):
        table(data=data, output=tmp_path / "new", **given)
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("nothing_is_trained")
def test_what_is_no_place_for_a_table_is_refused(data: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        table(TINY, data, tmp_path / "file", budget="smoke")
    with pytest.raises(ValueError, match="not empty and holds no table"):
        table(TINY, data, tmp_path, budget="smoke")
    untested = tmp_path / "untested"
    shutil.copytree(data, untested)
    (untested / "test.txt").unlink()
    with pytest.raises(ValueError, match="no test split"):
        table(TINY, untested, tmp_path / "new", budget="smoke")


def test_two_rows_of_one_name_are_refused():
    with pytest.raises(ValueError, match="'VAE'"):
        replace(TINY, rows=(Row("VAE", "vae"), Row("VAE", "annealed_vae")))
    with pytest.raises(ValueError, match="'beta-vae'"):
        replace(TINY, rows=(Row("β-VAE", "vae"), Row("beta VAE", "beta_vae")))


def test_a_run_that_diverges_is_reported_and_the_others_go_on(data: Path, tmp_path: Path):
    wild = Row("wild", "vae", {"learning_rate": 1e30})
    which = replace(TINY, rows=(wild, Row("LM", "lstm_lm")), timed="wild")
    result = table(which, data, tmp_path / "t", budget="smoke", progress=False)
    assert list(result.failed) == ["wild, seed 0"] and "learning rate" in result.failed["wild, seed 0"]
    assert [(line.row.name, line.time_ratio) for line in result.lines] == [("LM", None)]
    assert "wild, seed 0" in result.text() and "Not measured yet: wild" in (tmp_path / "t" / "table.md").read_text()


# The command.


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engine.TABLES, "tiny", TINY)


@pytest.mark.usefixtures("known", "nothing_is_trained")
def test_the_command_answers_with_the_table_or_with_json(made: Result, data: Path, capsys: pytest.CaptureFixture[str]):
    words = ["table", "tiny", "--data", str(data), "--output", str(made.output), "--budget", "smoke"]
    assert main([*words, "--rows", "LM, VAE"]) == 0
    said = capsys.readouterr()
    assert "NLL (IW)" in said.out and "β-VAE (0.4)" in said.out and str(made.output / "table.md") in said.out
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == made.data()
    assert main([*words, "--rows", "VEA"]) == 1 and "did you mean 'VAE'?" in capsys.readouterr().err
    assert main([*words, "--epochs", "3"]) == 1 and "epochs: 2 then, 3 now" in capsys.readouterr().err
    assert main([*words, "--set", "hidden=9"]) == 1 and "hidden: 8 then, 9 now" in capsys.readouterr().err
    assert main([*words[:1], "tinny", *words[2:]]) == 1 and "did you mean 'tiny'?" in capsys.readouterr().err


@pytest.mark.usefixtures("known")
def test_the_command_stopped_says_how_to_go_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "trained", stop)
    words = ["table", "tiny", "--data", str(data), "--output", str(tmp_path / "t"), "--budget", "smoke"]
    assert main(words) == 130
    assert capsys.readouterr().err.splitlines()[-1].strip() == f"pyro-textvae {' '.join(words)}"


def test_the_table_of_ones_own_in_the_documentation_runs(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page = Path(__file__).parents[2] / "docs" / "tables.md"
    code = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)[-1]
    assert code.count('"toy"') == 1
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace('"toy"', repr(str(data))), str(page), "exec"), {})
    assert "| BN (0.5) |" in (tmp_path / "runs" / "gammas" / "table.md").read_text()


def test_times_are_said_in_words():
    assert [duration(s) for s in (0, 61, 5399, 5400, 36_000)] == ["1 min", "1 min", "90 min", "1.5 h", "10.0 h"]


def test_a_row_whose_name_has_a_comma_could_not_be_asked_for_and_is_refused():
    with pytest.raises(ValueError, match="row 'a, b' of table 'tiny' has a comma, by which --rows divides"):
        replace(TINY, name="tiny", rows=(Row("a, b", "vae"),))


def test_no_title_says_that_what_is_measured_is_on_the_papers_corpus():
    corpora = ("Penn Treebank", "Yelp", "DailyDialog", "20 Newsgroups")
    assert not [each.title for each in TABLES.values() for corpus in corpora if f"on {corpus}" in each.title]

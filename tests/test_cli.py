"""Each command on a tiny run; what it prints, where, and its exit code."""

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest

from pyro_textvae import load, recipes
from pyro_textvae.cli import COMMANDS, commands, main, options
from pyro_textvae.cli.arguments import State
from pyro_textvae.evaluation import generated
from pyro_textvae.evaluation.verdict import State as VerdictState
from pyro_textvae.options import fits
from pyro_textvae.tables import TABLES
from pyro_textvae.training import Diverged, Training
from tests.tiny import some_texts, train_tiny

ROOT = Path(__file__).parents[1]
TINY = ["--epochs=1", *(f"--set={s}" for s in ("hidden=8", "embedding=8", "latent=3", "components=4"))]


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]):
    def call(*words: object) -> Said:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="module")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "themes.tsv"
    path.write_text("".join(f"theme{n % 3}\t{text}\n" for n, text in enumerate(some_texts(90))), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(text_file: Path) -> Path:
    directory = text_file.parent / "run"
    assert main(["train", "dem_vae", "--data", str(text_file), "--output", str(directory), *TINY]) == 0
    return directory


def child(*words: str, **options: Any) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "distributions")])
    return subprocess.Popen(
        [sys.executable, "-m", "pyro_textvae", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "200"},
        **options,
    )


# Help and usage.


def test_help_fits_a_screen_and_names_every_command(say):
    said = say("--help")
    assert said.code == 0 and not said.err
    assert all(f"  {name} " in said.out for name in COMMANDS)
    lines = said.out.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    assert sum(line.startswith("  pyro-textvae ") for line in lines) == 3


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_takes_json(name: str, say):
    said = say(name, "--help")
    assert said.code == 0 and "--json" in said.out and f"pyro-textvae {name}" in said.out


def test_help_before_a_command_is_the_commands_help(say):
    assert say("help", "train").out == say("train", "--help").out


def test_no_command_at_all_shows_the_help_and_is_wrong_usage(say):
    said = say()
    assert said.code == 2 and "examples:" in said.out


def test_version_is_said(say):
    said = say("--version")
    assert said.code == 0 and said.out.startswith("pyro-textvae ")


def test_an_unknown_command_says_which_may_be_meant(say):
    said = say("trian", "dem_vae")
    assert said.code == 2 and not said.out
    assert said.err.startswith("error: ") and "did you mean 'train'?" in said.err


def test_an_unknown_option_says_which_may_be_meant(say):
    said = say("train", "--dta", "x")
    assert said.code == 2 and not said.out and "--data" in said.err and "Traceback" not in said.err


@pytest.mark.parametrize("words", [("sample",), ("sample", "x", "--count", "many"), ("verdict", "x", "--fail-on", "y")])
def test_wrong_usage_exits_with_2(words: tuple[str, ...], say):
    assert say(*words).code == 2


def test_what_the_help_says_of_defaults_and_states_is_so(say):
    assert f"(default: {Training().epochs})" in " ".join(say("train", "--help").out.split())
    assert {state.replace(" ", "-") for state in get_args(VerdictState)} - {"healthy"} == set(get_args(State)[2:])


# recipes


def test_recipes_lists_every_recipe_with_its_summary_and_its_options(say):
    said = say("recipes")
    assert all(recipes().summary(name) in said.out for name in recipes())
    assert "gamma=0.7" in said.out
    listed = say("recipes", "--json").json
    assert list(listed) == list(recipes()) and listed["bn_vae"]["options"] == {"gamma": 0.7}


def test_the_help_of_table_names_every_protocol_of_a_table(say):
    said = say("table", "--help").out.rpartition("--protocol")[2].partition("--rows")[0]
    assert all(protocol in said for each in TABLES.values() for protocol in each.protocols)


def test_one_recipe_is_explained_in_full(say):
    said = say("recipes", "dem_vae")
    assert all(each in said.out for each in ("two concentrations", "'gaussian' or 'shared variance'", "hidden=128"))
    told = say("recipes", "vmf_nvrnn").out
    assert "numbers such as [0.25, 0.75]" in told and 'the one\ncolumn of a .tsv is called "label"' in told
    said = say("recipes", "dem_vea")
    assert said.code == 1 and "did you mean 'dem_vae'?" in said.err


def test_the_states_to_fail_on_are_listed_in_their_order_and_none_is_not_one(say):
    said = " ".join(say("verdict", "x", "--fail-on", "y").err.replace("│", "").split())
    assert ", ".join(map(repr, get_args(State))) in said and "None" not in said
    assert say("verdict", "x", "--fail-on", "None").code == 2


# train


def test_train_answers_on_stdout_and_speaks_of_its_progress_on_stderr(text_file: Path, tmp_path: Path, say):
    directory = tmp_path / "run"
    said = say("train", "vae", "--data", text_file, "--output", directory, *TINY[:3], "--seed", 3, "--json")
    assert said.code == 0 and "epoch" in said.err and "posterior collapse" in said.err
    assert said.json["run"] == str(directory) and said.json["verdict"]["state"] == "posterior collapse"
    assert said.json["metrics"]["valid"]["kl_nats_per_sentence"] >= 0
    recipe = load(directory).recipe
    assert recipe["seed"] == 3 and recipe["size"]["hidden"] == 8 and recipe["training"]["epochs"] == 1
    # The same command on the same directory: refused, and in the words of the command line.
    again = say("train", "vae", "--data", text_file, "--output", directory, *TINY[:3], "--seed", 3)
    assert again.code == 1 and "--resume" in again.err and "resume=True" not in again.err
    # With --resume it is only opened; with --fail-on its verdict decides.
    words = ("train", "vae", "--data", text_file, "--output", directory, *TINY[:3], "--seed", 3, "--resume")
    assert say(*words).code == 0
    said = say(*words, "--fail-on", "collapse")
    assert said.code == 3 and f"run      {directory}" in said.out and "--fail-on" in said.err


@pytest.mark.parametrize(
    "words, expected",
    [
        (["dem_vea"], "did you mean 'dem_vae'?"),
        (["vae", "--set", "hiden=3"], "did you mean 'hidden'?"),
        (["vae", "--set", "gamma=0.7"], "bn_vae, gm_vae, dgm_vae, dem_vae have it"),
        (["vae", "--set", "hidden"], "name=value is expected"),
        (["vae", "--set", "hidden=many"], "'hidden' is a whole number: its default is hidden=128"),
        (["vae", "--set", "hidden=0"], "at least 1"),
        (["vae", "--set", "tied=1"], "'tied' is true or false"),
        (["vae", "--set", "optimizer=adam"], "'adamw' or 'sgd'"),
        (["vae", "--set", "seed=1"], "an option of its own: --seed"),
        (["vae", "--set", "hidden=1", "--set", "hidden=2"], "twice"),
        (["vae", "--data", "absent.txt"], "absent.txt"),
        (["vae", "--data", "toys"], "did you mean 'toy'?"),
        (["vae", "--resume"], "without output"),
    ],
)
def test_a_mistake_in_train_is_one_paragraph_without_traceback(
    words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say
):
    monkeypatch.chdir(tmp_path)
    said = say("train", *words)
    assert said.code == 1 and not said.out
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and expected in said.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [Diverged("at step 3"), OSError(28, "No space left on device"), ImportError("pip install datasets")]
)
def test_what_stops_a_training_is_said_without_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch, say):
    def stop(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("pyro_textvae.training.train", stop)
    said = say("train", "vae")
    assert said.code == 1 and said.err == f"error: {error}\n"


def test_what_pyro_adds_to_a_message_is_not_said(monkeypatch: pytest.MonkeyPatch, say):
    def stop(*_: Any, **__: Any) -> None:
        raise ValueError("no such class: take\nanother\nTrace Shapes:\n Param Sites:\nSample Sites:")

    monkeypatch.setattr("pyro_textvae.training.train", stop)
    assert say("train", "vae").err == "error: no such class: take another\n"


def test_an_error_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pyro_textvae.training.train", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["train", "vae"])


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_exits_with_130_and_prints_the_command_that_goes_on(text_file: Path, tmp_path: Path, say):
    sizes = ["--set", "hidden=8", "--set", "latent=3"]
    process = child("train", "vae", "--data", str(text_file), *sizes, "--epochs", "100000", cwd=tmp_path)
    directory = tmp_path / "runs" / "vae-themes"
    try:
        until = time.monotonic() + 240
        while not (directory / "last.safetensors").exists():
            assert process.poll() is None and time.monotonic() < until, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 130 and not out and "Traceback" not in err
    command = shlex.split(err.splitlines()[-1])
    assert command[0] == "pyro-textvae" and command[-3:] == ["--output", "runs/vae-themes", "--resume"]
    command[command.index("100000")], command[command.index("runs/vae-themes")] = "1", str(directory)
    assert say(*command[1:]).code == 0  # one epoch is over already: what is left is to evaluate


# verdict, evaluate, report, figures, compare


def test_a_verdict_on_a_run_that_was_stopped_is_told_what_to_type(run: Path, text_file: Path, tmp_path: Path, say):
    directory = train_tiny("dem_vae", tmp_path / "a run", str(text_file), epochs=1).directory
    for words in (("verdict", directory), ("compare", directory, run)):
        said = say(*words)
        assert said.code == 1 and "run.evaluate" not in said.err
    command = shlex.split(said.err.rpartition(": ")[2])
    assert command[0] == "pyro-textvae" and say(*command[1:]).code == 0
    assert say("verdict", directory).code == 0


def test_verdict_explains_and_fails_on_what_it_was_told(run: Path, say):
    state = load(run).verdict.state
    said = say("verdict", run)
    assert said.code == 0 and said.out.startswith(f"{state}:") and "try:" in said.out
    assert say("verdict", run, "--json").json["state"] == state
    for asked in get_args(State):
        fails = asked == state.replace(" ", "-") or asked == "unhealthy" or (asked == "collapse" and "coll" in state)
        assert say("verdict", run, "--fail-on", asked).code == (3 if fails else 0)


def test_generation_compares_what_a_run_writes_with_real_text(run: Path, say):
    said = say("generation", run, "--sentences", 20, "--epochs", 1, "--device", "cpu", "--max-length", 8, "--json")
    assert said.code == 0 and said.json["metrics"]["perplexity_reverse"] > 1
    assert said.json["settings"]["language_model"]["epochs"] == 1 and said.json["settings"]["max_length"] == 8
    assert (run / "generation.json").exists()
    said = say("generation", run, "--sentences", 20, "--measures", "word_kl", "distinct", "--decoding", "greedy")
    assert "distinct_1" in said.out and "decoding greedy" in said.out and "perplexity" not in said.out
    said = say("generation", run, "--measures", "wordkl")
    assert said.code == 1 and "did you mean 'word_kl'?" in said.err
    said = say("generation", run, "--language-model", run)
    assert said.code == 1 and "which is no language model" in said.err


def test_what_the_help_of_generation_says_of_defaults_is_so(say):
    help = " ".join(say("generation", "--help").out.split())
    for default in (generated.SENTENCES, generated.SELF_BLEU_SENTENCES, generated.LanguageModelBudget().epochs):
        assert f"(default: {default})" in help
    assert all(measure in help for measure in generated.MEASURES)


def test_evaluate_prints_metrics_of_a_split_or_of_a_file(run: Path, tmp_path: Path, say):
    said = say("evaluate", run, "--split", "valid", "--samples", 2, "--json")
    assert said.code == 0 and said.json["importance_samples"] == 2
    assert "kl_nats_per_sentence" in say("evaluate", run).out
    own = tmp_path / "own.txt"
    own.write_text("w1 w2\nw3 w4 w5\n")
    assert say("evaluate", run, "--data", own, "--json").json["nll_elbo_nats_per_sentence"] > 0
    said = say("evaluate", run, "--swaps", 0, 1, "--bleu", "greedy", "--json").json
    assert {"reconstruction_after_1_swaps_nats_per_sentence", "reconstruction_bleu_greedy_from_mean"} <= set(said)
    said = say("evaluate", run, "--bleu", "greedy", "--data", own)
    assert "reconstruction_bleu_greedy_from_mean         0.0000" in said.out
    assert "not one run of four words" in said.err and not say("evaluate", run, "--data", own).err
    own.write_text("W1 W2\nw3 w4 w5\n")
    said = say("evaluate", run, "--data", own)
    assert "unknown_words_share" in said.out and "40% of the words are unknown to the run" in said.err
    said = say("evaluate", run, "--split", "tset")
    assert said.code == 1 and "did you mean 'test'?" in said.err
    own.write_bytes(b"w1 \xff\n")
    said = say("evaluate", run, "--data", own)
    assert said.code == 1 and "not UTF-8" in said.err
    assert say("evaluate", run, "--data", tmp_path / "absent.txt").code == 1


def test_evaluate_reads_a_file_as_training_does(run: Path, text_file: Path, tmp_path: Path, say):
    texts = [line.split("\t")[1] for line in text_file.read_text().splitlines()]
    (tmp_path / "own.txt").write_text("\n\n".join(texts))
    (tmp_path / "own.jsonl").write_text("".join(json.dumps({"text": text, "theme": 1}) + "\n" for text in texts))
    plain = say("evaluate", run, "--data", tmp_path / "own.txt", "--json").json
    for path in (text_file, tmp_path / "own.jsonl"):
        assert say("evaluate", run, "--data", path, "--json").json == plain
    (tmp_path / "vocab.txt").write_text("w1\nw2\n")
    (tmp_path / "own.feat").write_text("1 1:2 2:1\n")
    said = say("evaluate", run, "--data", tmp_path / "own.feat")
    assert said.code == 1 and "word counts came, but 'dem_vae' reads words in their order" in said.err
    (tmp_path / "own.csv").write_text("w1 w2\n")
    assert "ends in '.csv', but expected .txt, .tsv" in say("evaluate", run, "--data", tmp_path / "own.csv").err


def test_report_and_figures_say_what_they_wrote(run: Path, say):
    assert Path(say("report", run).out.strip()) == run / "report.md"
    assert Path(say("report", run, "--json").json["report"]).exists()
    drawn = say("figures", run, "--json").json["figures"]
    assert drawn and all(Path(path).exists() for path in drawn)


def test_compare_puts_runs_in_a_table_and_a_picture(run: Path, text_file: Path, tmp_path: Path, say):
    other = tmp_path / "gm"
    assert say("train", "gm_vae", "--data", text_file, "--output", other, *TINY).code == 0
    picture = tmp_path / "compare.png"
    said = say("compare", run, other, "--output", picture)
    assert said.code == 0 and "gm_vae" in said.out and picture.stat().st_size > 1000
    assert "on the validation split, in nats a sentence" in said.out
    assert list(say("compare", run, other, "--json").json) == [str(run), str(other)]
    assert say("compare", run).code == 1
    said = say("compare", run, other, "--against", "dispersion")
    assert said.code == 1 and "add --output" in said.err
    said = say("compare", run, other, "--against", "dispersion", "--output", picture)
    assert said.code == 1 and "has no option 'dispersion'" in said.err


def test_classify_answers_for_a_run_and_puts_several_in_a_table(run: Path, text_file: Path, tmp_path: Path, say):
    asked = ("--counts", 9, 30, "--seeds", 2)
    alone = say("classify", run, *asked)
    assert alone.code == 0 and alone.out.startswith("frozen: 'label', 3 classes, 9 held-out sentences, 2 seeds\n")
    found = say("classify", run, "--column", "label", *asked, "--json").json
    assert [row["labels"] for row in found["accuracy"]] == [9, 30] and found == load(run).classify(
        counts=(9, 30), seeds=2
    ).data()
    assert say("classify", run, *asked, "--draws", "--json").json["method"] == "frozen, draws"
    other = tmp_path / "ae"
    assert say("train", "ae", "--data", text_file, "--output", other, *TINY[:4]).code == 0
    said = say("classify", run, other, *asked, "--output", tmp_path / "table.csv")
    assert said.out.splitlines()[0] == "|  | method | majority | 9 | 30 |" and len(said.out.splitlines()) == 4
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 5
    assert list(say("classify", run, other, *asked, "--json").json) == [str(run), str(other)]


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--column", "lable"], "did you mean 'label'?"),
        (["--counts", "2"], "there are 3 classes"),
        (["--counts", "73"], "72 training sentences have one"),
        (["--seeds", "0"], "at least 1"),
        (["--output", "table.txt"], "a .md or a .csv file"),
        (["--draws", "--fine-tuned"], "leave one of them out"),
    ],
)
def test_a_mistake_in_classify_is_said(run: Path, words: list[str], expected: str, say):
    said = say("classify", run, *words)
    assert said.code == 1 and not said.out and expected in said.err


def test_probe_asks_runs_what_their_codes_hold_and_draws_it(run: Path, text_file: Path, tmp_path: Path, say):
    asked = ("--p", 0, 0.5, "--passes", 1)
    alone = say("probe", run, *asked)
    assert alone.code == 0 and "code -> bag of words" in alone.out and "neighbours exchanged" in alone.out
    found = say("probe", run, *asked, "--how", "rows", "--json").json[str(run)]
    opened = load(run)
    assert found["bag_of_words"] == opened.probe_bag_of_words(passes=1).data()
    assert found["order"]["cosines"] == list(opened.order_sensitivity(probabilities=(0, 0.5), how="rows").cosines)
    other, picture = tmp_path / "vmf", tmp_path / "order.png"
    assert say("train", "vmf_vae", "--data", text_file, "--output", other, *TINY[:4]).code == 0
    said = say("probe", run, other, *asked, "--output", picture)
    assert said.code == 0 and "vmf_vae" in said.out and picture.stat().st_size > 1000


@pytest.mark.parametrize("words, expected", [(["--p", "2"], "lies in 0 to 1"), (["--how", "row"], "mean 'rows'?")])
def test_a_mistake_in_probe_is_said(run: Path, words: list[str], expected: str, say):
    said = say("probe", run, *words)
    assert said.code == 1 and not said.out and expected in said.err


# texts and codes


def test_sample_writes_as_many_texts_as_asked(run: Path, say):
    assert len(say("sample", run, "--count", 3, "--seed", 1, "--json").json) == 3
    assert len(say("sample", run, "--count", 2, "--component", 1).out.splitlines()) == 2
    said = say("sample", run, "--component", 99)
    assert said.code == 1 and "0 to 3" in said.err
    assert "did you mean 'greedy'?" in say("sample", run, "--decoding", "gredy").err


def test_encode_gives_json_or_writes_an_array(run: Path, tmp_path: Path, say):
    codes = say("encode", run, "w1 w2", "w11 w12").out
    assert np.asarray(json.loads(codes)).shape == (2, 3)
    said = say("encode", run, "w1 w2", "w11 w12", "--output", tmp_path / "codes.npy", "--json")
    assert said.json == {"output": str(tmp_path / "codes.npy"), "shape": [2, 3]}
    np.testing.assert_allclose(np.load(tmp_path / "codes.npy"), json.loads(codes), rtol=1e-6)
    assert say("encode", run, "w1", "--output", tmp_path / "codes.json").code == 0
    said = say("encode", run, "w1", "--output", tmp_path / "codes.csv")
    assert said.code == 1 and ".npy" in said.err
    assert "no word" in say("encode", run, "quux").err


def test_texts_come_one_a_line_on_standard_input(run: Path, monkeypatch: pytest.MonkeyPatch, say):
    monkeypatch.setattr("sys.stdin", io.StringIO("w1 w2\nw11 w12\r\n"))
    given = say("assign", run, "--json").json
    assert [each["text"] for each in given] == ["w1 w2", "w11 w12"]
    assert all(each["component"] in range(4) for each in given)
    assert say("assign", run, "w1 w2").out == f"{given[0]['component']}\tw1 w2\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    said = say("assign", run)
    assert said.code == 1 and "standard input is empty" in said.err


def test_components_are_described_by_their_words_sentences_and_samples(run: Path, say):
    found = say("components", run, "--words", 3, "--sentences", 1, "--samples", 1, "--json").json
    assert [each["number"] for each in found] == [0, 1, 2, 3]
    said = say("components", run, "--words", 3, "--sentences", 1, "--samples", 1).out
    assert said.count("nearest") == said.count("sample   ") == 4 and found[0]["nearest"][0] in said
    collapsed, _, scores, *_ = said.splitlines()
    assert collapsed.startswith("posterior collapse: with the code of another sentence the decoder predicts as well")
    assert scores.startswith("A word's score says how surely the component has it more often")
    said = say("sample", run, "--component", 9)
    assert said.code == 1 and "components are 0 to 3" in said.err


def test_reconstruct_and_interpolate_write_texts(run: Path, say):
    back = say("reconstruct", run, "w1 w2", "w11 w12", "--json").json
    assert [each["text"] for each in back] == ["w1 w2", "w11 w12"]
    assert [each["reconstruction"] for each in back] == say("reconstruct", run, "w1 w2", "w11 w12").out.splitlines()
    assert len(say("interpolate", run, "w1 w2", "w11 w12", "--steps", 4).out.splitlines()) == 4
    assert len(say("interpolate", run, "w1 w2", "w11 w12", "--json").json) == 7
    assert len(say("interpolate", run, 0, 3, "--components", "--json").json) == 7
    said = say("interpolate", run, 0, 4, "--components")
    assert said.code == 1 and "component=4, but the components are 0 to 3" in said.err
    said = say("interpolate", run, 0, "w1 w2", "--components")
    assert said.code == 1 and "'w1 w2' is none" in said.err


def test_a_run_that_is_not_there_says_which_are(run: Path, tmp_path: Path, say):
    said = say("verdict", run.with_name("rn"))
    assert said.code == 1 and f"did you mean '{run}'?" in said.err
    said = say("verdict", tmp_path)
    assert said.code == 1 and "recipe.json" in said.err


# values


@pytest.mark.parametrize(
    "text, value",
    [
        ("3", 3),
        ("1e-3", 1e-3),
        ("True", True),
        ("None", None),
        ("none", "none"),
        ("null", None),
        ("lstm", "lstm"),
        ('["a"]', ["a"]),
    ],
)
def test_values_are_read_as_what_they_look_like(text: str, value: object):
    assert options.value(text) == value and type(options.value(text)) is type(value)


@pytest.mark.parametrize("name", recipes())
def test_every_default_fits_its_own_type(name: str):
    for group in options.every(name).values():
        for option, (kind, default) in group.items():
            assert fits(default, kind), option
            assert options.parse([f"{option}={options.plain(default)}"], name) == {option: default}


def test_no_number_that_json_lacks_is_printed(monkeypatch: pytest.MonkeyPatch, say):
    answer = commands.Answer("", {"perplexity": [float("inf"), 1.0]}, as_json=True)
    monkeypatch.setitem(COMMANDS, "verdict", lambda: answer)
    assert say("verdict").json == {"perplexity": [None, 1.0]}

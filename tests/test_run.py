import json
import math

import numpy as np
import pytest
import torch
from tiny import some_texts, start, train_tiny, use

import pyro_textvae
from pyro_textvae.evaluation import LanguageModelBudget, generation
from pyro_textvae.recipes import recipes
from pyro_textvae.run import Run

TEXTS = ["w1 w2 w3", "w11 w12", "w21 w22 w23 w24 w25 w26 w27 w28", "w5 unheard-of w6", "w9"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Trained runs by recipe, each trained once."""
    folder, trained = tmp_path_factory.mktemp("runs"), {}

    def run_of(name: str, **options) -> Run:
        key = "-".join([name, *map(str, options.values())])
        if key not in trained:
            trained[key] = train_tiny(name, folder / key, learning_rate=0.02, epochs=4, **options)
        return trained[key]

    return run_of


with_a_code = [name for name in recipes() if not name.endswith("_lm")]
WIDER = {"cm_vae", "dcm_vae", "dae", "dvae", "dvae_as_released", "di_vae", "semi_vae"}
"""Whose code has one-hots, and so more numbers than `latent`."""
DEM_VARIANTS = [dict(variables=1), dict(variables=3), dict(family="vmf", variables=2)]


# Texts in, numbers out.


@pytest.mark.parametrize("name", with_a_code)
def test_encode_gives_a_finite_row_for_each_text_and_the_same_one_each_time(runs, name):
    run = runs(name)
    codes = run.encode(TEXTS)
    assert codes.shape == (len(TEXTS), run.vae.prior.code) and codes.dtype == np.float32
    assert run.vae.prior.code == 4 or name in WIDER
    assert np.isfinite(codes).all()
    assert (run.encode(TEXTS) == codes).all()


@pytest.mark.parametrize("name", ["vae", "bn_vae", "vmf_vae", "dem_vae"])
def test_a_code_does_not_depend_on_what_it_is_encoded_with(runs, name):
    run, texts = runs(name), some_texts(150, seed=4)
    together = run.encode(texts)
    alone = np.concatenate([run.encode([text]) for text in texts])
    backwards = run.encode(texts[::-1])[::-1]
    assert np.allclose(together, alone, atol=1e-5)
    assert np.allclose(together, backwards, atol=1e-5)


@pytest.mark.parametrize("name", ["di_vae", "semi_vae", "mop_gm_vae", "dcm_vae"])
def test_every_kind_of_discrete_variable_assigns_describes_and_samples_its_classes(tmp_path, name):
    (tmp_path / "texts.txt").write_text("\n".join(some_texts()))
    more = {"variables": 2, "components": 3} if name != "di_vae" else {"classes": 3}
    run = train_tiny(name, tmp_path / "run", tmp_path / "texts.txt", epochs=1, **more)
    M = 4 if name == "di_vae" else 2
    assigned = run.assign(TEXTS)
    assert assigned.shape == (len(TEXTS), M) and set(assigned.flatten().tolist()) <= {0, 1, 2}
    assert (run.assign(TEXTS) == assigned).all()
    found = run.describe_components(words=2, sentences=2, samples=1)
    assert [(each.variable, each.number) for each in found] == [(m, k) for m in range(M) for k in range(3)]
    assert sum(each.share for each in found if each.variable == 1) == pytest.approx(1)
    assert len(run.sample(3, component=2, variable=1)) == 3
    with pytest.raises(ValueError, match="component=3, but the components are 0 to 2"):
        run.sample(1, component=3)
    metrics = run.evaluate("valid", samples=3)
    assert 0 <= metrics["information_c_nats"] <= M * math.log(3) + 1e-6
    assert (metrics["components"], metrics["discrete_variables"]) == (3, M)
    assert ("active_units" in metrics) == (name in ("semi_vae", "mop_gm_vae"))
    assert run.reconstruct(TEXTS) == run.reconstruct(TEXTS) and len(run.interpolate(*TEXTS[:2], steps=3)) == 3


@pytest.mark.parametrize("options", DEM_VARIANTS, ids=str)
def test_a_mixture_encodes_and_assigns_by_every_variable(runs, options):
    run, M = runs("dem_vae", components=3, **options), options["variables"]
    assert run.encode(TEXTS).shape == (len(TEXTS), 4 * M)
    assigned = run.assign(TEXTS)
    assert assigned.shape == ((len(TEXTS),) if M == 1 else (len(TEXTS), M))
    assert np.issubdtype(assigned.dtype, np.integer) and assigned.min() >= 0 and assigned.max() < 3


def test_texts_are_read_as_the_corpus_was(tmp_path):
    texts = [text.upper() if n % 2 else text for n, text in enumerate(some_texts())]
    run = train_tiny("vae", tmp_path, texts, lowercase=True, max_length=3)
    assert (run.encode(["W1 w2 W3 w4 w5"]) == run.encode(["w1 w2 w3"])).all()
    other = run.encode(["w1 w2 w4"])
    assert not (other == run.encode(["w1 w2 w3"])).all()


@pytest.mark.parametrize(
    "texts", [tuple(TEXTS), np.array(TEXTS), (text for text in TEXTS)], ids=["tuple", "array", "any"]
)
def test_any_collection_of_texts_can_be_encoded(runs, texts):
    assert (runs("vae").encode(texts) == runs("vae").encode(TEXTS)).all()


# Numbers in, texts out.


@pytest.mark.parametrize("name", list(recipes()))
def test_every_recipe_samples_as_many_texts_as_asked_the_same_ones_for_the_same_seed(runs, name):
    run = Run(runs(name).directory)
    texts = run.sample(6, seed=3)
    assert len(texts) == 6 and all(isinstance(text, str) for text in texts)
    assert set(" ".join(texts).split()) <= set(run.vocabulary.words) - {"<pad>", "<s>", "</s>"}
    assert run.sample(6, seed=3) == texts  # though at first the weights had to be read
    assert run.sample(6, seed=4) != texts
    assert max(len(text.split()) for text in run.sample(6, max_length=2)) <= 2


@pytest.mark.parametrize("decoding", ["greedy", "beam", "sample"])
def test_texts_are_sampled_and_reconstructed_by_every_decoding(runs, decoding):
    run = runs("dem_vae")
    assert len(run.sample(3, decoding=decoding)) == 3
    first = run.reconstruct(TEXTS, decoding=decoding)
    assert len(first) == len(TEXTS)
    assert run.reconstruct(TEXTS, decoding=decoding) == first


def test_the_greedy_reconstruction_is_that_of_the_code(runs):
    run = runs("vae")
    ids = generation.greedy(run.vae.decoder, torch.from_numpy(run.encode(TEXTS)), 40)
    assert run.reconstruct(TEXTS) == [run.vocabulary.decode(words) for words in ids]
    assert run.reconstruct(TEXTS, decoding="sample", seed=1) != run.reconstruct(TEXTS, decoding="sample", seed=2)


def test_temperature_makes_samples_more_alike_or_less(runs):
    run = runs("vae")
    cold = run.reconstruct(TEXTS, decoding="sample", temperature=1e-4)
    assert cold == run.reconstruct(TEXTS)


def test_a_component_names_the_part_of_the_prior_that_is_sampled_from(runs):
    run = runs("dem_vae", components=3, variables=1)
    with torch.no_grad():
        means = run.vae.prior.means()[0]  # pyright: ignore  (a mixture's)
        codes = run.vae.prior.sample(2000, component=1)
    assert torch.cdist(codes.mean(0, keepdim=True), means).argmin() == 1
    assert len(run.sample(4, component=2)) == 4
    assert run.sample(20, component=0, seed=1) != run.sample(20, component=2, seed=1)


@pytest.mark.parametrize("name", ["vae", "ae", "bn_vae", "vmf_vae", "dem_vae"])
def test_the_ends_of_an_interpolation_are_the_reconstructions(runs, name):
    run, (a, b) = runs(name), TEXTS[:2]
    path = run.interpolate(a, b, steps=5)
    assert len(path) == 5
    assert [path[0], path[-1]] == run.reconstruct([a, b])


@pytest.mark.parametrize(("name", "options"), [("vmf_vae", {}), ("dem_vae", DEM_VARIANTS[2] | dict(components=3))])
def test_on_the_sphere_every_point_of_a_path_lies_on_it(runs, monkeypatch, name, options):
    run, seen = runs(name, **options), []
    greedy = generation.greedy
    monkeypatch.setattr(generation, "greedy", lambda d, codes, n: seen.append(codes) or greedy(d, codes, n))
    run.interpolate(TEXTS[0], TEXTS[1], steps=6)
    run.reconstruct(TEXTS)
    for codes in seen:
        lengths = codes.unflatten(-1, (-1, 4)).norm(dim=-1)
        assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-5)
    angles = (seen[0][:-1, :4] * seen[0][1:, :4]).sum(-1)
    assert torch.allclose(angles, angles[0].expand(5), atol=1e-4)


def test_a_path_of_a_mixture_is_a_line_from_mean_to_mean(runs, monkeypatch):
    run, seen = runs("dem_vae"), []
    monkeypatch.setattr(generation, "greedy", lambda d, codes, n: seen.append(codes) or [[]] * len(codes))
    run.interpolate(TEXTS[0], TEXTS[1], steps=3)
    ends = torch.from_numpy(run.encode(TEXTS[:2]))
    assert torch.allclose(seen[0], torch.stack([ends[0], ends.mean(0), ends[1]]), atol=1e-6)


def walked(run, monkeypatch, *ends, **options):
    """The codes (steps, M, D) that a path goes through."""
    seen = []
    monkeypatch.setattr(generation, "greedy", lambda d, codes, n: seen.append(codes) or [[]] * len(codes))
    run.interpolate(*ends, **options)
    return seen[0].unflatten(-1, (run.vae.prior.variables, -1))


@pytest.mark.parametrize("family", ["gaussian", "vmf"])
def test_a_path_between_components_goes_from_mean_to_mean(runs, monkeypatch, family):
    run = runs("dem_vae", components=3, variables=2, family=family)
    means = run.vae.prior.means().detach()  # (M, K, D)
    if family == "vmf":
        means = torch.nn.functional.normalize(means, dim=-1)  # a mean lies inside the sphere, a code on it
    path = walked(run, monkeypatch, 0, 2, steps=4)
    assert torch.allclose(path[0], means[:, 0], atol=1e-5) and torch.allclose(path[-1], means[:, 2], atol=1e-5)
    assert torch.allclose(path, walked(run, monkeypatch, 2, 0, steps=4).flip(0), atol=1e-5)
    steps = (path[1:] - path[:-1]).norm(dim=-1)  # of one length: on a line, or on a great circle
    assert torch.allclose(steps, steps[0].expand_as(steps), atol=1e-5)


def test_a_path_in_one_variable_leaves_the_others_where_the_text_has_them(runs, monkeypatch):
    run = runs("dem_vae", components=3, variables=2)
    path = walked(run, monkeypatch, TEXTS[0], np.int64(1), variable=1)
    own = torch.from_numpy(run.encode(TEXTS[:1])).unflatten(-1, (2, -1))[0]
    assert torch.equal(path[:, 0], own[0].expand_as(path[:, 0]))
    assert torch.allclose(path[0, 1], own[1]) and torch.allclose(path[-1, 1], run.vae.prior.means()[1, 1])
    between = walked(run, monkeypatch, 0, 1, variable=0)
    assert torch.equal(between[:, 1], between[:1, 1].expand_as(between[:, 1]))  # one draw from the prior
    assert torch.equal(between, walked(run, monkeypatch, 0, 1, variable=0))
    assert not torch.equal(between[:, 1], walked(run, monkeypatch, 0, 1, variable=0, seed=1)[:, 1])


# Opened again.


@pytest.mark.parametrize(
    ("name", "options"), [("dem_vae", dict(variables=2)), ("gm_vae", dict(tied=True, cell="lstm", bidirectional=True))]
)
def test_a_fresh_process_gets_the_same_codes_bit_for_bit(runs, tmp_path, name, options):
    run = runs(name, **options)
    process = start(use, run.directory, TEXTS, tmp_path / "there.npz")
    process.join(60)
    there = np.load(tmp_path / "there.npz")
    assert (there["encode"] == run.encode(TEXTS)).all()
    assert (there["assign"] == run.assign(TEXTS)).all()
    assert there["sample"].tolist() == run.sample(5)


def test_opening_and_using_a_run_leaves_the_callers_random_numbers_as_they_were(runs):
    directory = runs("dem_vae").directory
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run = pyro_textvae.load(directory)
    run.encode(TEXTS)
    run.sample(3)
    run.reconstruct(TEXTS, decoding="sample")
    run.interpolate(TEXTS[0], TEXTS[1])
    run.evaluate(data=TEXTS)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loaded_model_is_in_evaluation_mode_and_holds_no_noise(runs):
    run = runs("vae", dropout=0.5)
    assert not any(module.training for module in run.vae.modules())


# Measured.


def test_evaluate_writes_each_split_and_the_metrics_are_read_from_there(tmp_path):
    run = train_tiny("dem_vae", tmp_path)
    assert run.metrics == {}
    test = run.evaluate("test", samples=3)
    assert Run(tmp_path).metrics == {"test": test}
    valid = run.evaluate("valid")
    assert json.loads((tmp_path / "evaluation.json").read_text()) == {"test": test, "valid": valid}
    assert run.metric("importance_samples") == 3 and "importance_samples" not in valid
    assert run.verdict.state == Run(tmp_path).verdict.state
    assert run.evaluate("test", samples=3) == test


def test_generated_text_is_measured_and_read_again_with_its_settings(tmp_path):
    run = train_tiny("dem_vae", tmp_path)
    with pytest.raises(ValueError, match=r"no text of .* was measured yet: call run.evaluate_generation"):
        _ = run.generation
    budget = LanguageModelBudget(embedding=4, hidden=4, epochs=1)
    found = run.evaluate_generation(sentences=30, budget=budget, seed=2)
    assert {"perplexity_reverse", "perplexity_forward", "perplexity_real", "self_bleu"} <= found.metrics.keys()
    assert Run(tmp_path).generation == found and json.loads((tmp_path / "generation.json").read_text()) == found.data()
    run.report()
    page = (tmp_path / "report.md").read_text()
    assert "## Generated text beside real text" in page and "`perplexity_reverse`" in page and "30 sentences" in page
    train_tiny("dem_vae", tmp_path, epochs=3, resume=True)  # other weights write other text
    assert not (tmp_path / "generation.json").exists()


def test_a_trained_language_model_measures_generated_text_in_place_of_a_new_one(tmp_path):
    run, model = train_tiny("vae", tmp_path / "vae"), train_tiny("lstm_lm", tmp_path / "lm")
    found = run.evaluate_generation(sentences=30, measures=["forward_perplexity"], language_model=tmp_path / "lm")
    exact = model.evaluate("test", samples=1)["perplexity_importance_weighted"]
    assert found.metrics["perplexity_real"] == pytest.approx(exact, rel=1e-5)
    assert found.settings["forward_language_model"] == str(tmp_path / "lm") and not found.settings["language_model"]
    with pytest.raises(ValueError, match="'vae', which is no language model: give one of 'lstm_lm'"):
        run.evaluate_generation(language_model=run)
    other = train_tiny("lstm_lm", tmp_path / "other", some_texts(seed=1))
    with pytest.raises(ValueError, match="was trained on another corpus than"):
        run.evaluate_generation(language_model=other)


def test_evaluate_measures_ones_own_texts_and_writes_nothing(tmp_path):
    run = train_tiny("vae", tmp_path)
    measured = run.evaluate(data=TEXTS)
    assert measured["nll_elbo_nats_per_sentence"] > 0 and measured["unknown_words_share"] == 1 / 17
    known = TEXTS[0].split()[0]
    assert run.evaluate(data=[f"{known} zyx", f"{known} {known}"])["unknown_words_share"] == 1 / 4
    assert not (tmp_path / "evaluation.json").exists()


def test_a_run_from_a_file_finds_its_corpus_again_with_labels_and_from_anywhere(tmp_path, monkeypatch):
    lines = [f"theme{text.split()[0][1:2]}\t{text}" for text in some_texts()]
    (tmp_path / "texts.tsv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    trained = train_tiny("dem_vae", tmp_path / "run", "texts.tsv", label_columns=["theme"], max_length=6)
    here = trained.evaluate("test")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = Run(tmp_path / "run")
    assert again.corpus.label_names.keys() == {"theme"}
    assert again.evaluate("test") == here
    assert {"homogeneity_theme", "homogeneity_theme_chance"} <= here.keys()
    (tmp_path / "texts.tsv").write_text("\n".join(lines[::-1]))
    with pytest.raises(ValueError, match="is not what this run was trained on: its checksum differs; put the old file"):
        Run(tmp_path / "run").evaluate("test")
    (tmp_path / "texts.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"texts\.tsv does not exist"):
        Run(tmp_path / "run").evaluate("test")


def test_a_run_on_texts_in_memory_has_them_until_it_is_opened_again(tmp_path):
    run = train_tiny("vae", tmp_path)
    assert run.evaluate("test")
    with pytest.raises(ValueError, match="trained on texts in memory, which it does not keep: pass them to evaluate"):
        Run(tmp_path).evaluate("test")
    assert Run(tmp_path).evaluate(data=some_texts())


def test_a_run_of_the_embedded_corpus_knows_the_entropy(tmp_path):
    run = train_tiny("vae", tmp_path, "toy-modes", epochs=1, batch_size=512)
    measured = Run(run.directory).evaluate("test", batch_size=512)
    assert measured["nll_elbo_above_entropy_nats_per_sentence"] > 0


def test_a_fixed_concentration_is_kept_with_the_weights(tmp_path):
    """It has always stood there, so that runs of before open."""
    run = train_tiny("vmf_mixture_vae", tmp_path / "run", epochs=1, concentration=7.0, component_concentration=3.0)
    weights, _ = run.tensors("best.safetensors")
    kept = {name: value.item() for name, value in weights.items() if name.endswith(".concentration")}
    assert sorted(kept.values()) == [3.0, 7.0]


@pytest.mark.parametrize(
    "losses, said",
    [
        ([50.0, 40.0, 39.0], "; and train longer: the loss was still falling, by 1.00 nats a sentence (2.5%) in"),
        ([50.0, 40.0, 39.95], ""),  # flat by now
        ([50.0, 30.0, 41.0, 40.0], ""),  # better before
        ([50.0], "; and train longer: a single epoch does not show whether the loss still falls"),
    ],
)
def test_the_advice_is_to_train_longer_where_the_loss_was_still_falling(tmp_path, losses, said):
    run = train_tiny("vae", tmp_path, epochs=1)
    run.evaluate("valid")
    row = run.history[0]
    rows = [row | {"epoch": n, "valid_loss": loss} for n, loss in enumerate(losses, start=1)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    advice = run.verdict.advice
    assert said in advice and ("train longer" in advice) == bool(said)
    assert advice in run.report().read_text()


def test_a_verdict_on_weights_from_within_the_warm_up_says_so(tmp_path):
    early = train_tiny("gm_vae", tmp_path / "early", epochs=1, warm_up=500)
    early.evaluate("valid")
    assert "warm-up takes 500 updates, and these weights are of update 6;" in early.verdict.reasons[-1]
    # An older version did not write down whether the schedules had ended.
    path = tmp_path / "early" / "metrics.jsonl"
    path.write_text(path.read_text().replace('"schedules_ended": false, ', ""))
    assert "warm-up takes 500 updates" in Run(tmp_path / "early").verdict.reasons[-1]
    late = train_tiny("gm_vae", tmp_path / "late", epochs=1, warm_up=2)
    late.evaluate("valid")
    assert not any("warm-up takes" in reason for reason in late.verdict.reasons)

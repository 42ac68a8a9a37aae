"""What goes wrong through train() and Run: the message says what came, what was expected and what to do.

Text that cannot be read is in test_corpus.py, damaged files of a run in test_checkpoint.py.
"""

import signal
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import some_texts, train_tiny

import pyro_textvae
from pyro_textvae.recipes import compose, recipe, recipes
from pyro_textvae.run import Run
from pyro_textvae.training import Training, train


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {name: train_tiny(name, folder / name) for name in ("vae", "lstm_lm", "dem_vae")}


# train(): names.


def test_an_unknown_recipe():
    with pytest.raises(
        ValueError, match=r"unknown recipe 'dem_vea' \(did you mean 'dem_vae'\?\); the recipes are: lstm"
    ):
        train("dem_vea")


def test_an_unknown_option():
    with pytest.raises(ValueError, match=r"'vae' has no option 'hiden' \(did you mean 'hidden'\?\)\. Its own options"):
        train("vae", hiden=3)


def test_an_option_of_another_recipe_is_refused_with_the_recipe_that_has_it():
    with pytest.raises(
        ValueError, match=r"'vae' has no option 'gamma'; bn_vae, .* have it. Its own options: none; sizes"
    ):
        train("vae", gamma=0.5)


def test_a_model_of_bags_has_no_option_of_the_order_of_words():
    with pytest.raises(ValueError, match=r"'g_nvdm' has no option 'cell', which is of models that read words in their"):
        train("g_nvdm", cell="gru")


def test_an_unknown_corpus():
    with pytest.raises(ValueError, match=r"unknown corpus 'toy-act' \(did you mean 'toy-acts'\?\)"):
        train("vae", "toy-act")


def test_a_missing_file():
    with pytest.raises(FileNotFoundError, match=r"nowhere.txt does not exist: expected a .txt, .tsv, .jsonl or .feat"):
        train("vae", "nowhere.txt")


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("cyclic_vae", dict(period=0), "a cycle of 0 updates, rising for 0.5 of it"),
        ("cyclic_vae", dict(rising=0.0), "a cycle of 1000 updates, rising for 0.0 of it"),
        ("annealed_vae", dict(warm_up=0), "'warm_up' is 0, but it lasts at least one update"),
        ("free_bits_vae", dict(warm_up=-5), "'warm_up' is -5, but it lasts some updates, or none: 0"),
        ("free_bits_vae", dict(nats=-1.0), "'nats' is -1.0, but what is free is positive"),
        ("free_bits_vae", dict(per="sentense"), r"'per' is 'sentense' \(did you mean 'sentence'\?\); it is one of"),
        ("delta_vae", dict(delta=0.0), "'delta' is 0.0, but a committed rate is a positive number of nats"),
        ("delta_vae", dict(delta=-0.1, prior="autoregressive"), "'delta' is -0.1, but a chain of 4 numbers commits"),
        ("delta_vae", dict(latent=1, prior="autoregressive"), "'latent' is 1, but an autoregressive prior is a chain"),
        ("delta_vae", dict(prior="ar"), "'prior' is 'ar', but delta_vae's is 'independent' or 'autoregressive'"),
        ("bn_vae", dict(gamma=0.0), "'gamma' is 0.0, but the scale"),
        ("bn_both_vae", dict(tau=1.5), "'tau' is 1.5, but the least share"),
        ("bn_both_vae", dict(batch_size=1), "batch_size=1 was asked for, but a batch-normalised posterior"),
        ("cnn_vae", dict(hidden=2), "'hidden' is 2, but a dilated decoder has at least 4 channels"),
        ("dem_vae", dict(components="x"), r"'components' is 'x', but a whole number is needed \(its default is 10\)"),
        ("dem_vae", dict(dispersion=True), "'dispersion' is True, but a number is needed"),
        ("dem_vae", dict(gamma="large"), "'gamma' is 'large', but a number or None is needed"),
        ("free_bits_vae", dict(per=3), "'per' is 3, but 'sentence' or 'dimension' or"),
        ("vae", dict(decay="cosine"), "'decay' is 'cosine'.*cosine_restarts"),
        ("mi_constrained_vae", dict(nats=0.0), "'nats' is 0.0, but what a constraint asks for is positive"),
        ("mi_constrained_vae", dict(nats=-1.0), "'nats' is -1.0, but what a constraint asks for is positive"),
        ("mi_constrained_vae", dict(multiplier=-1.0), "'multiplier' is -1.0, but what a missing nat costs is finite"),
        ("mi_constrained_vae", dict(beta=-1.0), "the weight of the KL, beta, is -1.0"),
        ("mi_constrained_vae", dict(constrained="mi"), "'constrained' is 'mi', but it is 'kl' or 'information'"),
        ("mi_constrained_vae", dict(dual_rate=-0.1), "'dual_rate' is -0.1, but a rate is finite and at least 0"),
        (
            "mi_constrained_vae",
            dict(constrained="information", nats=3.0, batch_size=16),
            "'nats' is 3.0, but .* a batch of 16 .* less than ln 16 = 2.77: ask for less, or take batches of .* 20",
        ),
        (  # of the 100 sentences of the training split, whatever the batch size is
            "mi_constrained_vae",
            dict(constrained="information", nats=4.7, batch_size=4096),
            "'nats' is 4.7, but .* of 96 sentences shows is less than ln 96 = 4.56",
        ),
        ("self_labelling_vae", dict(labelling=-1.0), "the weight of the label is -1.0"),
        ("self_labelling_vae", dict(beta=float("nan")), "the weight of the KL, beta, is nan"),
        ("iwae", dict(samples=0), "'samples' is 0, but a whole number of at least 1 is needed"),
        ("iwae", dict(samples=2.5), "'samples' is 2.5, but a whole number"),
        ("dem_vae", dict(components=1), "'components' is 1, but a mixture has at least 2; for one, train 'vae'"),
        ("gm_vae", dict(components=0), "'components' is 0, but a mixture has at least 2"),
        ("gm_vae", dict(variables=0), "'variables' is 0, but there is at least 1"),
        ("gm_vae", dict(components=97), "'components' is 97, but the corpus has 96 training .* Take fewer components"),
        ("semi_vae", dict(components=97), "'components' is 97, but the corpus has 96 training sentence"),
        ("mop_gm_vae", dict(components=200, variables=2), "'components' is 200, but the corpus has 96 training sent"),
        ("di_vae", dict(classes=97), "'classes' is 97, but the corpus has 96 training .* Take fewer classes"),
        ("dem_vae", dict(dispersion=1.2), "'dispersion' is 1.2; it lies in 0"),
        ("dgm_vae", dict(dispersion=-0.2), "'dispersion' is -0.2; it lies in 0"),
    ],
)
def test_what_a_method_cannot_be_is_refused_before_anything_is_written(tmp_path, model, options, message):
    with pytest.raises(ValueError, match=message):
        train_tiny(model, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_as_many_components_as_there_are_training_sentences_are_taken(tmp_path):
    run = train_tiny("gm_vae", tmp_path, epochs=1, components=96)
    assert len(run.corpus.splits["train"]) == 96 == run.evaluate("valid")["components"]


def test_a_label_column_of_one_class_is_told_apart_from_nothing(tmp_path):
    """Evaluation has no agreement to report; to classify it is refused with the reason."""
    run = train_tiny("gm_vae", tmp_path, (some_texts(), {"theme": ["same"] * 120, "third": ["a", "b", "c"] * 40}))
    measured = run.evaluate("test")
    assert "homogeneity_third" in measured and not [name for name in measured if "theme" in name]
    with pytest.raises(
        ValueError, match=r"are of 1 class\(es\), but it takes two to classify: give labels that differ"
    ):
        run.classify(column="theme")


def test_nothing_is_left_behind_where_the_input_was_refused(tmp_path):
    for wrong in (dict(data="nowhere.txt"), dict(latent=0), dict(gamma=3), dict(device="tpu"), dict(epochs=0)):
        with pytest.raises((ValueError, FileNotFoundError)):
            train_tiny("vae", tmp_path / "run", **wrong)
    with pytest.raises(ValueError, match="batch_size=1"):
        train_tiny("bn_vae", tmp_path / "run", batch_size=1)
    assert not list(tmp_path.iterdir())


# train(): values.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(latent=0), "'latent' is 0, but a size is a whole number of at least 1"),
        (dict(hidden=2.5), r"'hidden' is 2.5, but a whole number is needed \(its default is 128\)"),
        (dict(cell="gruu"), "'cell' is 'gruu', but it is one of 'lstm', 'gru'"),
        (dict(epochs=0), "'epochs' is 0, but a whole number of at least 1 is needed"),
        (dict(epochs="3"), "'epochs' is '3', but a whole number"),
        (dict(batch_size=0), "'batch_size' is 0"),
        (dict(batch_size=None), "'batch_size' is None"),
        (dict(patience=0), "'patience' is 0"),
        (dict(threads=0), "'threads' is 0"),
        (dict(threads="many"), "'threads' is 'many'"),
        (dict(learning_rate=0), "'learning_rate' is 0, but more than 0 is needed"),
        (dict(learning_rate=float("nan")), "'learning_rate' is nan, but more than 0 is needed"),
        (dict(clip=-1.0), "'clip' is -1.0, but more than 0 is needed"),
        (dict(weight_decay=-0.1), "'weight_decay' is -0.1, but 0 or more is needed"),
        (dict(checkpoint_seconds=-1), "'checkpoint_seconds' is -1, but 0 or more is needed"),
        (dict(optimizer="adam"), r"'optimizer' is 'adam' \(did you mean 'adamw'\?\); it is one of adamw, sgd"),
        (dict(precision="bf16"), "'precision' is 'bf16'.*; it is one of float32, bfloat16"),
        (dict(decay="zhu"), "'decay' is 'zhu'.*; it is one of none, linear, cosine_restarts, zhu2020, shi2020"),
        (dict(select="lost"), r"'select' is 'lost' \(did you mean 'loss'\?\); it is one of loss, elbo"),
        (
            dict(learning_rate="fast"),
            r"'learning_rate' is 'fast', but a number or None is needed \(its",
        ),
        (dict(tied=1), "'tied' is 1, but true or false is needed"),
        (dict(dropout="much"), "'dropout' is 'much', but a number is needed"),
        (dict(cell=3), "'cell' is 3, but 'lstm' or 'gru' or None is needed"),
        (dict(label_columns=3), "'label_columns' is 3, but a list such as .* or None is needed"),
        (dict(seed=-1), "'seed' is -1, but a whole number of at least 0 is needed"),
        (dict(seed="a"), "'seed' is 'a', but a whole number"),
        (dict(min_count=0), "min_count=0 came, but at least 1 is needed"),
        (dict(resume=True), "resume=True came without output: name the directory of the run to go on with"),
    ],
    ids=str,
)
def test_a_setting_out_of_range(options, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        train("vae", some_texts(), **options)


def test_the_settings_object_refuses_what_the_options_would():
    with pytest.raises(ValueError, match="'epochs' is 0"):
        Training(epochs=0)


def test_an_option_without_a_type_that_is_known_is_the_recipes_to_judge(monkeypatch, tmp_path):
    known = recipes()._known
    monkeypatch.setattr(recipes(), "_known", dict(known))

    @recipe
    def own(size, widths: list[int], rate: "Unknown" = 1):  # noqa: F821  # pyright: ignore
        return compose(replace(size, hidden=widths[0]))

    run = train_tiny("own", tmp_path / "run", epochs=1, widths=[7], rate="any")
    assert run.recipe["options"] == {"widths": [7], "rate": "any"}


def test_an_option_that_cannot_be_written_down(tmp_path):
    with pytest.raises(ValueError, match=r"the options of 'beta_vae' cannot be written to recipe.json.*: give numbers"):
        train_tiny("beta_vae", tmp_path / "run", beta=np.float32(0.5))
    assert not (tmp_path / "run").exists()


def test_an_autoencoder_has_no_elbo_to_select_by(tmp_path):
    with pytest.raises(ValueError, match="select='elbo' was asked for, but an autoencoder has no ELBO"):
        train_tiny("ae", tmp_path, select="elbo")


# train(): devices.


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_cuda_where_there_is_none():
    with pytest.raises(ValueError, match=r"device='cuda' was asked for, but this torch .* finds no CUDA device: use"):
        train("vae", device="cuda")


@pytest.mark.gpu
def test_a_cuda_device_beyond_the_last():
    with pytest.raises(ValueError, match="device='cuda:99' was asked for, but there are"):
        train("vae", device="cuda:99")


@pytest.mark.parametrize("name", ["gpu", "", "meta", "cuda:x"])
def test_an_unknown_device(name):
    with pytest.raises(ValueError, match=f"unknown device '{name}': use 'auto', 'cpu', 'cuda' or 'cuda:1'"):
        train("vae", device=name)


# train(): where the run goes.


def test_an_output_directory_that_holds_another_run(tmp_path):
    train_tiny("vae", tmp_path)
    with pytest.raises(ValueError, match=r"holds another run \('vae'\): pass resume=True to go on with it, or name"):
        train_tiny("bn_vae", tmp_path)


@pytest.mark.parametrize("resume", [False, True])
def test_an_output_directory_that_holds_other_files(tmp_path, resume):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match="is not empty and holds no run: name one that is new or empty"):
        train_tiny("vae", tmp_path, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_output_that_is_a_file(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(ValueError, match="run is a file, but a run is a directory: name one that is new or empty"):
        train_tiny("vae", tmp_path / "run")


def test_resuming_where_there_is_nothing_begins_a_run(tmp_path):
    assert train_tiny("vae", tmp_path / "new", resume=True).history


def test_a_run_that_never_finished_an_epoch_says_so(tmp_path, monkeypatch):
    from pyro_textvae import loop

    monkeypatch.setattr(loop, "evaluate", lambda *args, **kwargs: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr(loop.Stop, "_hear", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        train_tiny("vae", tmp_path)
    assert Run(tmp_path).history == []
    with pytest.raises(FileNotFoundError, match=r"best\.safetensors is missing: nothing was saved there"):
        pyro_textvae.load(tmp_path)


# train(): batches of one.


def test_a_batch_of_one_under_batch_normalisation(tmp_path):
    with pytest.raises(ValueError, match=r"batch_size=1 .* a batch-normalised posterior needs at least 2 sentences"):
        train_tiny("bn_vae", tmp_path, batch_size=1)


def test_a_corpus_that_leaves_only_batches_of_one_under_batch_normalisation(tmp_path):
    with pytest.raises(ValueError, match=r"needs batches of at least 2 .* the 1 training sentence\(s\) give none: add"):
        train_tiny("bn_vae", tmp_path, ["a b c", "b c"])
    texts = [" ".join(["a"] * n) for n in range(1, 30)]
    with pytest.raises(ValueError, match='or leave batching="exact" out, since no two have one length'):
        train_tiny("bn_vae", tmp_path, texts, batching="exact")


@pytest.mark.parametrize("batching", ["bucket", "sorted"])  # the second is for evaluation alone
def test_batches_that_training_does_not_know(tmp_path, batching):
    with pytest.raises(ValueError, match=f"'batching' is '{batching}'.*is one of paired, bucketed, exact, random$"):
        train_tiny("vae", tmp_path, batching=batching)


def test_a_last_batch_of_one_is_no_trouble_for_batch_normalisation(tmp_path):
    assert train_tiny("bn_vae", tmp_path, some_texts(21), batch_size=8).history[0]["step"] == 2  # 17 in training


def test_a_single_sentence(tmp_path):
    with pytest.raises(ValueError, match="a single sentence, which cannot be split"):
        train_tiny("vae", tmp_path, ["one alone"])


def test_a_single_string_as_data(tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=r"does not exist|unknown corpus"):
        train_tiny("vae", tmp_path, "this is a sentence")


# Run: texts.


def test_texts_with_no_known_word(runs):
    with pytest.raises(ValueError, match=r"text 1 \('quite other words'\) has no word that the run's vocabulary knows"):
        runs["vae"].encode(["w1 other", "quite other words"])
    with pytest.raises(ValueError, match="has no word"):
        runs["dem_vae"].assign(["quite"])


def test_an_empty_text(runs):
    with pytest.raises(ValueError, match=r"text 0 \('  '\) is empty"):
        runs["vae"].encode(["  "])


def test_a_single_string_where_texts_are_expected(runs):
    for use in (runs["vae"].encode, runs["dem_vae"].assign, runs["vae"].reconstruct):
        with pytest.raises(ValueError, match=r"one string came where a list of texts was expected: give \[text\]"):
            use("w1 w2")
    with pytest.raises(FileNotFoundError, match=r"reviews\.txt does not exist"):  # what is evaluated may be a file
        runs["vae"].evaluate(data="reviews.txt")
    with pytest.raises(ValueError, match="unknown corpus 'w1 w2': there is no file or folder of that name"):
        runs["vae"].evaluate(data="w1 w2")


def test_something_else_than_texts(runs):
    with pytest.raises(ValueError, match="text 0 is int 3, but texts are strings"):
        runs["vae"].encode([3])


def test_no_texts(runs):
    for use in (runs["vae"].encode, runs["vae"].reconstruct, lambda none: runs["vae"].evaluate(data=none)):
        with pytest.raises(ValueError, match="an empty list came, but at least one text is needed"):
            use([])


# Run: what a recipe does not have.


def test_a_language_model_has_no_code_to_encode_to(runs):
    run = runs["lstm_lm"]
    for use in (lambda: run.encode(["w1"]), lambda: run.reconstruct(["w1"]), lambda: run.interpolate("w1", "w2")):
        with pytest.raises(ValueError, match="a 'lstm_lm' has no code: encode, interpolate and classify need a VAE"):
            use()


def test_a_vae_without_components_assigns_to_none(runs):
    with pytest.raises(
        ValueError, match="a 'vae' has no components to assign texts to: train a mixture such as 'dem_vae'"
    ):
        runs["vae"].assign(["w1"])


def test_a_component_of_a_model_without_components(runs):
    for name in ("vae", "lstm_lm"):
        with pytest.raises(ValueError, match=r"component=0 was asked for, but .* has no components: leave it out"):
            runs[name].sample(2, component=0)


@pytest.mark.parametrize("component", [-1, 10])
def test_a_component_out_of_range(runs, component):
    with pytest.raises(ValueError, match=f"component={component}, but the components are 0 to 9"):
        runs["dem_vae"].sample(2, component=component)


# Run: numbers and names.


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda run: run.sample(0), "0 samples were asked for, but at least one is needed"),
        (lambda run: run.sample(2, temperature=0.0), "temperature=0.0 came, but it must be positive"),
        (lambda run: run.sample(2, max_length=0), "max_length=0 came"),
        (lambda run: run.sample(2, decoding="gredy"), r"unknown decoding 'gredy' \(did you mean 'greedy'\?\)"),
        (lambda run: run.reconstruct(["w1"], decoding="bean"), r"unknown decoding 'bean' \(did you mean 'beam'\?\)"),
        (
            lambda run: run.interpolate("w1", "w2", steps=1),
            "1 steps were asked for, but a path has at least its two ends",
        ),
        (
            lambda run: run.evaluate("vaild"),
            r"unknown split 'vaild' \(did you mean 'valid'\?\): .* has train, valid, test",
        ),
        (lambda run: run.metric("nll_elbo", "train"), "split 'train' has not been evaluated; call run.evaluate"),
    ],
)
def test_a_wrong_number_or_name_for_a_run(runs, use, message):
    with pytest.raises(ValueError, match=message):
        use(runs["vae"])


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda run: run.sample(2, component=4), "component=4, but the components are 0 to 3"),
        (lambda run: run.sample(2, component=-1), "component=-1, but the components are 0 to 3"),
        (lambda run: run.sample(2, component=1.5), "component=1.5, but the components are 0 to 3"),
        (lambda run: run.sample(2, component=0, variable=2), "variable=2, but the variables are 0 to 1"),
        (lambda run: run.sample(2, variable=1), "variable=1 came without a component of it"),
        (lambda run: run.interpolate(0, 4), "component=4, but the components are 0 to 3"),
        (lambda run: run.interpolate("w1", 7), "component=7, but the components are 0 to 3"),
        (lambda run: run.interpolate(0, 1, variable=2), "variable=2, but the variables are 0 to 1"),
        (lambda run: run.interpolate("w1", "w2", variable=0), "variable=0 came, but both ends are texts"),
    ],
)
def test_a_component_or_variable_that_does_not_exist(mixture, use, message):
    with pytest.raises(ValueError, match=message):
        use(mixture)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    path = tmp_path_factory.mktemp("mixture")
    return train_tiny("dem_vae", path, epochs=1, components=4, variables=2)


def test_components_asked_of_a_model_without_any(runs):
    for use in (lambda: runs["vae"].sample(2, component=0), lambda: runs["vae"].interpolate("w1", 0)):
        with pytest.raises(ValueError, match="component=0 was asked for, but StandardNormal has no components"):
            use()


def test_an_unknown_metric(tmp_path):
    run = train_tiny("vae", tmp_path)
    with pytest.raises(ValueError, match=r"has not been evaluated: call run.evaluate"):
        _ = run.verdict
    run.evaluate("test")
    with pytest.raises(ValueError, match=r"unknown metric 'perplexity_elb' \(did you mean 'perplexity_elbo'\?\)"):
        run.metric("perplexity_elb")


def test_outside_the_main_thread_training_goes_without_listening_for_signals(tmp_path):
    failed = []

    def work():
        try:
            train_tiny("vae", tmp_path)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed and pyro_textvae.load(tmp_path).history


@pytest.mark.parametrize(
    ("recipe", "options", "what"),
    [
        ("vmf_vae", {"concentration": -3.0}, "'concentration' is -3.0"),
        ("vmf_vae", {"concentration": 0}, "'concentration' is 0"),
        ("dem_vae", {"family": "vmf", "concentration": 0}, "'concentration' is 0"),
        ("dem_vae", {"family": "vmf", "component_concentration": 0}, "'component_concentration' is 0"),
        ("dem_vae", {"concentration": 5.0}, "on a sphere, where no other family has a density"),
        ("beta_vae", {"beta": -1.0}, "the weight of the KL is -1.0"),
        ("beta_vae", {"beta": float("nan")}, "the weight of the KL is nan"),
        ("gm_vae", {"mutual_information": -1.0}, "the mutual_information is -1.0"),
        ("vae", {"learning_rate": float("inf")}, "'learning_rate' is inf"),
        ("vae", {"epochs": True}, "'epochs' is True"),
        ("vae", {"epochs": 1.0}, "'epochs' is 1.0"),
    ],
)
def test_an_option_outside_its_range_is_refused(tmp_path, recipe, options, what):
    with pytest.raises(ValueError, match=what):
        train(recipe, ["a b c", "b c d", "c d a"] * 5, output=tmp_path / "run", progress=False, **options)

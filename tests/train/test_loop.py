"""The training loop on digits: it learns, repeats itself to the bit, resumes exactly and stops with a reason."""

import json
import math
from dataclasses import replace

import pytest
import torch

import backmix.train.step
from backmix.augmentations import Augmentation, Chain, MixStyle, Mixup
from backmix.data.digits import DigitsOnTextures
from backmix.data.loader import ResidentLoader, WorkerLoader, decode
from backmix.data.preprocess import Preprocess
from backmix.errors import RunError, TrainingError
from backmix.methods.network import create_network
from backmix.mixing import BackMix
from backmix.mixing.foreground import top_cells
from backmix.outliers import Backgrounds
from backmix.train.checkpoint import load_checkpoint, save_checkpoint
from backmix.train.loop import train
from backmix.train.recipe import OPTIMIZERS, TrainOptions, schedule_factor

PREPROCESS = Preprocess(32)
OPTIONS = TrainOptions(epochs=3, batch_size=36, lr=0.05, ema=0.5)


@pytest.fixture(scope="module")
def digits():
    """216 zeros and ones on textures, clear to see, with masks."""
    source = DigitsOnTextures("train", contrast=0.36)
    positions = (source.labels < 2).nonzero().flatten().tolist()
    return decode(source, source.labels, PREPROCESS, positions=positions, masks=True)


@pytest.fixture(scope="module")
def few(digits):
    return replace(digits, images=digits.images[:48], labels=digits.labels[:48], masks=digits.masks[:48])


def make_network(width=0.25, seed=0):
    torch.manual_seed(seed)
    return create_network("compact-s", "softmax", 2, image_size=32, model_options={"width": width})


def make_conosr(seed=0):
    torch.manual_seed(seed)
    return create_network("compact-s", "conosr", 2, image_size=32, model_options={"width": 0.25})


def run(data, options=OPTIONS, mix=None, network=None, **arguments):
    network = network or make_network()
    loader = ResidentLoader(data, batch_size=options.batch_size, seed=options.seed)
    return network, train(network, loader, PREPROCESS, options, mix, **arguments)


def equal(first, second):
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


RATES = {"sgd": 0.1, "muon": 0.02, "adamw": 0.003}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_loss_falls_on_digits(digits, optimizer, precision):
    options = TrainOptions(
        epochs=5, batch_size=24, lr=RATES[optimizer], optimizer=optimizer, precision=precision, ema=0.9
    )
    network, history = run(digits, options)
    assert [report.epoch for report in history] == list(range(5))
    assert history[-1].loss < 0.75 * history[0].loss
    assert history[-1].accuracy > 0.75
    assert not network.training
    right = network(PREPROCESS.normalise(digits.images))[1].argmax(1) == digits.labels
    assert right.float().mean() > 0.8


def test_reports_are_means_over_the_images_shown(few):
    steps, epochs = [], []
    _, history = run(few, replace(OPTIONS, batch_size=20), on_step=steps.append, on_epoch=epochs.append)
    assert epochs == history
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6] and {step.steps for step in steps} == {6}
    for report in history:
        shown = [step for step in steps if step.epoch == report.epoch]
        assert report.loss == pytest.approx(sum(step.loss for step in shown) / 2, rel=1e-6)
        assert report.accuracy == pytest.approx(sum(step.accuracy for step in shown) / 2, rel=1e-6)


@pytest.mark.parametrize("foreground", [None, "free", "clean", "random"])
def test_two_trainings_are_equal_to_the_bit(few, foreground):
    def once(noise):
        torch.manual_seed(noise)
        mix = None if foreground is None else BackMix(48, foreground=foreground, num_patches=2, fill="noise")
        network = make_network()
        torch.manual_seed(noise)  # What others draw from the global generator must not matter.
        return run(few, mix=mix, network=network, options=replace(OPTIONS, batch_size=16))[0], mix

    (first, mix), (second, again) = once(1), once(2)
    assert equal(first, second)
    assert mix is None or equal(mix, again)


def test_the_seed_changes_the_training(few):
    assert not equal(run(few)[0], run(few, replace(OPTIONS, seed=1))[0])


def test_with_and_without_backmix_order_and_flips_are_the_same(few, monkeypatch):
    shown = []

    class Spy(backmix.train.step.FlipCrop):
        def draw(self, *size):
            view = super().draw(*size)
            shown[-1].append((view.boxes, view.flip))
            return view

    monkeypatch.setattr(backmix.train.step, "FlipCrop", Spy)
    orders = []
    for mix in (None, BackMix(48, foreground="free"), BackMix(48, foreground="clean", fill="noise", donor="other")):
        shown.append([])
        orders.append([])
        loader = ResidentLoader(few, batch_size=16)
        epoch = loader.epoch

        def spied(number, epoch=epoch):
            for batch in epoch(number):
                orders[-1].append(batch.index)
                yield batch

        loader.epoch = spied
        train(make_network(), loader, PREPROCESS, OPTIONS, mix)
    assert len(shown[0]) == len(orders[0]) == 9
    for other in (1, 2):
        assert all(torch.equal(a, b) for a, b in zip(orders[0], orders[other], strict=True))
        for (boxes, flip), (their_boxes, their_flip) in zip(shown[0], shown[other], strict=True):
            assert torch.equal(boxes, their_boxes) and torch.equal(flip, their_flip)
    assert len({tuple(order.tolist()) for order in orders[0]}) == 9


@pytest.mark.parametrize("foreground", ["free", "clean", "masks"])
def test_backmix_that_mixes_nothing_leaves_the_training_as_it_is(few, foreground):
    plain, history = run(few)
    mix = BackMix(48, foreground=foreground, probability=0.0)
    mixed, with_mix = run(few, mix=mix)
    assert equal(plain, mixed) and [entry.mixed for entry in with_mix] == [0.0] * len(history)
    assert history == [replace(entry, mixed=None) for entry in with_mix]
    assert mix.bank.seen.any() == (foreground != "masks")


def test_backmix_changes_what_is_learnt(few):
    assert not equal(run(few)[0], run(few, mix=BackMix(48, unseen="unmasked"))[0])


def test_the_average_of_weights_against_a_loop(few):
    network = make_network()
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    seen = []

    def follow(progress):
        decay = min(0.8, progress.step / (progress.step + 9))
        seen.append(decay)
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * value
            else:
                expected[name] = value.clone()

    run(few, replace(OPTIONS, batch_size=4, ema=0.8), network=network, on_step=follow)
    assert len(seen) == 36 and seen[0] == pytest.approx(0.1) and seen[-1] == 0.8
    for name, value in network.state_dict().items():
        assert torch.allclose(value.float(), expected[name].float(), atol=1e-5), name


def test_averaged_layers_of_spectral_norm_have_norm_one(few):
    """Where weights turn, the mean of their singular vectors is short and belongs to no weights."""

    def once():
        network, generator = make_conosr(), torch.Generator().manual_seed(0)
        method = network.head
        layers = (method.projection, method.classifier[0], method.classifier[2])

        @torch.no_grad()
        def turn(_):
            for layer in layers:
                layer.parametrizations.weight.original.normal_(generator=generator)

        run(few, replace(OPTIONS, batch_size=12, ema=0.9), network=network, on_step=turn)
        return network, [torch.linalg.matrix_norm(layer.weight, 2).item() for layer in layers]

    network, norms = once()
    assert norms == pytest.approx([1.0, 1.0, 1.0], abs=0.05)
    assert not any(module.training for module in network.modules())
    assert equal(network, once()[0])


def test_without_average_the_last_weights_stay(few):
    network = make_network()
    last = {}
    run(
        few,
        replace(OPTIONS, ema=0.0),
        network=network,
        on_step=lambda _: last.update({name: value.clone() for name, value in network.state_dict().items()}),
    )
    assert all(torch.equal(value, last[name]) for name, value in network.state_dict().items())


def test_the_optimizer_gets_the_scheduled_rate(few, monkeypatch):
    rates = []
    step = torch.optim.SGD.step

    def spy(self, *arguments):
        rates.append([group["lr"] for group in self.param_groups])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    _, history = run(few, replace(OPTIONS, batch_size=16, schedule="cosine", warmup=0.5))
    expected = [0.05 * schedule_factor("cosine", (n + 0.5) / 9, 0.5) for n in range(9)]
    assert [pair[0] for pair in rates] == pytest.approx(expected) and all(a == b for a, b in rates)
    assert [report.lr for report in history] == pytest.approx(expected[2::3])


def test_a_method_may_have_a_rate_of_its_own(few):
    network = make_network()
    network.method.rate = lambda progress, schedule: schedule(progress) if progress < 0.5 else 0.25
    _, history = run(few, replace(OPTIONS, batch_size=16, epochs=4, schedule="cosine", warmup=0.0), network=network)
    expected = [0.05 * schedule_factor("cosine", (3 * epoch + 2.5) / 12, 0.0) for epoch in (0, 1)]
    assert [report.lr for report in history] == pytest.approx([*expected, 0.0125, 0.0125])


@pytest.mark.parametrize("tuning_rate", [None, 0.01])
def test_proser_tunes_at_a_hundredth_of_the_rate_if_asked(few, tuning_rate):
    torch.manual_seed(0)
    network = create_network(
        "compact-s",
        "proser",
        2,
        image_size=32,
        model_options={"width": 0.25},
        method_options={"start": 0.5, "tuning_rate": tuning_rate},
    )
    options = replace(OPTIONS, batch_size=24, epochs=4, warmup=0.0)
    _, history = run(few, options, network=network)
    whole = [1 - (2 * epoch + 1.5) / 8 for epoch in range(4)]
    factors = whole if tuning_rate is None else [1 - (2 * epoch + 1.5) / 4 for epoch in (0, 1)] + [0.01, 0.01]
    assert [report.lr for report in history] == pytest.approx([0.05 * factor for factor in factors])


def test_each_optimiser_is_limited_by_its_own_gradient(few, monkeypatch):
    norms = {"SGD": [], "Adam": []}
    for kind in (torch.optim.SGD, torch.optim.Adam):

        def spy(self, *arguments, kind=kind, step=kind.step):
            gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
            norms[kind.__name__].append(torch.nn.utils.get_total_norm(gradients).item() if gradients else None)
            return step(self, *arguments)

        monkeypatch.setattr(kind, "step", spy)
    torch.manual_seed(0)
    network = create_network("compact-s", "arpl-cs", 2, image_size=32, model_options={"width": 0.25})
    run(few, replace(OPTIONS, clip=1e-3, epochs=2), network=network)
    assert norms["SGD"] == pytest.approx([1e-3, 1e-3], rel=1e-3)
    assert norms["Adam"] == [pytest.approx(1e-3, rel=1e-3), None]  # Every other step has no adversaries.


def test_a_limit_on_the_gradient_holds(few, monkeypatch):
    norms = []
    step = torch.optim.SGD.step

    def spy(self, *arguments):
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(torch.nn.utils.get_total_norm(gradients).item())
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    run(few, replace(OPTIONS, clip=0.01))
    assert norms and max(norms) <= 0.0101


def test_no_batch_at_all():
    data = decode(DigitsOnTextures("val"), torch.zeros(269).long(), PREPROCESS, positions=[0])
    loader = ResidentLoader(data, batch_size=4, world=2)
    with pytest.raises(TrainingError, match="1 images make no batch of 36; add images"):
        train(make_network(), loader, PREPROCESS, OPTIONS)


class Failing(torch.nn.Module):
    """A method whose loss is no number from some call on."""

    def __init__(self, method, calls):
        super().__init__()
        self.method, self.calls = method, calls

    def loss(self, features, labels):
        self.calls -= 1
        loss = self.method.loss(features, labels)
        return loss * math.nan if self.calls < 0 else loss

    def training_loss(self, backbone, batch):
        features = backbone(batch.images)
        return features, self.loss(features, batch.labels)

    def __getattr__(self, name):
        return super().__getattr__(name) if name in ("method",) else getattr(super().__getattr__("method"), name)


def failing_network(calls):
    network = make_network()
    network.method = Failing(network.method, calls)
    return network


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint_before(few, tmp_path):
    path = tmp_path / "checkpoint.pt"
    kept = []
    with pytest.raises(TrainingError, match=r"loss became nan in epoch 3, step 2\. .*lower learning rate than 0\.05"):
        run(
            few,
            replace(OPTIONS, epochs=5, batch_size=16),
            BackMix(48),
            failing_network(2 * 3 + 1),
            checkpoint=path,
            on_epoch=lambda _: kept.append(path.read_bytes()),
        )
    assert len(kept) == 2 and path.read_bytes() == kept[1]
    state = load_checkpoint(path)
    assert len(state["history"]) == 2
    assert all(value.isfinite().all() for value in state["network"].values())
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("every", [2, 4, 20])
@pytest.mark.parametrize("foreground", [None, "free", "clean"])
def test_how_often_losses_are_read_changes_nothing(few, every, foreground):
    def once(read_every):
        mix = None if foreground is None else BackMix(48, foreground=foreground)
        steps, options = [], replace(OPTIONS, batch_size=8, erase=0.2)
        network, history = run(few, options, mix, on_step=steps.append, read_every=read_every)
        return network, mix, history, steps

    (plain, mix, history, steps), (other, again, reports, told) = once(None), once(every)
    assert equal(plain, other) and (mix is None or equal(mix, again))
    assert history == reports and steps == told and len(steps) == 18


def test_losses_are_read_every_so_many_steps_and_at_the_end_of_an_epoch(few):
    taken, told = [0], []
    step = torch.optim.SGD.step

    def count(self, *arguments):
        taken[0] += 1
        return step(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", count)
        run(
            few,
            replace(OPTIONS, batch_size=8, epochs=2),
            read_every=4,
            on_step=lambda progress: told.append((progress.step, taken[0])),
        )
    reads = [4, 4, 4, 4, 6, 6, 10, 10, 10, 10, 12, 12]
    assert told == list(zip(range(1, 13), reads))


def test_a_loss_that_is_no_number_is_told_with_its_step_however_late_it_is_read(few, tmp_path):
    path, told = tmp_path / "checkpoint.pt", []
    with pytest.raises(TrainingError, match=r"loss became nan in epoch 3, step 2\. "):
        run(
            few,
            replace(OPTIONS, epochs=5, batch_size=8),
            network=failing_network(2 * 6 + 1),
            checkpoint=path,
            read_every=4,
            on_step=told.append,
        )
    assert len(load_checkpoint(path)["history"]) == 2 and told[-1].step == 13


def test_losses_must_be_read_some_time(few):
    with pytest.raises(ValueError, match="read_every is a number of steps, at least 1; got 0"):
        run(few, read_every=0)


def test_a_training_that_failed_once_resumes_to_the_same_end(few, tmp_path):
    path = tmp_path / "checkpoint.pt"
    options = replace(OPTIONS, epochs=4)
    unbroken, history = run(few, options, network=failing_network(10**6), checkpoint=tmp_path / "other.pt")
    with pytest.raises(TrainingError, match="epoch 3, step 1"):
        run(few, options, network=failing_network(2), checkpoint=path)
    resumed, again = run(few, options, network=failing_network(10**6), checkpoint=path, resume=True)
    assert equal(unbroken, resumed) and history == again


def test_a_huge_rate_stops_with_the_epoch(few):
    with pytest.raises(TrainingError, match="epoch 1.*lower learning rate than 1e"):
        run(few, replace(OPTIONS, lr=1e30, warmup=0.0, batch_size=8))


def test_weights_that_overflow_in_the_last_step_of_an_epoch_are_not_saved(few, tmp_path):
    """The loss of that step was finite, so only the weights tell."""
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(TrainingError, match="weights stopped being finite in epoch 1"):
        run(few, replace(OPTIONS, lr=1e38, weight_decay=1e6, warmup=0.0, batch_size=48, epochs=1), checkpoint=path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("optimizer", "foreground"), [("sgd", None), ("muon", "free"), ("adamw", "clean"), ("sgd", "free")]
)
def test_resume_after_any_epoch_ends_the_same(few, tmp_path, optimizer, foreground):
    options = replace(OPTIONS, optimizer=optimizer, lr=0.01, batch_size=24, zoom=0.1, jitter=0.2, erase=0.2, small=0.5)

    def mix():
        return None if foreground is None else BackMix(48, foreground=foreground, selection="random", fill="noise")

    class Stop(Exception):
        pass

    def stop(_):
        raise Stop

    whole = mix()
    unbroken, history = run(few, options, whole)
    path = tmp_path / "checkpoint.pt"
    for _ in range(3):
        network = make_network(seed=9 if path.exists() else 0)  # What is resumed comes from the file alone.
        with pytest.raises(Stop):
            run(few, options, mix(), network, checkpoint=path, resume=True, on_epoch=stop)
    last = mix()
    resumed, again = run(few, options, last, make_network(seed=9), checkpoint=path, resume=True)
    assert again == history and equal(unbroken, resumed)
    assert whole is None or equal(whole, last)


def test_resume_without_a_checkpoint_begins(few, tmp_path):
    plain, history = run(few)
    resumed, again = run(few, checkpoint=tmp_path / "checkpoint.pt", resume=True)
    assert equal(plain, resumed) and history == again


def test_without_resume_a_checkpoint_is_written_over(few, tmp_path):
    path = tmp_path / "checkpoint.pt"
    run(few, replace(OPTIONS, epochs=1), checkpoint=path)
    _, history = run(few, checkpoint=path)
    assert len(history) == 3 and len(load_checkpoint(path)["history"]) == 3


def test_resume_with_other_options_lists_what_changed(few, tmp_path):
    path = tmp_path / "checkpoint.pt"
    run(few, replace(OPTIONS, epochs=1), BackMix(48), checkpoint=path)
    kept = path.read_bytes()
    with pytest.raises(TrainingError) as caught:
        run(few, replace(OPTIONS, epochs=2, lr=0.01), BackMix(48, patch_side=0.5), checkpoint=path, resume=True)
    message = str(caught.value)
    assert "epochs: 1 -> 2" in message and "lr: 0.05 -> 0.01" in message
    assert "patch_side=0.25" in message and "patch_side=0.5" in message
    assert "batch_size" not in message and "seed" not in message and "\n" not in message
    assert path.read_bytes() == kept
    with pytest.raises(TrainingError, match="augmentation.*none"):
        run(few, replace(OPTIONS, epochs=1), checkpoint=path, resume=True)


def test_a_checkpoint_from_before_an_option_resumes_as_its_default_has_it(few, tmp_path):
    path = tmp_path / "checkpoint.pt"

    class Stop(Exception):
        pass

    def stop(_):
        raise Stop

    whole, history = run(few, replace(OPTIONS, schedule="step"))
    with pytest.raises(Stop):
        run(few, replace(OPTIONS, schedule="step"), checkpoint=path, on_epoch=stop)
    state = load_checkpoint(path)
    options = json.loads(state["options"])
    for name in ("nesterov", "decay_all", "milestones", "restarts", "lowest", "compile"):
        del options[name]
    save_checkpoint(path, state | {"options": json.dumps(options)})
    with pytest.raises(TrainingError, match=r"milestones: \[0\.6, 0\.95\] -> \[0\.5\]; nesterov: True -> False"):
        run(
            few,
            replace(OPTIONS, schedule="step", nesterov=False, milestones=(0.5,)),
            checkpoint=path,
            resume=True,
        )
    resumed, again = run(few, replace(OPTIONS, schedule="step"), checkpoint=path, resume=True)
    assert equal(whole, resumed) and history == again


class Compiler:
    """In the compiler's place: runs what it is given as it is, and keeps a record."""

    def __init__(self, monkeypatch):
        self.graphs, self.asked = [], []
        compile_with = torch.compile
        torch._dynamo.reset()
        monkeypatch.setattr(torch, "compile", lambda call, **more: compile_with(call, backend=self.take, **more))

    def take(self, graph, inputs):
        self.graphs.append(graph)
        return graph.forward


@pytest.mark.parametrize("augmentation", ["none", "free", "clean", "mixstyle"])
def test_compiled_trainings_learn_the_same_and_leave_the_network_as_it_was(few, tmp_path, monkeypatch, augmentation):
    def mix():
        if augmentation == "mixstyle":
            return MixStyle(probability=0.5)
        return None if augmentation == "none" else BackMix(48, foreground=augmentation)

    options = replace(OPTIONS, batch_size=16, small=0.5)
    plain, history = run(few, options, mix())
    compiler, path = Compiler(monkeypatch), tmp_path / "checkpoint.pt"
    network, again = run(few, replace(options, compile=True), mix(), checkpoint=path)
    assert compiler.graphs and equal(plain, network) and history == again
    assert network.backbone._compiled_call_impl is None
    assert load_checkpoint(path)["network"].keys() == plain.state_dict().keys()
    before = len(compiler.graphs)
    images = PREPROCESS.normalise(few.images)
    assert torch.equal(network(images)[1], plain(images)[1]) and len(compiler.graphs) == before


def test_a_compiled_training_resumes(few, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def stop(_):
        raise Stop

    Compiler(monkeypatch)
    options, path = replace(OPTIONS, compile=True), tmp_path / "checkpoint.pt"
    whole, history = run(few, options, BackMix(48))
    network = make_network()
    with pytest.raises(Stop):
        run(few, options, BackMix(48), network, checkpoint=path, on_epoch=stop)
    assert network.backbone._compiled_call_impl is None
    with pytest.raises(TrainingError, match="compile: True -> False"):
        run(few, OPTIONS, BackMix(48), checkpoint=path, resume=True)
    resumed, again = run(few, options, BackMix(48), make_network(seed=9), checkpoint=path, resume=True)
    assert equal(whole, resumed) and history == again


def test_without_a_compiler_a_training_that_wants_one_says_so(few, monkeypatch, tmp_path):
    torch._dynamo.reset()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # What was compiled before would need none.
    network = make_network()
    with (
        torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.raises(TrainingError, match="could not compile the network: .*without it") as caught,
    ):
        run(few, replace(OPTIONS, epochs=1, compile=True), network=network)
    assert "\n" not in str(caught.value) and network.backbone._compiled_call_impl is None


@pytest.mark.slow
def test_compiled_for_this_machine_a_training_learns_as_it_does_without(few):
    torch._dynamo.reset()
    # In bf16 what a compiler joins is rounded less often, and the two go apart.
    options = replace(OPTIONS, batch_size=16, precision="fp32")
    (plain, history), (compiled, again) = run(few, options), run(few, replace(options, compile=True))
    assert [report.loss for report in again] == pytest.approx([report.loss for report in history], rel=1e-3)
    for name, value in plain.state_dict().items():
        assert torch.allclose(value.float(), compiled.state_dict()[name].float(), atol=1e-2), name


def test_resume_with_other_images_is_refused(few, tmp_path):
    path = tmp_path / "checkpoint.pt"
    run(few, replace(OPTIONS, epochs=1), checkpoint=path)
    fewer = replace(few, images=few.images[:40], labels=few.labels[:40], masks=None)
    with pytest.raises(TrainingError, match="images: 48 -> 40"):
        run(fewer, replace(OPTIONS, epochs=1), checkpoint=path, resume=True)


def test_resume_with_another_network_is_refused_in_one_line(few, tmp_path):
    path = tmp_path / "checkpoint.pt"
    run(few, replace(OPTIONS, epochs=1), checkpoint=path)
    with pytest.raises(RunError, match="does not fit this training") as caught:
        run(few, replace(OPTIONS, epochs=1), network=make_network(0.5), checkpoint=path, resume=True)
    assert "\n" not in str(caught.value)


def test_one_program_may_train_in_both_precisions(few):
    options = replace(OPTIONS, epochs=1, precision="bf16")
    first = run(few, options)[1]
    assert run(few, replace(options, precision="fp32"))[1] != first
    assert run(few, options)[1] == first


def test_autocast_does_not_stay_around_the_network(few):
    """What the trained network answers is what the same weights answer in a fresh network."""
    import copy

    network, _ = run(few, replace(OPTIONS, epochs=1))
    fresh = make_network(seed=5).eval()
    fresh.load_state_dict(network.state_dict())
    images = PREPROCESS.normalise(few.images)
    assert torch.equal(network(images)[1], fresh(images)[1])
    other = copy.deepcopy(network)
    with torch.no_grad():
        for value in other.parameters():
            value.zero_()
    assert not other(images)[1].any()


@pytest.fixture(scope="module", params=["free", "clean"])
def fed(request, digits):
    mix = BackMix(len(digits.images), foreground=request.param)
    options = TrainOptions(epochs=12, batch_size=24, lr=0.1, ema=0.9)
    _, history = run(digits, options, mix, make_network(0.5))
    return mix, history


def test_the_bank_is_fed_and_finds_the_digit(digits, fed):
    mix, history = fed
    assert history[-1].accuracy > 0.8
    assert mix.bank.seen.all() and (mix.bank.maps - 0.5).abs().amax((1, 2)).min() > 0
    masks = torch.nn.functional.adaptive_avg_pool2d(digits.masks.float()[:, None], 8)[:, 0]
    truth = top_cells(masks, 16)

    def overlap(cells):
        return ((cells & truth).sum((1, 2)) / (cells | truth).sum((1, 2))).mean().item()

    found = overlap(top_cells(mix.bank.maps, 16))
    generator = torch.Generator().manual_seed(0)
    chance = overlap(top_cells(torch.rand(mix.bank.maps.shape, generator=generator), 16))
    # A map of another image knows where digits mostly are, but not where this one is.
    shuffled = overlap(top_cells(mix.bank.maps[torch.randperm(len(masks), generator=generator)], 16))
    assert found > chance + 0.15
    assert found > shuffled + 0.03


@pytest.mark.parametrize("foreground", ["free", "clean", "masks"])
def test_crops_of_the_loader_feed_the_bank_in_the_frame_of_the_image(foreground):
    source = DigitsOnTextures("val", contrast=0.36)
    positions = (source.labels < 2).nonzero().flatten().tolist()
    loader = WorkerLoader(
        source, source.labels, PREPROCESS, positions=positions, batch_size=18, masks=foreground == "masks", workers=0
    )
    mix = BackMix(len(positions), foreground=foreground)
    history = train(make_network(), loader, PREPROCESS, replace(OPTIONS, batch_size=18, pad=0.0, flip=0.0), mix)
    assert all(math.isfinite(report.loss) for report in history)
    assert mix.bank.seen.float().mean() == (0.0 if foreground == "masks" else 1.0)
    if foreground != "masks":
        # Crops leave cells unseen for a while, so some hold their first value to the end and others moved.
        assert (mix.bank.maps == 0.5).any() and (mix.bank.maps != 0.5).any()


def test_two_banks_of_which_one_would_starve_are_refused(few):
    outliers = Backgrounds(BackMix(len(few.images)))
    with pytest.raises(ValueError, match="have a BackMix each"):
        run(few, OPTIONS, mix=BackMix(len(few.images)), outliers=outliers)


class Tint(Augmentation):
    """Adds a number to each image, another one at every draw, and says of which images it is above 0."""

    def __init__(self):
        super().__init__()
        self.drawn = []

    def forward(self, images, index=None, **_):
        self.drawn.append(torch.randn(len(images), generator=self.generator))
        return images + self.drawn[-1][:, None, None, None]

    def moved(self):
        return self.drawn[-1] > 0


def shown_in_one_step(data, mix, monkeypatch, network=None):
    """What a method of two views is shown in a step without crops, as differences from the images themselves."""
    network, found = network or make_conosr(), []
    method = type(network.head)
    answer = method.training_loss

    def spy(self, backbone, batch):
        found.append(batch)
        return answer(self, backbone, batch)

    monkeypatch.setattr(method, "training_loss", spy)
    loader = ResidentLoader(data, batch_size=48)
    (given,) = list(loader.epoch(0))
    options = replace(OPTIONS, epochs=1, batch_size=48, pad=0.0, flip=0.0)
    train(network, loader, PREPROCESS, options, mix)
    (batch,) = found
    plain = PREPROCESS.normalise(given.images)
    return [view - plain for view in batch.images.split(48)], given, batch


def test_every_view_has_draws_of_its_own_and_the_last_is_of_the_first_view(few, monkeypatch):
    tint = Tint()
    (first, second), _, _ = shown_in_one_step(few, tint, monkeypatch)
    assert len(tint.drawn) == 2
    for view, drawn in ((first, tint.drawn[1]), (second, tint.drawn[0])):
        assert torch.allclose(view, drawn[:, None, None, None].expand_as(view), atol=1e-5)


def test_with_mixed_labels_all_views_share_one_draw(few, monkeypatch):
    (first, second), _, batch = shown_in_one_step(few, Mixup(), monkeypatch)
    assert torch.equal(first, second) and first.abs().max() > 0.1
    assert len(batch.targets) == 2


def test_pasted_cells_are_those_of_the_first_view(few, monkeypatch):
    mix = BackMix(48, foreground="free", unseen="unmasked")
    (first, second), given, _ = shown_in_one_step(few, mix, monkeypatch)
    pasted = mix._pasted(given.index).repeat_interleave(4, 1).repeat_interleave(4, 2)
    changed, other = (view.abs().amax(1) > 0 for view in (first, second))
    assert not (changed & ~pasted).any() and changed.flatten(1).any(1).float().mean() > 0.9
    assert (other & ~pasted).flatten(1).any(1).float().mean() > 0.5
    assert other.flatten(1).sum(1).max() <= 64, "one patch of 8x8 pixels in either view"


def test_images_that_the_first_view_moved_do_not_feed_the_bank(few, monkeypatch):
    tint, mix = Tint(), BackMix(48, foreground="free", probability=0.0)
    _, given, _ = shown_in_one_step(few, Chain([tint, mix]), monkeypatch)
    fed = mix.bank.seen[given.index]
    assert 0 < fed.sum() < 48 and not fed[tint.moved()].any()


def test_labels_outside_the_classes_are_refused(few):
    wrong = replace(few, labels=few.labels + 1)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1; got 1\.\.2"):
        run(wrong)


def test_a_bank_of_another_size_is_refused(few):
    with pytest.raises(ValueError, match="length of this training set"):
        run(few, mix=BackMix(20))


@pytest.mark.parametrize("foreground", [None, "clean"])
@pytest.mark.parametrize("freeze", [True, False])
def test_frozen_batch_norms_keep_their_statistics_through_a_training(few, foreground, freeze):
    network = make_network()
    # Statistics as of other images, as published weights have them.
    with torch.no_grad():
        for name, value in network.named_buffers():
            if "running" in name:
                value.add_(0.25)
    statistics = {name: value.clone() for name, value in network.named_buffers() if "running" in name}
    weights = {name: value.clone() for name, value in network.named_parameters()}
    mix = BackMix(48, foreground=foreground) if foreground else None
    run(few, replace(OPTIONS, freeze_norm=freeze), mix, network)
    kept = [torch.equal(value, dict(network.named_buffers())[name]) for name, value in statistics.items()]
    assert kept and (all(kept) if freeze else not any(kept))
    assert not any(torch.equal(value, weights[name]) for name, value in network.named_parameters())

"""R-Drop, adversarial steps, accumulation, memory, unfreezing and pooling: each has the effect that it names."""

from collections.abc import Sequence

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from torch.nn import functional  # noqa: E402
from trainer_tools import same_weights, tiny_config, tiny_network, tiny_trainer  # noqa: E402

from monitor.core.errors import ConfigError, TrainError  # noqa: E402
from monitor.train.config import TrainConfig  # noqa: E402
from monitor.train.fit import Trainer  # noqa: E402
from monitor.train.memory import halving, out_of_memory  # noqa: E402
from monitor.train.optimiser import encoder_layers  # noqa: E402
from monitor.train.regularise import Perturbation, symmetric_kl  # noqa: E402
from monitor.train.run import device_of  # noqa: E402


def _batch(trainer: Trainer, size: int = 12) -> list[tuple[object, list[int]]]:
    items, _ = trainer._plan(0)
    return items[:size]  # type: ignore[return-value]


def _gradients(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in trainer.network.named_parameters() if p.grad is not None}


def test_the_symmetric_kl_is_torchs_both_ways() -> None:
    one, two = torch.randn(5, 4), torch.randn(5, 4)
    p, q = one.log_softmax(1), two.log_softmax(1)
    wanted = functional.kl_div(q, p, log_target=True, reduction="none").sum(1)
    wanted = (wanted + functional.kl_div(p, q, log_target=True, reduction="none").sum(1)) / 2
    assert torch.allclose(symmetric_kl(one, two), wanted, atol=1e-6)
    assert symmetric_kl(one, one).abs().max() == 0


def _disagreement(trainer: Trainer) -> float:
    """How far two passes with other dropout lie apart, over the training texts."""
    trainer.network.train()
    torch.manual_seed(1)
    from monitor.train.forward import collate

    items, groups = trainer._plan(0)
    total = 0.0
    with torch.no_grad():
        for group in groups:
            tokens, mask = collate([items[i][1] for i in group[0]], trainer.pad)
            first, second = trainer.network(tokens, mask), trainer.network(tokens, mask)
            total += sum(float(symmetric_kl(a, b).sum()) for a, b in zip(first, second, strict=True))
    return total


def test_r_drop_draws_the_answers_under_other_dropout_together() -> None:
    apart = {}
    for factor in (0.0, 5.0):
        trainer = tiny_trainer(tiny_config(epochs=3, dropout=0.3, r_drop=factor))
        trainer.run()
        apart[factor] = _disagreement(trainer)
    assert apart[5.0] < 0.5 * apart[0.0]


def test_r_drop_is_the_mean_of_both_losses_where_nothing_is_dropped() -> None:
    plain, doubled = tiny_trainer(tiny_config(dropout=0.0)), tiny_trainer(tiny_config(dropout=0.0, r_drop=3.0))
    for trainer in (plain, doubled):
        trainer.network.eval()
    assert doubled._loss(_batch(doubled)).item() == pytest.approx(plain._loss(_batch(plain)).item(), rel=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_adversarial_steps_have_the_asked_for_length_and_raise_the_loss(frozen: bool) -> None:
    trainer = tiny_trainer(tiny_config(adversarial=0.1, dropout=0.0, freeze_embeddings=frozen))
    trainer.network.eval()
    batch = _batch(trainer)
    embeddings = trainer.network.encoder.get_input_embeddings()  # type: ignore[operator]
    perturb = Perturbation(embeddings, 0.1)
    with perturb.recording():
        clean = trainer._loss(batch)
    clean.backward()
    (seen,) = perturb._seen
    moves = perturb.move(seen)
    lengths = moves.flatten(1).norm(dim=1) / seen.detach().flatten(1).norm(dim=1)
    assert torch.allclose(lengths, torch.full_like(lengths, 0.1), atol=1e-5)
    with perturb.adding():
        worse = trainer._loss(batch).item()
    assert worse > clean.item()
    assert trainer._loss(batch).item() == pytest.approx(clean.item())  # the hook is gone


def test_an_adversarial_step_adds_the_gradient_of_the_moved_embeddings() -> None:
    plain, trained = tiny_trainer(tiny_config(dropout=0.0)), tiny_trainer(tiny_config(dropout=0.0, adversarial=1e-6))
    for trainer in (plain, trained):
        trainer.network.eval()
        trainer._gradient([_batch(trainer)], 1)
    for name, gradient in _gradients(plain).items():  # a step of next to nought: twice the plain gradient
        assert torch.allclose(_gradients(trained)[name], 2 * gradient, atol=1e-4), name
    moved = tiny_trainer(tiny_config(adversarial=0.2, epochs=1))
    moved.run()
    still = tiny_trainer(tiny_config(epochs=1))
    still.run()
    assert not same_weights(moved.network, still.network)


def test_accumulated_batches_give_the_gradient_of_one_large_one() -> None:
    trainer = tiny_trainer(tiny_config(dropout=0.0, accumulate=3))
    trainer.network.eval()
    batch = _batch(trainer)
    trainer._gradient([batch], 1)
    whole = _gradients(trainer)
    trainer._gradient([batch[:2], batch[2:7], batch[7:]], 1)
    for name, gradient in _gradients(trainer).items():
        assert torch.allclose(gradient, whole[name], atol=1e-6), name
    one = tiny_trainer(tiny_config())
    assert trainer.total == sum(-(-len(one._plan(epoch)[1]) // 3) for epoch in range(2))


class _Memory:
    """Lets passes over more than ``most`` texts run out of memory, as a GPU does."""

    def __init__(self, trainer: Trainer, most: int, error: Exception) -> None:
        self.loss, self.most, self.error, self.failed = trainer._loss, most, error, 0

    def __call__(self, batch: Sequence[object], texts: int | None = None) -> torch.Tensor:
        if len(batch) > self.most:
            self.failed += 1
            raise self.error
        return self.loss(batch, texts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("DefaultCPUAllocator: not enough memory: you tried")],
)
def test_out_of_memory_halves_the_batch_and_the_gradient_stays_the_same(error: Exception) -> None:
    config = tiny_config(dropout=0.0, epochs=1)
    lines: list[str] = []
    plain, tight = tiny_trainer(config), tiny_trainer(config, report=lines.append)
    memory = _Memory(tight, 4, error)
    tight._loss = memory  # type: ignore[method-assign, assignment]
    for trainer in (plain, tight):
        trainer.network.eval()
        trainer._step([_batch(trainer)])
    assert (memory.failed, tight.pieces) == (2, 4)
    for name, gradient in _gradients(tight).items():
        assert torch.allclose(gradient, _gradients(plain)[name], atol=1e-6), name
    assert lines == [f"out of memory: batches are now worked on in {n} pieces" for n in (2, 4)]
    tight._step([_batch(tight)])
    assert memory.failed == 2  # it remembers


def test_memory_that_does_not_suffice_for_one_text_is_said_and_other_errors_pass() -> None:
    trainer = tiny_trainer(tiny_config(epochs=1))
    trainer._loss = _Memory(trainer, 0, torch.OutOfMemoryError("CUDA out of memory."))  # type: ignore[method-assign, assignment]
    with pytest.raises(TrainError, match=r"Out of memory with a single text.*max_tokens"):
        trainer.run()

    def broken(_pieces: int) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        halving(broken, pieces=1, most=8, report=lambda _line: None)
    assert not out_of_memory(RuntimeError("shapes differ"))


def test_with_a_frozen_encoder_only_the_heads_move() -> None:
    trainer = tiny_trainer(tiny_config(epochs=1, freeze_encoder=True))
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.run()
    moved = {name for name, value in trainer.network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith("heads.")}


def test_layers_are_unfrozen_from_the_top_one_epoch_after_the_other() -> None:
    trainer = tiny_trainer(tiny_config(epochs=4, unfreeze_layers=1))
    last = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    moved: list[set[str]] = []

    def look() -> dict[str, float]:
        now = {name: value.clone() for name, value in trainer.network.state_dict().items()}
        names = {name for name in now if not torch.equal(now[name], last[name])}
        parts = {"0": "layer.0.", "1": "layer.1.", "embeddings": "embeddings.word", "heads": "heads."}
        moved.append({part for part, mark in parts.items() if any(mark in name for name in names)})
        last.update(now)
        return {}

    trainer.evaluate = look
    trainer.run()
    assert moved == [{"heads"}, {"heads", "1"}, {"heads", "1", "0"}, {"heads", "1", "0", "embeddings"}]


def test_unfreezing_leaves_frozen_what_the_recipe_freezes() -> None:
    trainer = tiny_trainer(tiny_config(unfreeze_layers=9, freeze_layers=1))
    trainer._thaw.apply(5)
    assert not any(p.requires_grad for p in encoder_layers(trainer.network)[0].parameters())
    assert all(p.requires_grad for p in encoder_layers(trainer.network)[1].parameters())


def _pooled(pooling: str) -> torch.nn.Module:
    config = tiny_config().model_copy(update={"pooling": pooling})
    return tiny_network(TrainConfig.model_validate(config.model_dump())).eval()


def test_attention_pooling_starts_as_the_mean_and_never_looks_at_padding() -> None:
    tokens, mask = torch.tensor([[0, 7, 8, 2, 1, 1]]), torch.tensor([[1, 1, 1, 1, 0, 0]])
    mean, attention = _pooled("mean"), _pooled("attention")
    assert torch.allclose(attention.embed(tokens, mask), mean.embed(tokens, mask), atol=1e-6)  # type: ignore[operator]
    torch.manual_seed(0)
    attention.pool.weight.data.normal_(std=3.0)  # type: ignore[union-attr, operator]
    padded = attention.embed(tokens, mask)  # type: ignore[operator]
    bare = attention.embed(tokens[:, :4], mask[:, :4])  # type: ignore[operator]
    assert torch.allclose(padded, bare, atol=1e-5)
    assert not torch.allclose(padded, mean.embed(tokens, mask), atol=1e-3)  # type: ignore[operator]


def test_attention_pooling_learns_at_the_rate_of_the_heads() -> None:
    config = TrainConfig.model_validate(tiny_config(epochs=1).model_dump() | {"pooling": "attention"})
    trainer = tiny_trainer(config)
    (group,) = [g for g in trainer.optimizer.param_groups if any(p is trainer.network.pool.weight for p in g["params"])]  # type: ignore[union-attr]
    assert group["lr"] == config.fit.head_learning_rate
    trainer.run()
    assert trainer.network.pool.weight.abs().max() > 0  # type: ignore[union-attr]


def test_bf16_changes_the_arithmetic_and_leaves_the_weights_in_float32() -> None:
    exact, rounded = (tiny_trainer(tiny_config(bf16=bf16, dropout=0.0)) for bf16 in (False, True))
    for trainer in (exact, rounded):
        trainer.network.eval()
    one, two = exact._loss(_batch(exact)).item(), rounded._loss(_batch(rounded)).item()
    assert one != two
    assert one == pytest.approx(two, rel=0.02)
    rounded.run()
    assert {p.dtype for p in rounded.network.parameters()} == {torch.float32}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_a_config_error() -> None:
    assert device_of(tiny_config()).type == "cpu"
    with pytest.raises(ConfigError, match=r"fit\.device"):
        device_of(tiny_config(device="cuda"))

"""Every loss against its formula, and the effect of every weight on gradients and draws."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from torch.nn import functional  # noqa: E402
from trainer_tools import tiny_config, tiny_trainer, with_tasks  # noqa: E402

from monitor.train.config import TrainConfig  # noqa: E402
from monitor.train.data import Example  # noqa: E402
from monitor.train.draw import epoch_examples, tempered  # noqa: E402
from monitor.train.losses import Targets, TaskLosses, class_weights, loss_rows, targets_of  # noqa: E402

CPU = torch.device("cpu")
LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3], [-1.0, 3.0, 0.0]], requires_grad=True)


def _example(label: int | None, *, weight: float = 1.0, soft: tuple[float, ...] = (), row: int = 1) -> Example:
    return Example(
        text="t",
        labels={} if label is None else {"sentiment": label},
        source="sentiment",
        row=row,
        group=str(row),
        soft={"sentiment": soft} if soft else {},
        weights={"sentiment": weight} if weight != 1 else {},
    )


def _targets(*examples: Example) -> Targets:
    return targets_of(examples, "sentiment", 3, CPU)


def test_cross_entropy_is_minus_the_log_of_the_labels_probability() -> None:
    rows = loss_rows(LOGITS, _targets(_example(0), _example(None), _example(2)))
    p = LOGITS.softmax(1).tolist()
    assert rows.tolist() == pytest.approx([-math.log(p[0][0]), 0.0, -math.log(p[2][2])])


def test_focal_loss_scales_by_one_minus_p_to_the_gamma_and_gamma_zero_is_cross_entropy() -> None:
    targets = _targets(_example(0), _example(1), _example(2))
    p = [LOGITS.softmax(1)[row, row].item() for row in range(3)]
    focal = loss_rows(LOGITS, targets, gamma=2.0).tolist()
    assert focal == pytest.approx([(1 - q) ** 2 * -math.log(q) for q in p], rel=1e-5)
    nearly = loss_rows(LOGITS, targets, gamma=1e-9).tolist()
    assert nearly == pytest.approx(loss_rows(LOGITS, targets).tolist(), rel=1e-5)
    weighted = loss_rows(LOGITS, targets, gamma=1e-9, smoothing=0.1, classes=torch.tensor([1.0, 2.0, 0.5]))
    plain = loss_rows(LOGITS, targets, smoothing=0.1, classes=torch.tensor([1.0, 2.0, 0.5]))
    assert weighted.tolist() == pytest.approx(plain.tolist(), rel=1e-5)


def test_soft_targets_give_the_cross_entropy_with_the_distribution() -> None:
    soft = (0.2, 0.3, 0.5)
    rows = loss_rows(LOGITS, _targets(_example(2, soft=soft), _example(1), _example(None)))
    log_p = LOGITS.log_softmax(1)
    assert rows[0].item() == pytest.approx(-sum(s * log_p[0, i].item() for i, s in enumerate(soft)))
    assert rows[1].item() == pytest.approx(-log_p[1, 1].item())
    assert rows[2].item() == 0.0
    gradient = torch.autograd.grad(rows[0], LOGITS)[0][0]  # p - y
    assert gradient.tolist() == pytest.approx((LOGITS.softmax(1)[0] - torch.tensor(soft)).tolist(), abs=1e-6)


def test_a_texts_weight_and_a_classes_weight_scale_its_gradient() -> None:
    plain = torch.autograd.grad(loss_rows(LOGITS, _targets(*[_example(1)] * 3)).sum(), LOGITS)[0]
    texts = _targets(_example(1), _example(1, weight=0.5), _example(1))
    by_text = torch.autograd.grad(loss_rows(LOGITS, texts).sum(), LOGITS)[0]
    assert torch.allclose(by_text, plain * torch.tensor([[1.0], [0.5], [1.0]]))
    classes = torch.tensor([1.0, 4.0, 1.0])
    by_class = torch.autograd.grad(loss_rows(LOGITS, _targets(*[_example(1)] * 3), classes=classes).sum(), LOGITS)[0]
    assert torch.allclose(by_class, plain * 4)


def test_balanced_class_weights_are_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = [0, 0, 0, 0, 0, 1, 2, 2]
    config = with_tasks(tiny_config(), class_weights="balanced")
    found = class_weights("sentiment", config.tasks["sentiment"], [_example(label) for label in labels])
    assert found is not None
    assert found.tolist() == pytest.approx(list(compute_class_weight("balanced", classes=np.arange(3), y=labels)))


def test_explicit_class_weights_are_by_label_and_unknown_labels_refused() -> None:
    data = tiny_config().model_dump()
    data["tasks"]["sentiment"]["class_weights"] = {"negative": 3.0}
    task = TrainConfig.model_validate(data).tasks["sentiment"]
    assert class_weights("sentiment", task, []).tolist() == [3.0, 1.0, 1.0]  # type: ignore[union-attr]
    data["tasks"]["sentiment"]["class_weights"] = {"bearish": 3.0}
    with pytest.raises(ValueError, match="unknown labels: bearish"):
        TrainConfig.model_validate(data)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"class_weights": "balanced"},
        {"loss": "focal"},
        {"loss": "focal", "focal_gamma": 0.0},
        {"label_smoothing": 0.2},
    ],
)
def test_the_loss_of_a_batch_is_the_sum_over_its_labels_divided_by_its_texts(changes: dict[str, object]) -> None:
    config = with_tasks(tiny_config(label_smoothing=0.0), **changes)
    examples = [_example(0, row=1), _example(2, row=2), _example(None, row=3), _example(0, row=4)]
    losses = TaskLosses(config, examples)
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    got = losses([torch.zeros(4, 3), logits], examples, 4).item()
    spec = config.tasks["sentiment"]
    rows = loss_rows(
        logits,
        _targets(*examples),
        smoothing=spec.label_smoothing or 0.0,
        classes=class_weights("sentiment", spec, examples),
        gamma=spec.focal_gamma if spec.loss == "focal" else 0.0,
    )
    assert got == pytest.approx(rows.sum().item() / 4, rel=1e-5)


def test_uncertainty_weights_follow_kendall_and_rise_for_the_easier_task() -> None:
    config = tiny_config(task_weighting="uncertainty")
    losses = TaskLosses(config, [])
    assert losses.task_weights() == pytest.approx({"topic": 1.0, "sentiment": 1.0})
    assert losses.log_variance is not None
    losses.log_variance.data = torch.tensor([0.0, 0.4])
    logits, batch = torch.randn(3, 3), [_example(0), _example(1), _example(None)]
    got = losses([torch.zeros(3, 3), logits], batch, 3).item()
    ce = functional.cross_entropy(logits[:2], torch.tensor([0, 1]), reduction="sum", label_smoothing=0.02)
    assert got == pytest.approx((math.exp(-0.4) * ce.item() + 2 * 0.4 / 2) / 3, rel=1e-5)

    trainer = tiny_trainer(tiny_config(epochs=1, task_weighting="uncertainty", head_learning_rate=5e-2))
    trainer.run()
    weights = trainer.losses.task_weights()
    assert weights != {"topic": 1.0, "sentiment": 1.0}
    assert trainer.history[0]["weight/topic"] == pytest.approx(weights["topic"])


def test_the_weight_of_a_data_set_moves_the_loss_of_its_rows() -> None:
    data = tiny_config(label_smoothing=0.0).model_dump()
    data["data"][1]["weight"] = 0.25
    light, plain = tiny_trainer(TrainConfig.model_validate(data)), tiny_trainer(tiny_config(label_smoothing=0.0))
    for trainer, wanted in ((light, 0.25), (plain, 1.0)):
        trainer.network.eval()
        rows = [ex for ex in trainer.examples if ex.source == "sentiment"][:4]
        items = [(ex, [0, 5, 6, 2]) for ex in rows]
        unweighted = [
            (Example(text=e.text, labels=e.labels, source=e.source, row=e.row, group=e.group), i) for e, i in items
        ]
        assert trainer._loss(items).item() == pytest.approx(wanted * trainer._loss(unweighted).item(), rel=1e-5)


def test_sampling_temperature_evens_out_the_data_sets_and_keeps_the_number_of_texts() -> None:
    assert tempered({"big": 900, "small": 100}, 1e9) == {"big": 500, "small": 500}
    assert tempered({"big": 900, "small": 100}, 2.0) == {"big": 750, "small": 250}
    trainer = tiny_trainer(tiny_config())
    sizes: dict[float, dict[str, int]] = {}
    for temperature in (1.0, 4.0):
        drawn = epoch_examples(trainer.examples, tiny_config(sampling_temperature=temperature), 0)
        sizes[temperature] = {s: sum(ex.source == s for ex in drawn) for s in ("topic", "sentiment", "entities")}
    assert abs(sum(sizes[1.0].values()) - sum(sizes[4.0].values())) <= 2
    assert sizes[4.0]["entities"] > 1.5 * sizes[1.0]["entities"]
    assert sizes[4.0]["topic"] < sizes[1.0]["topic"]

"""Averages of weights against their formulas; what is measured, exported and resumed; weights to start from."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
import tiny_model  # noqa: E402
from trainer_tools import same_weights, tiny_config, tiny_network, tiny_trainer  # noqa: E402

from monitor.core.errors import ConfigError, TrainError  # noqa: E402
from monitor.train import checkpoint as checkpoints  # noqa: E402
from monitor.train.averaging import WeightAverage  # noqa: E402


def _series(kind: str, decay: float, values: list[float]) -> float:
    layer = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(layer, kind=kind, decay=decay)
    for value in values:
        layer.weight.data.fill_(value)
        average.update()
    with average.applied():
        found = layer.weight.item()
    assert layer.weight.item() == values[-1]
    return found


def test_ema_follows_its_formula() -> None:
    values = [float(v * v % 17) for v in range(40)]
    wanted = values[0]
    for t, value in enumerate(values[1:], start=2):
        keep = min(0.6, (1 + t) / (10 + t))
        wanted = keep * wanted + (1 - keep) * value
    assert _series("ema", 0.6, values) == pytest.approx(wanted, rel=1e-5)


def test_swa_is_the_plain_mean() -> None:
    values = [float(v * v % 17) for v in range(40)]
    assert _series("swa", 0.9, values) == pytest.approx(sum(values) / 40, rel=1e-5)


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_a_run_ends_with_the_average_of_the_weights_after_its_steps(kind: str) -> None:
    trainer = tiny_trainer(tiny_config(averaging=kind, averaging_decay=0.9))
    assert trainer.average is not None
    name = "heads.topic.weight"
    seen: list[torch.Tensor] = []
    update = trainer.average.update

    def recorded() -> None:
        update()
        seen.append(trainer.network.state_dict()[name].clone())

    trainer.average.update = recorded  # type: ignore[method-assign]
    trainer.run()
    if kind == "swa":
        assert trainer.total * 0.25 - 1 <= len(seen) <= trainer.total * 0.25 + 1
        wanted = torch.stack(seen).mean(0)
    else:
        assert len(seen) == trainer.total
        wanted = seen[0]
        for t, value in enumerate(seen[1:], start=2):
            keep = min(0.9, (1 + t) / (10 + t))
            wanted = keep * wanted + (1 - keep) * value
    assert torch.allclose(trainer.network.state_dict()[name], wanted, atol=1e-5)
    assert not torch.allclose(wanted, seen[-1], atol=1e-5)


def test_the_average_is_what_is_measured_and_training_goes_on_from_the_weights() -> None:
    plain = tiny_trainer(tiny_config())
    plain.run()
    measured: list[torch.Tensor] = []

    def look() -> dict[str, float]:
        measured.append(trainer.network.state_dict()["heads.topic.weight"].clone())
        return {}

    trainer = tiny_trainer(tiny_config(averaging="ema"), evaluate=look)
    trainer.run()
    assert torch.equal(measured[-1], trainer.network.state_dict()["heads.topic.weight"])
    assert trainer.average is not None
    trainer.average.swap()
    assert same_weights(plain.network, trainer.network)


@pytest.mark.parametrize("fit", [{"averaging": "ema"}, {"averaging": "swa"}, {"task_weighting": "uncertainty"}])
def test_a_resumed_run_ends_where_an_undisturbed_one_does(tmp_path: Path, fit: dict[str, object]) -> None:
    config = tiny_config(**fit)
    undisturbed = tiny_trainer(config)
    undisturbed.run()

    def die() -> dict[str, float]:
        if killed.epoch == 2:
            raise KeyboardInterrupt
        return {}

    killed = tiny_trainer(config, tmp_path / "checkpoint.pt", evaluate=die)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    resumed = tiny_trainer(config, tmp_path / "checkpoint.pt")
    assert resumed.resume()
    assert resumed.epoch == 1
    resumed.run()
    assert same_weights(undisturbed.network, resumed.network)
    again = tiny_trainer(config, tmp_path / "checkpoint.pt")
    again.resume()
    again.run()  # nothing is left to train: the average is still what comes out
    assert same_weights(undisturbed.network, again.network)


def test_a_run_starts_from_the_average_and_the_heads_of_an_earlier_one(tmp_path: Path) -> None:
    earlier = tiny_trainer(tiny_config(epochs=1, averaging="ema"), tmp_path / "checkpoint.pt")
    earlier.run()
    network = tiny_network(tiny_config())
    assert checkpoints.start_from(network, tiny_config(), tmp_path / "checkpoint.pt") == []
    assert same_weights(network, earlier.network)


def test_a_bare_state_and_the_first_format_of_checkpoints_can_be_started_from(tmp_path: Path) -> None:
    source = tiny_network(tiny_config().model_copy(update={"seed": 9}))
    state = source.state_dict()
    first = {"fingerprint": "0", "network": state, "optimizer": {}, "epoch": 1, "step": 2, "history": []}
    for number, content in enumerate((state, first)):
        torch.save(content, tmp_path / f"{number}.pt")
        network = tiny_network(tiny_config())
        assert checkpoints.start_from(network, tiny_config(), tmp_path / f"{number}.pt") == []
        assert same_weights(network, source)


def test_an_artefact_can_be_started_from() -> None:
    network = tiny_network(tiny_config())
    before = network.state_dict()["heads.topic.weight"].clone()
    assert checkpoints.start_from(network, tiny_config(), tiny_model.artefact()) == []
    assert not torch.equal(before, network.state_dict()["heads.topic.weight"])


def test_a_head_of_other_labels_stays_fresh(tmp_path: Path) -> None:
    config = tiny_config()
    tiny_trainer(config, tmp_path / "checkpoint.pt").save()
    data = config.model_dump()
    data["tasks"]["topic"]["labels"] = dict(reversed(data["tasks"]["topic"]["labels"].items()))
    other = type(config).model_validate(data)
    network = tiny_network(other.model_copy(update={"seed": 8}))
    before = network.state_dict()["heads.topic.weight"].clone()
    left = checkpoints.start_from(network, other, tmp_path / "checkpoint.pt")
    assert left == ["heads.topic.weight", "heads.topic.bias"]
    assert torch.equal(before, network.state_dict()["heads.topic.weight"])


def test_what_cannot_be_started_from_is_said(tmp_path: Path) -> None:
    network, config = tiny_network(tiny_config()), tiny_config()
    with pytest.raises(ConfigError, match="no such file"):
        checkpoints.start_from(network, config, tmp_path / "none.pt")
    with pytest.raises(ConfigError, match=r"no model.safetensors"):
        checkpoints.start_from(network, config, tmp_path)
    (tmp_path / "bad.pt").write_bytes(b"PK\x03\x04 half a checkpoint")
    with pytest.raises(TrainError, match=r"bad\.pt: this is no checkpoint"):
        checkpoints.start_from(network, config, tmp_path / "bad.pt")
    state = {name: value[:1] if value.ndim else value for name, value in network.state_dict().items()}
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(ConfigError, match="encoder's weights are not there or have another shape"):
        checkpoints.start_from(network, config, tmp_path / "other.pt")

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
import tiny_model  # noqa: E402

from monitor.core.errors import ConfigError, TrainError  # noqa: E402
from monitor.model import network as networks  # noqa: E402
from monitor.train.config import TrainConfig, load_config  # noqa: E402
from monitor.train.data import load_data  # noqa: E402
from monitor.train.fit import Trainer, parameter_groups, schedule  # noqa: E402
from monitor.train.run import load_tokenizer, train  # noqa: E402


def _config(**changes: object) -> TrainConfig:
    config = load_config(tiny_model.folder() / "recipe.toml")
    return config.model_copy(update={"fit": config.fit.model_copy(update={"epochs": 3, **changes})})


def _trainer(config: TrainConfig, checkpoint: Path | None = None, **more: object) -> Trainer:
    where = tiny_model.folder()
    torch.manual_seed(config.seed)
    encoder = str(where / "encoder")
    sizes = {name: len(task.labels) for name, task in config.tasks.items()}
    network = networks.from_pretrained(encoder, tasks=sizes, pooling="mean")
    parts, _ = load_data(config, where)
    return Trainer(
        config=config,
        network=network,
        tokenizer=load_tokenizer(encoder, 48),
        pad=1,
        examples=parts["train"],
        checkpoint=checkpoint,
        **more,  # type: ignore[arg-type]
    )


def _same(one: Trainer, two: Trainer) -> bool:
    return all(
        torch.equal(a, b)
        for a, b in zip(one.network.state_dict().values(), two.network.state_dict().values(), strict=True)
    )


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    runs = [_trainer(_config(epochs=1)), _trainer(_config(epochs=1))]
    other = _trainer(_config(epochs=1).model_copy(update={"seed": 4}))
    for trainer in (*runs, other):
        trainer.run()
    assert _same(runs[0], runs[1])
    assert not _same(runs[0], other)


def test_a_run_killed_and_resumed_ends_where_an_undisturbed_one_does(tmp_path: Path) -> None:
    undisturbed = _trainer(_config())
    undisturbed.run()
    calls: list[int] = []

    def die() -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {}

    killed = _trainer(_config(), tmp_path / "checkpoint.pt", evaluate=die)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    resumed = _trainer(_config(), tmp_path / "checkpoint.pt")
    assert resumed.resume()
    assert resumed.epoch == 1
    resumed.run()
    assert _same(undisturbed, resumed)
    assert [row["epoch"] for row in resumed.history] == [1, 2, 3]


def test_a_checkpoint_of_another_recipe_is_not_resumed(tmp_path: Path) -> None:
    _trainer(_config(), tmp_path / "checkpoint.pt").save()
    with pytest.raises(TrainError, match="another recipe"):
        _trainer(_config(dropout=0.3), tmp_path / "checkpoint.pt").resume()


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_loss_that_is_no_number_stops_the_run_and_names_step_and_rows() -> None:
    with pytest.raises(TrainError, match=r"loss became (nan|inf) at step \d+ of \d+ .*row \d+"):
        _trainer(_config(learning_rate=1e30, head_learning_rate=1e30, warmup=0.0)).run()


def test_frozen_parts_do_not_move_and_the_rest_does() -> None:
    trainer = _trainer(_config(epochs=1, freeze_embeddings=True, freeze_layers=1))
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.run()
    moved = {name for name, value in trainer.network.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith(("encoder.embeddings", "encoder.encoder.layer.0.")) for name in moved)
    assert any(name.startswith("encoder.encoder.layer.1.") for name in moved)
    assert any(name.startswith("heads.") for name in moved)
    with pytest.raises(ConfigError, match="encoder has 2 layers"):
        _trainer(_config(freeze_layers=9))


def test_lower_layers_learn_more_slowly_and_heads_at_their_own_rate() -> None:
    trainer = _trainer(_config(layer_decay=0.5))
    rates = sorted({group["lr"] for group in parameter_groups(trainer.network, trainer.config)})
    top = trainer.config.fit.learning_rate
    assert rates == pytest.approx([top / 4, top / 2, top, 1e-2])


def test_the_rate_rises_then_falls_to_zero() -> None:
    factors = [schedule(step, total=100, warmup=0.1) for step in range(100)]
    assert factors.index(max(factors)) in (9, 10)
    assert max(factors) == pytest.approx(1.0)
    assert factors[-1] < 0.02
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_no_such_encoder_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="encoder"):
        train(_config(), data=tiny_model.folder(), out=tmp_path, encoder=str(tmp_path / "none"))

"""A run that is killed goes on exactly; early stopping takes the best epoch."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
import tiny_model  # noqa: E402
from trainer_tools import same_weights, tiny_config, tiny_trainer  # noqa: E402

from monitor.core.errors import ConfigError  # noqa: E402
from monitor.train.config import TrainConfig, load_config  # noqa: E402

CHILD = """
import json, os, pathlib, signal, sys
import tiny_model, torch
where, out, kill_at, fit, threads = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), *map(json.loads, sys.argv[3:])
tiny_model.folder = lambda: where
from trainer_tools import tiny_config, tiny_trainer
torch.set_num_threads(threads)
trainer = tiny_trainer(tiny_config(**fit), out / "checkpoint.pt")
step = trainer._step
def dies(batches):
    if trainer.step == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(batches)
trainer._step = dies
trainer.run()
"""


def test_a_process_killed_within_an_epoch_ends_with_the_very_same_weights(tmp_path: Path) -> None:
    fit = {"checkpoint_steps": 3, "averaging": "ema", "dropout": 0.2}
    arguments = [str(tiny_model.folder()), str(tmp_path), "7", json.dumps(fit), str(torch.get_num_threads())]
    killed = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments],
        cwd=Path(tiny_model.__file__).parent,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (state["step"], state["epoch"], len(state["done"])) == (6, 0, 6)
    config = tiny_config(**fit)
    resumed, undisturbed = tiny_trainer(config, tmp_path / "checkpoint.pt"), tiny_trainer(config)
    assert resumed.resume()
    assert resumed.step == 6
    for trainer in (resumed, undisturbed):
        trainer.run()
    assert same_weights(resumed.network, undisturbed.network)
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in undisturbed.history]


def _stopping(**settings: object) -> TrainConfig:
    config = tiny_config(epochs=6)
    return TrainConfig.model_validate(config.model_dump() | {"early_stopping": settings})


SCORES = [0.5, 0.7, 0.6, 0.7, 0.4, 0.9]


def _figures(score: float) -> dict[str, float]:
    return {"topic/topic/accuracy": score, "sentiment/sentiment/macro_f1": 0.5, "sentiment/entities/macro_f1": 0.7}


def test_it_stops_after_the_patience_and_takes_the_weights_of_the_best_epoch(tmp_path: Path) -> None:
    config = _stopping(monitor=["topic/accuracy", "sentiment/macro_f1"], patience=2)
    seen: list[dict[str, torch.Tensor]] = []

    def look() -> dict[str, float]:
        seen.append({name: value.clone() for name, value in trainer.network.state_dict().items()})
        return _figures(SCORES[len(seen) - 1])

    trainer = tiny_trainer(config, tmp_path / "checkpoint.pt", evaluate=look)
    result = trainer.run()
    assert (len(result.epochs), result.best_epoch) == (4, 2)
    assert trainer.watch is not None
    assert trainer.watch.best == pytest.approx((0.7 + 0.6) / 2)
    assert all(torch.equal(value, seen[1][name]) for name, value in trainer.network.state_dict().items())
    again = tiny_trainer(config, tmp_path / "checkpoint.pt", evaluate=look)
    again.resume()
    assert again.run().best_epoch == 2  # stopped is stopped, also after a resume
    assert same_weights(again.network, trainer.network)


def test_a_resume_remembers_the_best_epoch(tmp_path: Path) -> None:
    config = _stopping(monitor=["topic/topic/accuracy"], patience=3, min_gain=0.15)
    calls: list[int] = []

    def look() -> dict[str, float]:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return _figures(SCORES[min(len(calls), 4) - 1])

    with pytest.raises(KeyboardInterrupt):
        tiny_trainer(config, tmp_path / "checkpoint.pt", evaluate=look).run()
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    resumed = tiny_trainer(config, tmp_path / "checkpoint.pt", evaluate=look)
    assert resumed.resume()
    assert resumed.run().best_epoch == best["epoch"] == 2
    assert all(torch.equal(value, best["network"][name]) for name, value in resumed.network.state_dict().items())


def test_a_figure_that_is_not_there_is_a_config_error(tmp_path: Path) -> None:
    trainer = tiny_trainer(_stopping(monitor=["topic/other/accuracy"]), evaluate=lambda: _figures(0.5))
    with pytest.raises(ConfigError, match=r"no figure 'topic/other/accuracy'.*topic/topic/accuracy"):
        trainer.run()
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(tiny_model.RECIPE + '\n[early_stopping]\nmonitor = ["mood/accuracy"]\n', "utf-8")
    with pytest.raises(ConfigError, match=r"early_stopping\.monitor.*mood"):
        load_config(recipe)

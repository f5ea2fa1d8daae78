"""Which model is set: installed artefacts in the data folder, a pointer with its history, and a shadow beside it.

    DATA/models/<name>@<hash>/   installed artefacts, each a verified copy
    DATA/models/current.json     the pointer: what was set, in order; the last one runs
    DATA/models/shadow.json      a model that scores along without being believed

Both files are replaced whole (write, fsync, rename), so that a crash leaves the old one or the new one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from monitor.core.codec import time_from_str, time_to_str
from monitor.core.errors import ArtefactMismatchError, ArtefactMissingError, CodecError, ModelError, UsageError
from monitor.model.artefact import SUMS, Artefact, packaged

FORMAT = 1
FOLDER, POINTER, SHADOW = "models", "current.json", "shadow.json"
PACKAGED = "packaged"
_HISTORY = 100
_ID = re.compile(r"[A-Za-z0-9._-]+@[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One entry of the history. ``model`` is the artefact's id, ``why`` what the operator or the gates said."""

    model: str
    at: datetime
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """A model that scores a ``share`` of the articles beside the one that is set, from ``since`` to ``until``."""

    model: str
    since: datetime
    until: datetime
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A model that can be set. ``fault`` says why it cannot, when it is damaged."""

    model: str
    path: Path
    fault: str = ""


class ModelRegistry:
    """The models of one data folder. Nothing is created before something is installed or set."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / FOLDER

    def installed(self) -> list[Installed]:
        """The packaged model and every installed one, by id. Hashes are checked."""
        found = [_look(packaged_path)] if (packaged_path := _packaged()) else []
        if self.folder.is_dir():
            paths = sorted(self.folder.iterdir())
            found += [_look(path, name=path.name) for path in paths if _ID.fullmatch(path.name) and path.is_dir()]
        return found

    def history(self) -> list[Setting]:
        """What was set, oldest first; empty when the packaged model was never replaced. Raises ModelError."""
        data = self._read(POINTER)
        if data is None:
            return []
        try:
            return [
                Setting(model=str(row["model"]), at=time_from_str(row["at"]), why=str(row.get("why", "")))
                for row in data["history"]
            ]
        except (KeyError, TypeError, CodecError) as error:
            raise self._damaged(POINTER, repr(error)) from error

    def current(self) -> Setting | None:
        """What is set; None for the packaged model by default."""
        history = self.history()
        return history[-1] if history else None

    def path_of(self, model: str) -> Path:
        """The folder of an id (or a unique beginning of one), of ``packaged``, or of a path. Raises UsageError."""
        if model in ("", PACKAGED):
            return packaged()
        if (folder := self.folder / model).is_dir() and _ID.fullmatch(model):
            return folder
        if (default := _packaged()) is not None and _id_of(default) == model:
            return default
        if Path(model).is_dir():
            return Path(model)
        matches = [item for item in self.installed() if item.model.startswith(model)]
        if len(matches) == 1:
            return matches[0].path
        known = ", ".join(item.model for item in self.installed()) or "none"
        what = "Several models have" if matches else "There is no folder and no model"
        raise UsageError(f"{what} '{model}'.", hint=f"Installed: {known}.")

    def current_path(self) -> Path | None:
        """The folder of the model that is set; None for the packaged one by default.

        Raises ArtefactMissingError when the model that is set is not there any more.
        """
        setting = self.current()
        if setting is None or setting.model == PACKAGED:
            return None
        try:
            return self.path_of(setting.model)
        except UsageError as error:
            raise ArtefactMissingError(
                f"The model that is set, {setting.model}, is not in {self.folder}.",
                hint="Return to the former one: `riskwire model rollback`; or name one: `riskwire model set`.",
            ) from error

    def install(self, folder: Path) -> Artefact:
        """Copies a verified artefact into the data folder; returns it as it lies there.

        The packaged model is not copied. Raises ModelError when it does not verify, or cannot be copied.
        """
        artefact = Artefact.load(folder)
        home = self.folder / artefact.id
        if artefact.path == _packaged():
            return artefact
        if home.is_dir():
            try:
                return Artefact.load(home)
            except ModelError:
                shutil.rmtree(home)  # a damaged copy; the one at hand is whole
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=".copying-") as scratch:
                copy = Path(scratch) / "copy"
                copy.mkdir()
                for name in _listed(folder):
                    shutil.copyfile(folder / name, copy / name)
                copied = Artefact.load(copy)
                copy.rename(home)
        except OSError as error:
            raise ModelError(
                f"{folder} cannot be installed in {self.folder}: {error.strerror}.", hint="Free disk space or rights."
            ) from error
        if copied.id != artefact.id:
            raise ArtefactMismatchError(f"{folder} changed while it was copied.", hint="Try again.")
        return Artefact.load(home)

    def set(self, model: str, *, now: datetime, why: str = "") -> Setting:
        """Installs (a folder) or finds (an id) a model, verifies it and points to it.

        Raises UsageError when there is no such model, or it is set already; ModelError when it does not verify.
        """
        path = self.path_of(model)
        artefact = self.install(path)
        chosen = PACKAGED if artefact.path == _packaged() else artefact.id
        history = self.history()
        if (history[-1].model if history else PACKAGED) == chosen:
            raise UsageError(f"{artefact.id} is set already.")
        setting = Setting(model=chosen, at=now, why=why)
        self._write_history([*history, setting])
        return setting

    def rollback(self) -> tuple[str, str]:
        """Returns to the model that was set before; gives (left, returned to).

        Raises UsageError when there is none before, ModelError when that one is damaged (the pointer then stays).
        """
        history = self.history()
        if not history:
            raise UsageError("There is no former model: the packaged one runs.", hint="`riskwire model ls` lists them.")
        former = history[-2].model if len(history) > 1 else PACKAGED
        try:
            Artefact.load(self.path_of(former))
        except UsageError as error:
            raise ArtefactMissingError(
                f"The former model, {former}, is not in {self.folder}.", hint="Name one: `riskwire model set ID`."
            ) from error
        self._write_history(history[:-1])
        return history[-1].model, former

    def shadow(self) -> Shadow | None:
        """The shadow, whether or not its time is over. Raises ModelError on a damaged file."""
        data = self._read(SHADOW)
        if data is None:
            return None
        try:
            return Shadow(
                model=str(data["model"]),
                since=time_from_str(data["since"]),
                until=time_from_str(data["until"]),
                share=float(data["share"]),
            )
        except (KeyError, TypeError, ValueError, CodecError) as error:
            raise self._damaged(SHADOW, repr(error)) from error

    def set_shadow(self, model: str, *, since: datetime, until: datetime, share: float) -> Shadow:
        """Installs and verifies a model and lets it score along. Raises as :meth:`set` does."""
        if not 0 < share <= 1:
            raise UsageError(f"The share must lie above 0 and at most at 1, got {share:g}.")
        if until <= since:
            raise UsageError("A shadow must run for some time.", hint="For example --for 7.")
        artefact = self.install(self.path_of(model))
        current = self.current()
        if artefact.id == (current.model if current else "") or (current is None and artefact.path == _packaged()):
            raise UsageError(f"{artefact.id} is the model that is set; a shadow must be another one.")
        shadow = Shadow(model=artefact.id, since=since, until=until, share=share)
        data = asdict(shadow) | {"since": time_to_str(since), "until": time_to_str(until)}
        self._write(SHADOW, {"format": FORMAT} | data)
        return shadow

    def clear_shadow(self) -> bool:
        """Ends the shadow; False when there was none."""
        file = self.folder / SHADOW
        existed = file.exists()
        file.unlink(missing_ok=True)
        return existed

    def _write_history(self, history: list[Setting]) -> None:
        rows = [{"model": item.model, "at": time_to_str(item.at), "why": item.why} for item in history[-_HISTORY:]]
        self._write(POINTER, {"format": FORMAT, "history": rows})

    def _read(self, name: str) -> Mapping[str, Any] | None:
        file = self.folder / name
        try:
            data = json.loads(file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise self._damaged(name, str(error)) from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise self._damaged(name, f"format {data.get('format') if isinstance(data, dict) else None!r}")
        return data

    def _damaged(self, name: str, why: str) -> ModelError:
        return ModelError(
            f"{self.folder / name} cannot be read: {why}.",
            hint="Remove it to return to the packaged model, then set a model again: `riskwire model set`.",
        )

    def _write(self, name: str, data: Mapping[str, Any]) -> None:
        file = self.folder / name
        part = file.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with part.open("w", encoding="utf-8") as out:
                out.write(json.dumps(data, ensure_ascii=False, indent=1) + "\n")
                out.flush()
                os.fsync(out.fileno())
            part.replace(file)
        except OSError as error:
            raise ModelError(
                f"{file} cannot be written: {error.strerror}.", hint="Free disk space or rights."
            ) from error


def _packaged() -> Path | None:
    try:
        return packaged()
    except ArtefactMissingError:
        return None


def _id_of(path: Path) -> str:
    try:
        return Artefact.load(path).id
    except ModelError:
        return ""


def _look(path: Path, *, name: str = "") -> Installed:
    try:
        artefact = Artefact.load(path)
    except ModelError as error:
        return Installed(model=name or path.name, path=path, fault=error.message)
    if name and artefact.id != name:
        return Installed(model=name, path=path, fault=f"It is {artefact.id}, not what its folder says.")
    return Installed(model=artefact.id, path=path)


def _listed(folder: Path) -> list[str]:
    """The files that SHA256SUMS names, and itself: nothing else of the folder is taken along."""
    lines = (folder / SUMS).read_text("utf-8").splitlines()
    return [SUMS, *(line.partition("  ")[2] for line in lines)]

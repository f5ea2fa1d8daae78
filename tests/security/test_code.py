"""What our packages must not contain: ways to run what somebody else wrote. The walk is over syntax trees, so that a
comment or a string is no offence; each rule is shown to find its offence."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(file for package in ("monitor", "connectors", "alerts") for file in (ROOT / package).rglob("*.py"))
_IMPORTS = {"marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "xml.dom.pulldom", "xmlrpc", "telnetlib"}
_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "ssl._create_unverified_context", "tempfile.mktemp", "zipfile.ZipFile", "tarfile.open", "shutil.unpack_archive",
    "xml.etree.ElementTree.parse", "xml.etree.ElementTree.fromstring", "ElementTree.fromstring", "numpy.loadtxt",
}  # fmt: skip
"""Unpacking archives is among them: nothing of ours does it, so no path of theirs is ever followed."""
_NEVER = {"shell": True, "allow_pickle": True, "trust_remote_code": True, "verify": False, "weights_only": False}


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def offences(source: str) -> Iterator[str]:
    """What a module does that it must not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in names if name in _IMPORTS or name.split(".")[0] in _IMPORTS)
            if isinstance(node, ast.ImportFrom) and node.module == "pickle":
                yield from (f"imports pickle.{one.name}" for one in node.names if "rror" not in one.name)
        if isinstance(node, ast.Attribute) and _name(node) == "ssl.CERT_NONE":
            yield "ssl.CERT_NONE"
        if not isinstance(node, ast.Call):
            continue
        name = _name(node.func)
        if name in _CALLS:
            yield name
        given = {word.arg: getattr(word.value, "value", None) for word in node.keywords if word.arg}
        yield from (f"{name}({key}={bad})" for key, bad in _NEVER.items() if key in given and given[key] is bad)
        if name == "torch.load" and given.get("weights_only") is not True:
            yield "torch.load without weights_only=True"
        if name in ("np.load", "numpy.load") and given.get("allow_pickle") is not False:
            yield "numpy.load without allow_pickle=False"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_module_runs_what_others_wrote(file: Path) -> None:
    assert list(offences(file.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.loads(b'')", "from pickle import loads", "import joblib", "import yaml\nyaml.load(x)",
        "eval('1')", "exec(x)", "import subprocess\nsubprocess.run('x', shell=True)", "import os\nos.system('x')",
        "torch.load(path)", "torch.load(path, weights_only=False)", "np.load(f)", "np.load(f, allow_pickle=True)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)", "session.get(u, verify=False)",
        "import ssl\ncontext.verify_mode = ssl.CERT_NONE", "import tarfile\ntarfile.open(x).extractall()",
    ],
)  # fmt: skip
def test_the_walk_finds_what_it_looks_for(source: str) -> None:
    assert list(offences(source))


def test_there_is_something_to_walk_over() -> None:
    assert len(SOURCES) > 200

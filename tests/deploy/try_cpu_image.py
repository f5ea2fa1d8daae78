"""Builds the CPU image's Dockerfile without Docker and runs the result as its user on a read-only root.

``python tests/deploy/try_cpu_image.py FOLDER``, as root, with debootstrap, bubblewrap and the network. Each stage is a
copy of a fresh Debian (``RISKWIRE_TEST_BASE``: one that was made before), each RUN happens in a chroot, in the
Dockerfile's order.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PORT = "19464"


def sh(*words: str | Path, **more: object) -> None:
    subprocess.run([str(word) for word in words], check=True, **more)  # type: ignore[call-overload]


def instructions(path: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.M).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word]


def copy(source: Path, target: Path, *, into: bool) -> None:
    """COPY's rule: a folder's content goes to the target; a file goes into it when it ends in a slash."""
    if source.is_dir():
        shutil.copytree(
            source, target, dirs_exist_ok=True, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target / source.name if into else target)


def build(folder: Path) -> tuple[Path, dict[str, str], str]:
    """The root of the last stage, its environment and its user."""
    base = Path(os.environ.get("RISKWIRE_TEST_BASE", folder / "base"))
    if not base.exists():
        sh("debootstrap", "--variant=minbase", "bookworm", base)
    stages: dict[str, Path] = {}
    env: dict[str, str] = {}
    here, work, user = Path(), "/", ""
    for word, rest in instructions(ROOT / "deploy" / "docker" / "Dockerfile.cpu"):
        print(word, rest[:100], flush=True)
        if word == "FROM":
            here = stages[rest.split()[-1]] = folder / rest.split()[-1]
            sh("cp", "-a", base, here)
            shutil.copy("/etc/resolv.conf", here / "etc/resolv.conf")
            env = {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", "DEBIAN_FRONTEND": "noninteractive"}
            work, user = "/", ""
            if "PIP_CERT" in os.environ:  # a network whose proxy has an authority of its own
                shutil.copy(os.environ["PIP_CERT"], here / "tmp" / "authority.crt")
                env["PIP_CERT"] = "/tmp/authority.crt"
        elif word == "WORKDIR":
            work = rest
            (here / work.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            names = rest.split()
            origin = ROOT
            if names[0].startswith("--from="):
                origin = stages[names.pop(0).partition("=")[2]]
            *sources, target = names
            to = here / os.path.normpath(f"{work}/{target}" if not target.startswith("/") else target).lstrip("/")
            for name in sources:
                copy(origin / name.lstrip("/"), to, into=target.endswith("/"))
        elif word == "ENV":
            env |= dict(item.split("=", 1) for item in shlex.split(rest))
        elif word == "USER":
            user = rest
        elif word == "RUN":
            inside = f"cd {work} && {rest}"
            sh("chroot", here, "/usr/bin/env", "-i", *(f"{k}={v}" for k, v in env.items()),
               "/bin/bash", "-euo", "pipefail", "-c", inside)  # fmt: skip
    env.pop("PIP_CERT", None)
    (here / "tmp/authority.crt").unlink(missing_ok=True)
    return here, env, user


def try_out(image: Path, env: dict[str, str], user: str, folder: Path) -> None:
    uid, gid = user.split(":")
    state = folder / "state"
    state.mkdir()
    os.chown(state, int(uid), int(gid))
    (image / "etc/riskwire").mkdir(exist_ok=True)
    (image / "etc/riskwire/riskwire.toml").write_text('[[sources]]\nname = "none"\nurl = "http://127.0.0.1:9/"\n')
    env = {**env, "RISKWIRE_OBSERVE__LISTEN": f"0.0.0.0:{PORT}", "OMP_NUM_THREADS": "1"}
    box = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs", "bwrap",
           "--unshare-user", "--unshare-pid", "--as-pid-1", "--uid", uid, "--gid", gid, "--cap-drop", "ALL",
           "--clearenv",
           "--ro-bind", str(image), "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
           "--bind", str(state), "/var/lib/riskwire", "--tmpfs", "/var/cache/riskwire", "--chdir", "/var/lib/riskwire",
           *(word for name, value in env.items() for word in ("--setenv", name, value))]  # fmt: skip
    for refused in ("touch /opt/riskwire/x", "touch /etc/x", "ls /root"):
        assert subprocess.run([*box, *refused.split()], check=False, capture_output=True).returncode != 0, refused
    sh(*box, "riskwire", "--version")
    ours, theirs = os.pipe()
    words = json.loads(
        next(rest for word, rest in instructions(ROOT / "deploy/docker/Dockerfile.cpu") if word == "CMD")
    )
    daemon = subprocess.Popen([*box, "--info-fd", str(theirs), "riskwire", *words], pass_fds=(theirs,))
    os.close(theirs)
    with os.fdopen(ours) as line:
        inner = int(json.load(line)["child-pid"])
    try:
        ends = time.monotonic() + 240
        while subprocess.run([*box, "riskwire", "health", "--ready"], check=False, capture_output=True).returncode:
            assert daemon.poll() is None, "the daemon ended"
            assert time.monotonic() < ends, "not ready"
        sh(*box, "riskwire", "health")
        began = time.monotonic()
        os.kill(inner, signal.SIGTERM)
        assert daemon.wait(60) == 0
        wrote = sorted(path.name for path in state.iterdir())
        print(f"process 1 ended {time.monotonic() - began:.1f} s after SIGTERM; it wrote {wrote}")
    finally:
        daemon.kill()
    print(f"as {user}, read-only: works", flush=True)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    try_out(*build(place), place)

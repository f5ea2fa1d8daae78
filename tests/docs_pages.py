"""What the documentation's pages hold: their code blocks, the commands in them, and a way to carry them out.

Above a block, a comment (unseen when rendered) says what tests do with it:

    <!-- run -->                 run it in the page's folder, after the blocks before it; an output shown must come
    <!-- run: slow -->           the same, in the slow suite only
    <!-- run: until -->          run it again until the output shown comes
    <!-- background: URL -->     start it, go on once URL answers, end it (SIGTERM, exit code 0) with the page
    <!-- not run: REASON -->     only look at it

A block with title="NAME" is a file: it is written into the page's folder.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
PROGRAMS = ("riskwire", "pip", "curl", "promtool", "python", "make", "pytest", "docker", "helm", "kubectl", "sudo")

_FENCE = re.compile(r"^( *)```+ *(?P<language>[a-z]*)(?P<rest>[^`]*)$")
_MARKER = re.compile(r"^<!-- (run|background|not run)(?:: (.+?))? -->$")
_PORT = re.compile(r"(?<=[:= ])(8000|8080|8765|9464)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of code. ``marker`` is what the comment above it says, ``detail`` what stands after its colon."""

    page: Path
    line: int
    language: str
    title: str
    marker: str
    detail: str
    text: str

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_shell(self) -> bool:
        """It holds commands. An unnamed block does when its first word is a program."""
        first = self.text.split(maxsplit=1)[:1]
        return self.language in ("sh", "console") or (not self.language and bool(first) and first[0] in PROGRAMS)


def blocks(page: Path) -> list[Block]:
    """All fenced and indented code blocks of a page, in order."""
    lines, found, at = page.read_text(encoding="utf-8").splitlines(), [], 0
    said = ("", "")
    while at < len(lines):
        line = lines[at]
        if marked := _MARKER.match(line):
            said = (marked[1], marked[2] or "")
        elif fence := _FENCE.match(line):
            end = next(n for n in range(at + 1, len(lines)) if lines[n].strip().startswith("```"))
            title = re.search(r'title="([^"]+)"', fence["rest"])
            text = "\n".join(line[len(fence[1]) :] for line in lines[at + 1 : end])
            found.append(
                Block(
                    page=page, line=at + 1, language=fence["language"], title=title[1] if title else "",
                    marker=said[0], detail=said[1], text=text,
                )
            )  # fmt: skip
            said, at = ("", ""), end
        elif line.startswith("    ") and at and not lines[at - 1].strip() and re.match(r"[\[a-z]", line[4:]):
            # A table of TOML after a command is a block of its own.
            ends = (n for n in range(at + 1, len(lines)) if _ends(lines, n))
            end = next(ends, len(lines))
            text = "\n".join(text[4:] for text in lines[at:end]).rstrip()
            language = "toml" if text.startswith("[") else ""
            found.append(Block(page=page, line=at + 1, language=language, title="", marker="", detail="", text=text))
            at = end - 1
        at += 1
    return found


def _ends(lines: list[str], at: int) -> bool:
    table = lines[at].startswith("    [") and not lines[at - 1].strip()
    return table or (bool(lines[at].strip()) and not lines[at].startswith("    "))


def commands(block: Block) -> list[str]:
    """The command lines of a block of commands, continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", block.text)
    lines = joined.splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    found: list[str] = []
    open_quote = False
    for line in lines:
        if open_quote:
            found[-1] += "\n" + line
        elif line.strip() and not line.lstrip().startswith("#"):
            found.append(line)
        else:
            continue
        try:
            shlex.split(found[-1], comments=True)
            open_quote = False
        except ValueError:
            open_quote = True
    return found


def words(line: str) -> Iterator[list[str]]:
    """The words of each simple command of a line; comments, pipes and redirections are taken apart."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    lexer.commenters = ""
    simple: list[str] = []
    skip = False
    for word in lexer:
        if word.startswith("#"):
            break
        if set(word) <= set("|&;()"):
            yield simple
            simple = []
        elif set(word) <= set("<>"):
            skip = True
        elif skip:
            skip = False
        else:
            simple.append(word)
    yield simple


class Session:
    """Carries out the blocks of a page in a folder. Ports named in the page are replaced by free ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = {port: _free() for port in ("8000", "8080", "8765", "9464")}
        self._running: list[tuple[Block, subprocess.Popen[bytes], Path]] = []
        self._env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder), "COLUMNS": "200", "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1",
            "RISKWIRE_WEB__LISTEN": f"127.0.0.1:{self._ports['8080']}",
            "RISKWIRE_OBSERVE__LISTEN": f"127.0.0.1:{self._ports['9464']}",
        }  # fmt: skip

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        for block, child, log in reversed(self._running):
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGTERM)
            try:
                code = child.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                raise
            # A program without a handler of its own ends by the signal.
            assert code in (0, 143, -signal.SIGTERM), f"{block.where}: exit code {code}\n{log.read_text()}"

    def do(self, block: Block, *, timeout: float = 110) -> None:
        """Writes a file, runs commands, or starts something."""
        text = _PORT.sub(lambda match: self._ports[match[0]], block.text)
        if block.title:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
        elif block.marker == "background":
            self._start(block, text)
        elif block.marker == "run" and block.language == "console":
            for turn in re.split(r"(?m)^\$ ", text)[1:]:
                # The output begins at the first line that does not continue the command.
                command, _, output = re.sub(r"\\\n\s*", " ", turn).partition("\n")
                self._expect(block, command, output, timeout)
        elif block.marker == "run":
            self.run(block, text, timeout=timeout)

    def run(self, block: Block, text: str, *, timeout: float = 110) -> str:
        """What commands print. Fails when one of them does."""
        code, out = self._bash(text, timeout)
        assert code == 0, f"{block.where}: exit code {code}\n{text}\n{out}"
        return out

    def _bash(self, text: str, timeout: float) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=self.folder, env=self._env, timeout=timeout, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.returncode, done.stdout.decode("utf-8", "replace")

    def _expect(self, block: Block, command: str, output: str, timeout: float) -> None:
        lines = [".*".join(map(re.escape, line.strip().split("…"))) for line in output.splitlines() if line.strip()]
        expected = re.compile(".*".join(lines), re.DOTALL)
        end = time.monotonic() + timeout
        while True:
            code, out = self._bash(command, timeout)
            good = code == 0 and expected.search(out)
            if good or block.detail != "until" or time.monotonic() > end:
                assert good, f"{block.where}: exit code {code}\n{command}\nexpected: {output}\ngot: {out}"
                return

    def _start(self, block: Block, text: str) -> None:
        url = _PORT.sub(lambda match: self._ports[match[0]], block.detail)
        log = self.folder / f"background-{block.line}.log"
        with log.open("wb") as file:
            child = subprocess.Popen(
                ["bash", "-c", f"exec {text.strip()}"], cwd=self.folder, env=self._env, stdin=subprocess.DEVNULL,
                stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._running.append((block, child, log))
        end = time.monotonic() + 110
        while not _answers(url):
            assert child.poll() is None, f"{block.where}: ended\n{log.read_text()}"
            assert time.monotonic() < end, f"{block.where}: {url} does not answer\n{log.read_text()}"
            time.sleep(0.2)  # between two questions; what is waited for is the answer


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _free() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])

"""How Ullage takes an engine's place: its clients go on using its address, where the gateway
listens from then on, and the engine itself moves to another port. Explains, and changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from xml.sax.saxutils import escape

NAME = "zz-ullage.conf"  # drop-ins are read in the order of their names, and the last one counts
HERE = "127.0.0.1"


class System(Enum):
    LINUX = "linux"
    MACOS = "darwin"
    WINDOWS = "win32"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an engine is told its address: by a `variable`, else by a `flag`; `with_host`: both are
    an address with a port, and not a port alone. `command`: what is run, where it is neither."""

    kind: str
    title: str
    port: int
    variable: str | None = None
    flag: str | None = None
    with_host: bool = False
    command: str | None = None
    programs: tuple[str, ...] = ()
    unit: str | None = None
    check: str = "/v1/models"

    def value(self, port: int) -> str:
        return f"{HERE}:{port}" if self.with_host else str(port)


RECIPES: Mapping[str, Recipe] = {
    r.kind: r
    for r in (
        Recipe("ollama", "Ollama", 11434, "OLLAMA_HOST", None, True, None, ("ollama",),
               "ollama.service", "/api/version"),
        Recipe("llamacpp", "llama.cpp", 8080, "LLAMA_ARG_PORT", "--port", False, None,
               ("llama-server",)),
        Recipe("llamaswap", "llama-swap", 8080, None, "--listen", True, None, ("llama-swap",)),
        Recipe("lmstudio", "LM Studio", 1234, command="lms server stop\nlms server start --port {}",
               programs=("lm-studio", "LM Studio", "llmster")),
        Recipe("localai", "LocalAI", 8080, "LOCALAI_ADDRESS", "--address", True, None,
               ("local-ai", "localai"), "local-ai.service"),
        Recipe("koboldcpp", "KoboldCpp", 5001, None, "--port", programs=("koboldcpp",)),
        Recipe("sglang", "SGLang", 30000, None, "--port", programs=("sglang",)),
        Recipe("vllm", "vLLM", 8000, None, "--port", programs=("vllm",)),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found of it on this machine. `addresses` are those on which somebody listens at its
    port; `unit` and `container` what it runs in; `started` how its unit starts it; `said` what its
    variable is set to; `name` what the configuration calls it. `ours`: the gateway is there.
    """

    addresses: tuple[str, ...] = ()
    pid: int | None = None
    program: str | None = None
    unit: str | None = None
    of_user: bool = False
    container: bool = False
    started: str | None = None
    said: str | None = None
    name: str | None = None
    ours: bool = False

    @property
    def exposed(self) -> bool:
        """Other machines can reach it."""
        return any(a not in ("127.0.0.1", "::1") for a in self.addresses)


@dataclass(frozen=True, slots=True)
class Step:
    """`lines` are to be typed or written, `language` says what they are."""

    title: str
    lines: tuple[str, ...] = ()
    language: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """All of it: what was found, in words; what to do; and the file that moves the engine."""

    found: str
    steps: tuple[Step, ...]
    drop_in: str
    path: str | None
    notes: tuple[str, ...]
    config: str


def way(recipe: Recipe, seen: Seen, system: System, port: int, to: int) -> Way:
    """How `recipe`'s engine moves from `port` to `to`."""
    name = seen.name or recipe.kind
    drop_in, path = _drop_in(recipe, seen, system, to)
    config = _config(recipe, name, port, to, seen.exposed)
    steps = (
        _move(recipe, seen, system, drop_in, path, to),
        Step(
            "Tell Ullage where it is now, and to listen in its place (or in an ullage.toml that you"
            " have: these lines)",
            tuple(config.splitlines()),
            "toml",
        ),
        _restart(recipe, seen, system, path),
        Step(
            "See that both answer: the gateway as before, and the engine where it is now",
            (
                f"curl -s http://{HERE}:{port}{recipe.check}",
                f"curl -s http://{HERE}:{to}{recipe.check}",
                "ullage status",
            ),
            "sh",
        ),
    )
    notes = tuple(_notes(recipe, seen, system, port, to))
    return Way(_found(recipe, seen, port), steps, drop_in, path, notes, config)


def _found(recipe: Recipe, seen: Seen, port: int) -> str:
    if seen.ours:
        return f"Ullage's gateway listens on port {port} already, in {recipe.title}'s place."
    if not seen.addresses:
        place = f"; {seen.unit} is installed" if seen.unit else ""
        return f"Nobody listens on port {port} of this machine now{place}."
    where = ", ".join(f"{_bracketed(a)}:{port}" for a in seen.addresses)
    who = [f"{seen.program or recipe.title}"]
    who += [f"pid {seen.pid}"] if seen.pid is not None else []
    who += [f"in {seen.unit}"] if seen.unit else ["in a container"] if seen.container else []
    who += [f"{recipe.variable}={seen.said}"] if seen.said and recipe.variable else []
    return f"On {where} listens: {', '.join(who)}."


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _drop_in(recipe: Recipe, seen: Seen, system: System, to: int) -> tuple[str, str | None]:
    """The text that moves it, and where that belongs; None: nowhere, it is typed."""
    if seen.container:
        inner = f"{HERE}:{to}:{recipe.port}"
        say = f"# in place of its port, in a compose file; or: docker run -p {inner} ..."
        return f'{say}\nports:\n  - "{inner}"\n', None
    if recipe.command is not None:
        return recipe.command.format(to) + "\n", None
    if system is System.MACOS and recipe.variable:
        label = f"ullage.{recipe.kind}"
        return _agent(
            label, recipe.variable, recipe.value(to)
        ), f"~/Library/LaunchAgents/{label}.plist"
    if system is System.WINDOWS and recipe.variable:
        return f"setx {recipe.variable} {recipe.value(to)}\n", None
    unit = seen.unit or (None if seen.addresses else recipe.unit)
    flagged = recipe.variable is None or _flag_in(recipe, seen.started)
    if system is System.LINUX and unit is not None and (seen.started or not flagged):
        folder = "~/.config/systemd/user" if seen.of_user else "/etc/systemd/system"
        lines = f"Environment={recipe.variable}={recipe.value(to)}"
        if flagged:
            # Once to take back the one that there is: else it would be a second command.
            lines = f"ExecStart=\nExecStart={_moved(recipe, seen.started or '', to)}"
        return f"[Service]\n{lines}\n", f"{folder}/{unit}.d/{NAME}"
    if flagged:
        return f"{recipe.flag} {recipe.value(to)}\n", None
    return f"{recipe.variable}={recipe.value(to)}\n", None


def _moved(recipe: Recipe, command: str, to: int) -> str:
    """A unit's command, with the other port."""
    assert recipe.flag is not None
    pattern = re.compile(rf"({re.escape(recipe.flag)}[ =]+)\S+")
    moved, count = pattern.subn(rf"\g<1>{recipe.value(to)}", command)
    return moved if count else f"{command} {recipe.flag} {recipe.value(to)}"


def _flag_in(recipe: Recipe, started: str | None) -> bool:
    """A flag counts more than any variable."""
    return bool(recipe.flag and started and re.search(rf"{re.escape(recipe.flag)}[ =]", started))


def _agent(label: str, variable: str, value: str) -> str:
    """A LaunchAgent: what `launchctl setenv` sets is forgotten at the next start of the machine."""
    words = ("launchctl", "setenv", variable, value)
    arguments = "\n".join(f"    <string>{escape(word)}</string>" for word in words)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<plist version="1.0">\n<dict>\n'
        f"  <key>Label</key>\n  <string>{label}</string>\n"
        f"  <key>ProgramArguments</key>\n  <array>\n{arguments}\n  </array>\n"
        "  <key>RunAtLoad</key>\n  <true/>\n</dict>\n</plist>\n"
    )


def _move(
    recipe: Recipe, seen: Seen, system: System, drop_in: str, path: str | None, to: int
) -> Step:
    title = f"Move {recipe.title} to port {to}"
    lines = tuple(drop_in.splitlines())
    if path is None:
        if recipe.command or seen.container or system is System.WINDOWS:
            return Step(title, lines, "yaml" if seen.container else "sh")
        return Step(f"{title}: start it with", lines)
    printed = f"ullage adopt {recipe.kind} --print"
    write = f"sudo install -D -m 644 /dev/stdin {path}"
    if path.startswith("~"):
        write = f"install -D -m 644 /dev/stdin {path}"
        if system is System.MACOS:
            write = f"tee {path}"
    return Step(f"{title}: write {path}, by hand or with", (f"{printed} | {write}", "", *lines))


def _restart(recipe: Recipe, seen: Seen, system: System, path: str | None) -> Step:
    title = "Start both anew, the engine first: the port has to be free"
    ullage = "sudo systemctl restart ullage  # or end `ullage run`, and start it again"
    unit = seen.unit or recipe.unit
    if system is System.LINUX and path is not None and unit is not None:
        ctl = "systemctl --user" if seen.of_user else "sudo systemctl"
        return Step(title, (f"{ctl} daemon-reload", f"{ctl} restart {unit}", ullage), "sh")
    if system is System.MACOS and path is not None:
        return Step(
            f"{title}. Quit {recipe.title} and open it again",
            (f"launchctl load {path}", "ullage run"),
            "sh",
        )
    if seen.container:
        return Step(title, ("docker compose up -d", ullage), "sh")
    if system is System.LINUX:
        return Step(title, (ullage,), "sh")
    return Step(f"{title}. Quit {recipe.title} and open it again", ("ullage run",), "sh")


def _config(recipe: Recipe, name: str, port: int, to: int, exposed: bool) -> str:
    key = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
    host = '# host = "0.0.0.0"  # with a token: `ullage token NAME`\n' if exposed else ""
    return (
        f"[gateway]\n{host}port = {port}\n\n"
        f'[engines.{key}]\nkind = "{recipe.kind}"\nurl = "http://{HERE}:{to}"\n'
    )


def _notes(recipe: Recipe, seen: Seen, system: System, port: int, to: int) -> Iterator[str]:
    program = (seen.program or "").lower()
    names = ("python", *(p[:15].lower() for p in recipe.programs))  # the kernel cuts them there
    if program and not program.startswith(names):
        yield f"By its name, {seen.program}, it may be something else than {recipe.title}: look."
    if seen.exposed:
        yield (
            f"{recipe.title} can be reached from other machines now. Those who are there reach the"
            " gateway only if gateway.host says so, and that needs a token: `ullage token NAME`."
        )
    if recipe.kind == "ollama":
        itself, ours = (f"OLLAMA_HOST={HERE}:{n} ollama" for n in (to, port))
        if system is System.LINUX or seen.container:
            yield (
                "`ollama run`, `ps` and `list` go through the gateway then. To pull, create or"
                f" delete: `{itself} pull ...`, or set gateway.manage = true."
            )
        else:
            yield (
                "The command `ollama` takes the same variable, and so reaches Ollama itself."
                f" `{ours} run ...` goes through the gateway."
            )
    yield f"To take it back: remove what steps 1 and 2 wrote, and start {recipe.title} anew."


def text_of(found: Way, title: str) -> str:
    """For people."""
    lines: list[str] = [found.found, ""]
    for number, step in enumerate(found.steps, start=1):
        lines.append(f"{number}. {step.title}:")
        lines += [f"     {line}".rstrip() for line in step.lines]
        lines.append("")
    lines += [f"Note: {note}" for note in found.notes]
    return "\n".join([f"{title}, step by step. Nothing is changed by this command.", "", *lines])


def row_of(found: Way) -> dict[str, object]:
    """As JSON."""
    steps: Sequence[object] = [
        {"title": s.title, "lines": list(s.lines), "language": s.language} for s in found.steps
    ]
    return {
        "found": found.found,
        "steps": steps,
        "drop_in": found.drop_in,
        "path": found.path,
        "config": found.config,
        "notes": list(found.notes),
    }

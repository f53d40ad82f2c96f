"""Taking a graph out of the screen: to a file or to the terminal's clipboard."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from cockpit.graph_export import ENDINGS, FORMATS, export
from cockpit.model.graph import Graph
from screens.ask import AskScreen, Option, Question
from screens.base import ClusterScreen

CLIPBOARD = "clipboard "
MOST = 100_000
"""Characters that are sent to a terminal's clipboard; more many terminals refuse."""


class ExportScreen(AskScreen):
    goes_on = False


def form_of(value: str) -> str:
    """The format that a target stands for; empty when it stands for none."""
    if value.startswith(CLIPBOARD):
        form = value.removeprefix(CLIPBOARD)
        return form if form in FORMATS else ""
    return ENDINGS.get(Path(value).suffix.lower(), "")


def wrong(value: str) -> str:
    """What is wrong with a target; empty when nothing is."""
    if not value:
        return "Type a file's name, or choose; Esc does nothing."
    if not form_of(value):
        return f"{value}: the end of the name says the format: {', '.join(ENDINGS)}"
    if not value.startswith(CLIPBOARD):
        path = Path(value).expanduser()
        if path.exists():
            return f"{path} is there already: choose another name"
        if not path.absolute().parent.is_dir():
            return f"{path.absolute().parent} is no directory"
    return ""


def save(path: Path, text: str) -> None:
    """A new file. Raises OSError; FileExistsError when there is one."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "w") as file:
        file.write(text)


async def ask_where(screen: ClusterScreen, graph: Graph) -> None:
    options = [Option(CLIPBOARD + form, f"to the clipboard as {form}") for form in ("mermaid", "dot", "json", "text")]
    question = Question(
        title=f"Export {len(graph.nodes)} nodes and {len(graph.edges)} edges", label="file",
        about=(f"A new file here ({Path.cwd()}); its end says the format: {' '.join(ENDINGS)}",),
        options=options, check=wrong,
    )

    async def done(value: str) -> None:
        text = export(graph, form_of(value))
        if value.startswith(CLIPBOARD):
            if len(text) > MOST:
                screen.say(f"{len(text)} characters are too many for a clipboard: export to a file")
                return
            screen.app.copy_to_clipboard(text)
            screen.say(f"sent to the terminal's clipboard as {form_of(value)}: {len(text)} characters", "ok")
            return
        path = Path(value).expanduser()
        try:
            await asyncio.to_thread(save, path, text)
        except OSError as error:
            screen.say(f"{path}: {error.strerror}. Nothing was written.", "failed")
        else:
            screen.say(f"{path.absolute()} holds the graph as {form_of(value)}", "ok")

    await screen.app.push_screen(ExportScreen(question, done))

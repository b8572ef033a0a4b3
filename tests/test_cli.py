"""From the shell to the commands: what has to be known before anything is imported, and what is missing."""

import os
from pathlib import Path

import pytest

from greensock.cli import wants_patch
from program import ROOT, Program, run


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], False),
        (["--help"], False),
        (["serve"], False),
        (["serve", "a", "--patch"], True),
        (["serve", "--patch", "a"], True),
        (["serve", "a", "--patch", "--no-patch"], False),
        (["serve", "a", "--no-patch", "--patch"], True),
        (["doctor", "a", "--patch"], True),
        (["other", "--patch"], False),
    ],
)
def test_the_command_line_says_whether_to_patch(arguments: list[str], wanted: bool) -> None:
    assert wants_patch(arguments) is wanted


def test_else_the_environment_does_and_else_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GREENSOCK_CONFIG", raising=False)
    (tmp_path / "greensock.toml").write_text("patch = true")
    (tmp_path / "other.toml").write_text("patch = false")
    assert wants_patch(["serve", "a"])
    assert not wants_patch(["serve", "a", "--config", "other.toml"])
    assert not wants_patch(["serve", "a", "--config=other.toml"])
    assert not wants_patch(["serve", "a", "--no-patch"])
    monkeypatch.setenv("GREENSOCK_PATCH", "no")
    assert not wants_patch(["serve", "a"])
    assert wants_patch(["serve", "a", "--patch"])


@pytest.mark.parametrize("arguments", [["--config"], ["--config", "nowhere.toml"], ["--config=nowhere.toml"]])
def test_what_is_wrong_is_told_by_others(arguments: list[str]) -> None:
    assert not wants_patch(["serve", *arguments])


def test_nothing_of_the_program_and_of_libraries_is_imported_before_patching(tmp_path: Path) -> None:
    """What has taken a name of the standard library by then would block for ever."""
    (tmp_path / "service.py").write_text(
        "import threading, greensock\n"
        "from gevent import monkey\n"
        "assert monkey.is_module_patched('threading')\n"
        "print(greensock.doctor().as_dict()['findings'])\n"
        "raise SystemExit(7)"
    )
    _, output, errors = run("serve", "service.py", "--patch", "--hot", "--stats", "127.0.0.1:0", cwd=tmp_path)
    assert "SystemExit(7)" in errors
    assert "'patching'" not in output
    assert "Warning" not in errors


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError('no click here', name='click')")
    program = Program("-m", "greensock", "serve", env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    status, output, errors = program.finish()
    program.kill()
    assert (status, output) == (1, "")
    assert errors == "greensock: the commands need more than the library does; install it as greensock[cli]\n"


def test_a_click_that_is_broken_is_no_missing_extra(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import nowhere")
    program = Program("-m", "greensock", "serve", env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    _, _, errors = program.finish()
    program.kill()
    assert "No module named 'nowhere'" in errors


def test_the_installed_command_is_the_same_as_the_module() -> None:
    program = Program("-c", "import sys; sys.argv[0] = 'x'; from greensock.cli import main; main()", "--version")
    installed = program.finish()
    program.kill()
    assert installed == run("--version")

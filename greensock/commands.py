"""The commands and what they take, by click. What they do is elsewhere, and imported when it is done."""

import json
import os
import sys
from typing import Any, Final

import click

from . import __version__
from .serve.config import Config, ConfigError
from .serve.settings import SETTINGS, Setting


class Command(click.Command):
    """A command whose options are listed in sections, and whose usage stands above every mistake in it."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Called by click, whose parser does not say of whose usage its errors are."""
        try:
            return super().parse_args(context, args)
        except click.UsageError as error:
            error.ctx = error.ctx or context
            raise

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Called by click for the help."""
        sections: dict[str, list[tuple[str, str]]] = {}
        parameters = sorted(self.get_params(context), key=lambda parameter: parameter.name not in SETTINGS)
        for parameter in parameters:
            record = parameter.get_help_record(context)
            if record is not None:
                setting = SETTINGS.get(parameter.name or "")
                sections.setdefault(setting.section if setting else "Other options", []).append(record)
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)


def _option(setting: Setting) -> click.Option:
    kind, default, text = setting.kind, setting.default, setting.help
    if not kind.metavar:
        name = setting.flag.removeprefix("--")
        opposite = name.removeprefix("no-") if name.startswith("no-") else f"no-{name}"
        text += " [default: yes]" if default else ""
        return click.Option([f"--{name}/--{opposite}"], default=None, help=text)
    if default not in (None, []):
        text += f" [default: {', '.join(default) if isinstance(default, list) else default}]"
    return click.Option([setting.flag], metavar=kind.metavar, multiple=kind.several, help=text)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: greensock serve service.py --bind 0.0.0.0:8080",
)
@click.version_option(__version__, package_name="greensock")
def greensock() -> None:
    """TCP services with plain blocking handlers."""


SERVE_HELP = """Serve TARGET: handlers of yours, by MODULE:NAME or path/to/file.py:NAME.

Without a name, "handlers" is looked for. What they may be: an object or a class with event methods, a mapping of event
functions, a session function, or a handler class of socketserver.

Every option may also stand in greensock.toml (idle_timeout = 60) or in the environment (GREENSOCK_IDLE_TIMEOUT=60); the
command line comes first, then the environment. Where none is allowed, write "none".

TERM and INT drain the connections and end, a second INT ends at once. HUP reloads handlers and certificates, USR1
prints what the process is doing."""

SERVE_EXAMPLES = """\b
Examples:
  greensock serve service.py --hot
  greensock serve shop.chat:Chat --bind 0.0.0.0:8080 --bind unix:/run/chat.sock --framing lines
  greensock serve shop.chat:Chat --bind 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem
"""


def _settings(config: str | None, given: dict[str, Any]) -> Config:
    """What was said here and elsewhere. A mistake in it is one of usage."""
    said = {name: value for name, value in given.items() if value not in (None, ())}
    try:
        return Config.read(said, os.environ, config)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None


def _serve(config: str | None, print_config: bool, **given: Any) -> None:
    settings = _settings(config, given)
    if print_config:
        click.echo(settings.as_toml())
        return
    if settings["target"] is None:
        raise click.UsageError("Missing argument 'TARGET'. There is none in greensock.toml or GREENSOCK_TARGET either.")
    from .serve.app import AppError
    from .serve.service import Service

    try:
        status = Service(settings, click.echo).run()
    except OSError as error:
        raise click.ClickException(error.strerror or str(error)) from None
    except (AppError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    except ModuleNotFoundError as error:
        if error.name not in ("prometheus_client", "watchfiles"):
            raise
        raise click.ClickException(f"this needs {error.name}: pip install 'greensock[cli]'") from None
    sys.exit(status)


_TARGET: Final = click.Argument(["target"], required=False)
_CONFIG: Final = click.Option(
    ["--config"], metavar="FILE", help="Read this file. [default: greensock.toml, if there is one]"
)

greensock.add_command(
    Command(
        "serve",
        callback=_serve,
        params=[
            _TARGET,
            *(_option(setting) for setting in SETTINGS.values() if setting.name != "target" and not setting.secret),
            _CONFIG,
            click.Option(
                ["--print-config"], is_flag=True, help="Print all settings and where each came from, and end."
            ),
        ],
        help=SERVE_HELP,
        short_help="Serve handlers of yours, and reload them while they serve.",
        epilog=SERVE_EXAMPLES,
    )
)


DOCTOR_HELP = """Tell what would block all connections, or is known to be unsafe: code of before monkey-patching,
drivers that block, versions with known holes.

TARGET is imported as serve would do it. Without one there is less to look at. The status is 1 if there is anything
worse than a note."""

DOCTOR_EXAMPLES = """\b
Examples:
  greensock doctor shop.chat:Chat --patch
  greensock doctor shop.chat:Chat --json | jq .findings
"""


def _doctor(config: str | None, as_json: bool, **given: Any) -> None:
    settings = _settings(config, given)
    from .doctor import doctor
    from .serve.app import App, AppError

    if settings["target"] is not None:
        try:
            App(settings["target"]).load()
        except AppError as error:
            raise click.ClickException(str(error)) from None
    report = doctor()
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        for line in str(report).splitlines():
            word = line.partition(" ")[0]
            click.echo(
                click.style(word, fg=_COLOURS[word], bold=True) + line[len(word) :] if word in _COLOURS else line
            )
    sys.exit(0 if report.ok else 1)


_COLOURS: Final = {"ERROR": "red", "WARNING": "yellow", "NOTE": "cyan"}

greensock.add_command(
    Command(
        "doctor",
        callback=_doctor,
        params=[
            _TARGET,
            _option(SETTINGS["patch"]),
            _CONFIG,
            click.Option(["--json", "as_json"], is_flag=True, help="Print it as JSON."),
        ],
        help=DOCTOR_HELP,
        short_help="Tell what would block all connections, or is known to be unsafe.",
        epilog=DOCTOR_EXAMPLES,
    )
)

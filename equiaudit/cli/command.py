"""What turns a function into a verb: its flags, its settings, its streams and its exit code."""

from __future__ import annotations

import contextlib
import inspect
import shlex
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from equiaudit.cli.failures import settle
from equiaudit.cli.terminal import Terminal, clean_stdout, write_payload
from equiaudit.config import Resolved, Settings, flag_name, resolve
from equiaudit.config.flags import Declared, declared
from equiaudit.errors import InputError

_COMMON = {
    "config": Annotated[
        Path | None,
        typer.Option(
            help="Settings file in place of ./equiaudit.toml or ./pyproject.toml.",
            metavar="FILE",
            rich_help_panel="Common",
        ),
    ],
    "quiet": Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Errors only on stderr.", rich_help_panel="Common"),
    ],
    "verbose": Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Tracebacks and warnings too.", rich_help_panel="Common"
        ),
    ],
    "no_color": Annotated[
        bool, typer.Option("--no-color", help="No colours.", rich_help_panel="Common")
    ],
}
_COMMON_DEFAULTS = {"config": None, "quiet": False, "verbose": False, "no_color": False}


@dataclass(frozen=True)
class Call:
    """What every verb gets beside its own arguments."""

    resolved: Resolved
    terminal: Terminal
    given: frozenset[str] = frozenset()
    """The options and arguments that the command line names."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Those of the verb's groups that it names, as it has them."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.resolved.settings

    def refuse(self, options: Sequence[str], reason: str, *, tip: str) -> None:
        """InputError for the first of `options` that the command line names: none is read.

        Environment and settings file serve several verbs, so there it is no fault.
        """
        for option in options:
            if option in self.given:
                raise InputError(f"--{flag_name(option)} {reason}.", tip=tip)


@dataclass(frozen=True)
class Outcome:
    """What a verb comes to: the text for stdout, the exit code, and the command that is next."""

    payload: str = ""
    code: int = 0
    next: str = ""


def verb(
    app: typer.Typer,
    name: str,
    *,
    flags: Collection[str],
    groups: Sequence[type] = (),
    configurable: Collection[str] | None = None,
) -> Callable[[Callable[..., Outcome]], Callable[..., int]]:
    """Register a function as the verb `name` of `app`.

    The function takes a `Call` first and then its own arguments. `flags` are the fields of
    `Settings` it has on the command line, of which environment and file may set those in
    `configurable` (None: all). `groups` are dataclasses whose fields declare more options, which
    come as `Call.options`, for the api to check.
    """
    applies = flags if configurable is None else configurable

    def register(function: Callable[..., Outcome]) -> Callable[..., int]:
        settings = declared(Settings)
        grouped = {name: each for group in groups for name, each in declared(group).items()}
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        parameters = [
            _keyword("context", typer.Context, inspect.Parameter.empty),
            *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own),
            *(_option(each) for each in grouped.values()),
            *(_option(settings[flag], negatable=True) for flag in flags),
            *(_keyword(name, kind, _COMMON_DEFAULTS[name]) for name, kind in _COMMON.items()),
        ]

        def command(context: typer.Context, **values: Any) -> int:
            terminal = Terminal.detect(
                **{name: values.pop(name) for name in ("quiet", "verbose", "no_color")}
            )
            config = values.pop("config")
            named = _named(context)
            given, options = _given(values, flags), _given(values, grouped)

            def work() -> int:
                resolved = resolve(given, config=config, applies=applies)
                return _perform(function, Call(resolved, terminal, named, options), values)

            return settle(work, terminal, partial(_again, context))

        command.__doc__ = _paragraphs(function)
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        app.command(name)(command)
        return command

    return register


def _again(context: typer.Context, flags: Sequence[str]) -> str:
    """The command line as it was given, and `flags`."""
    from equiaudit.data import without_secrets

    named, words = _named(context), context.command_path.split()
    for each in sorted(context.command.params, key=lambda p: p.param_type_name != "argument"):
        value = context.params.get(each.name or "")
        if each.name not in named or value is None:
            continue
        if each.param_type_name == "argument":
            words.append(str(value))
        elif isinstance(value, bool):
            words.append(each.opts[0] if value else each.secondary_opts[0])
        else:
            values = value if isinstance(value, list | tuple) else [value]
            # With "=" where a list may begin with a minus.
            words += [
                part
                for one in map(str, values)
                for part in ([f"{each.opts[0]}={one}"] if one[:1] == "-" else [each.opts[0], one])
            ]
    return f"{shlex.join(map(without_secrets, words))} {' '.join(flags)}"


def _paragraphs(function: Callable[..., Outcome]) -> str:
    """The docstring with each paragraph on one line, for the help to wrap at its own width."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _perform(function: Callable[..., Outcome], call: Call, arguments: Mapping[str, Any]) -> int:
    """Run the verb with stdout kept for its payload, then write that."""
    for note in call.resolved.notes:
        call.terminal.warn(note)
    with clean_stdout(), _warnings(call.terminal.verbose):
        outcome = function(call, **arguments)
    write_payload(outcome.payload)
    if outcome.next:  # Behind the payload: that may be screens long.
        call.terminal.say(f"Next: {outcome.next}")
    return outcome.code


def _named(context: typer.Context) -> frozenset[str]:
    """What the command line names; told by name, as typer may bring its own click."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(n for n, source in sources.items() if source and source.name == "COMMANDLINE")


def _given(values: dict[str, Any], flags: Collection[str]) -> dict[str, Any]:
    """Take the flags that the command line named out of `values`."""
    named = {flag: values.pop(flag) for flag in flags}
    return {flag: value for flag, value in named.items() if value not in (None, [])}


@contextlib.contextmanager
def _warnings(shown: bool) -> Iterator[None]:
    """Libraries warn their own developers; a user sees that with -v only."""
    with warnings.catch_warnings():
        if not shown:
            warnings.simplefilter("ignore")
        yield


def _option(option: Declared, *, negatable: bool = False) -> inspect.Parameter:
    """The flag of an option; None means that the command line does not name it."""
    flag, name = option.flag, flag_name(option.name)
    kind: Any = list[str] if flag.repeats else str
    spelled = [f"--{name}", *([] if flag.short is None else [flag.short])]
    if option.is_switch:
        kind, spelled = bool, [f"--{name}/--no-{name}" if negatable else f"--{name}"]
    shown = typer.Option(
        *spelled,
        help=flag.help + _default(option.default),
        metavar=flag.metavar,
        rich_help_panel=flag.panel,
        show_default=False,
    )
    return _keyword(option.name, Annotated[kind | None, shown], None)


def _default(value: Any) -> str:
    """The default as the help shows it; in brackets rich would take it for markup."""
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return " (on by default)" if value else ""
    shown = ",".join(value) if isinstance(value, tuple) else value
    return f" (default {shown})"


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )

"""How an option is declared: type, range and flag in one annotation, the default beside.

margin: Annotated[int, Field(ge=1), Flag("Method", "px by which the input is larger.")] = 16
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError

from equiaudit.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Flag:
    """How an option shows on the command line."""

    panel: str
    help: str
    metavar: str | None = None
    short: str | None = None
    repeats: bool = False
    """Whether it may be given several times."""


@dataclass(frozen=True)
class Declared:
    """An option as its field declares it."""

    name: str
    flag: Flag
    type: Any
    """With the annotations that check it."""
    default: Any

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off."""
        return self.type.__origin__ is bool

    @property
    def words(self) -> tuple[str, ...]:
        """Those that its type lists."""
        plain = self.type.__origin__
        kinds = (plain, *get_args(plain))
        return tuple(w for kind in kinds if get_origin(kind) is Literal for w in get_args(kind))

    def checked(self, value: Any) -> Any:
        """`value`, or the text of a flag, as the type has it; InputError out of its range."""
        try:
            return TypeAdapter(self.type).validate_python(value)
        except ValidationError as error:
            message = reason(value, error.errors()[0]["msg"])
            raise InputError(f"--{flag_name(self.name)}: {message}") from None


def declared(group: type) -> dict[str, Declared]:
    """The options among the fields of a model or a dataclass: those that have a flag."""
    hints, defaults = get_type_hints(group, include_extras=True), dict(_defaults(group))
    return {
        name: Declared(name, flag, hints[name], default)
        for name, default in defaults.items()
        for flag in getattr(hints[name], "__metadata__", ())
        if isinstance(flag, Flag)
    }


def _defaults(group: type) -> Iterator[tuple[str, Any]]:
    if issubclass(group, BaseModel):
        yield from ((name, field.default) for name, field in group.model_fields.items())
    else:
        yield from ((field.name, field.default) for field in fields(group))  # type: ignore[arg-type]


def taken(kind: type[T], settings: MutableMapping[str, Any], **more: Any) -> T:
    """A dataclass made of its own out of `settings`, which keeps the others, and of `more`.

    What has a flag is checked as it declares; InputError names the option.
    """
    options: Mapping[str, Declared] = declared(kind)
    names = [name for name, _ in _defaults(kind) if name in settings and name not in more]
    own = {name: settings.pop(name) for name in names}
    read = {name: options[name].checked(v) if name in options else v for name, v in own.items()}
    return kind(**read, **more)


def flag_name(setting: str) -> str:
    """``max_shift`` -> ``max-shift``, ``for_`` -> ``for``."""
    return setting.rstrip("_").replace("_", "-")


def reason(value: Any, message: str) -> str:
    """Pydantic's words as one sentence that shows the value."""
    if message.startswith("Value error, "):
        text = message.removeprefix("Value error, ")
    else:
        text = f"{message[0].lower()}{message[1:]}, got {value!r}"
    return text if text[-1] in ".?" else f"{text}."

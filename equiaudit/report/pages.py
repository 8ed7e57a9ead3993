"""HTML from templates: the page's own, and the parts that a task adds."""

from __future__ import annotations

from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@cache
def environment(package: str = "equiaudit.report") -> Environment:
    """The templates of `package`, which may use those of the report; all text is escaped."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in (package, "equiaudit.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def fragment(package: str, name: str, **values: object) -> Markup:
    """A part of the page: the template called `name` of `package`."""
    return Markup(environment(package).get_template(f"{name}.html.jinja").render(**values))

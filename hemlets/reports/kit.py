"""HTML pages from Jinja templates that extend one base page.

Templates beside this module: ``base.html`` (head, style sheet, print rules) and ``macros.html``
(figures with intervals, pictures, lists). A package outside ``hemlets`` keeps its own templates in
its folder ``templates`` and extends ``base.html`` from there.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hemlets.core.files import atomic_path
from hemlets.core.wording import counted

if TYPE_CHECKING:
    from jinja2 import Environment

MANY_COLUMNS: Final = 6
"""A table with more columns is set in small type, to fit on paper."""


def render_page(template: str, *, package: str = "hemlets.reports", **values: Any) -> str:
    """Render a template of a package.

    Every value is escaped. A name that the template uses and ``values`` lacks is an error.

    Args:
        template: file name in the package's folder ``templates``.
        package: import name of the package.
        values: what the template shows.
    """
    return _environment(package).get_template(template).render(**values)


def save_page(path: Path, html: str) -> None:
    """Write a page, whole or not at all."""
    with atomic_path(path) as scratch:
        scratch.write_text(html, encoding="utf-8")


def png_data(picture: bytes | Path) -> str:
    """A PNG picture as a ``data:`` address."""
    data = picture.read_bytes() if isinstance(picture, Path) else picture
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _environment(package: str) -> Environment:
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loaders = [PackageLoader(name) for name in dict.fromkeys((package, "hemlets.reports"))]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"counted": counted, "png": png_data, "grouped": "{:,}".format}
    return environment

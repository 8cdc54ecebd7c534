"""Render HTML pages from Jinja templates that extend one base page.

Templates of this package: ``base.html`` (head, style sheet, print rules) and ``macros.html``
(figures with intervals, pictures, lists). Other packages have their own folder ``templates`` and
extend ``base.html``.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hemlets.core.files import write_text
from hemlets.core.wording import counted

if TYPE_CHECKING:
    from jinja2 import Environment

MANY_COLUMNS: Final = 6
"""A table with more columns is set in small type, to fit on paper."""


def render_page(template: str, *, package: str = "hemlets.reports", **values: Any) -> str:
    """Render a template of a package.

    Every value is escaped. A name in the template without a value is an error.

    Args:
        template: File name in the package's folder ``templates``.
        package: Import name of the package.
        values: Values of the template's names.
    """
    return _environment(package).get_template(template).render(**values)


def save_page(path: Path, html: str) -> None:
    """Write a page atomically."""
    write_text(path, html)


def png_data(picture: bytes | Path) -> str:
    """Encode a PNG picture as a ``data:`` URL."""
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

"""The body model: θ and β → mesh and joints."""

from typing import TYPE_CHECKING

from hemlets.body.body_file import read_body_arrays
from hemlets.body.mirror import mirror_theta

if TYPE_CHECKING:
    from hemlets.body.model import Body, BodyModel

__all__ = ["Body", "BodyModel", "mirror_theta", "read_body_arrays"]


def __getattr__(name: str) -> object:
    # The model brings torch; mirroring and rasterising must stay cheap to import.
    if name in {"Body", "BodyModel"}:
        from hemlets.body import model

        return getattr(model, name)
    raise AttributeError(name)

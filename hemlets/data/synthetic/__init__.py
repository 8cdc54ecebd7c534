"""Open data: rendered people in captured motion, without licence restrictions, in any number.

`build_open_data` writes a data version; `render_person` renders one sample.
"""

from hemlets.data.synthetic.config import OpenDataConfig, SplitSizes
from hemlets.data.synthetic.dataset import build_open_data
from hemlets.data.synthetic.people import RenderedPerson, Studio, render_person
from hemlets.data.synthetic.poses import MotionLibrary

__all__ = [
    "MotionLibrary",
    "OpenDataConfig",
    "RenderedPerson",
    "SplitSizes",
    "Studio",
    "build_open_data",
    "render_person",
]

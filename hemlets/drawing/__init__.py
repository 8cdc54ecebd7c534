"""Pictures of people: skeletons and bodies drawn onto the image they were found in."""

from hemlets.drawing.mesh import MeshImage, overlay, render_mesh, second_view, turn_to_side
from hemlets.drawing.placement import PlacedBody, place_body
from hemlets.drawing.report import prediction_picture
from hemlets.drawing.skeleton import draw_skeleton

__all__ = [
    "MeshImage",
    "PlacedBody",
    "draw_skeleton",
    "overlay",
    "place_body",
    "prediction_picture",
    "render_mesh",
    "second_view",
    "turn_to_side",
]

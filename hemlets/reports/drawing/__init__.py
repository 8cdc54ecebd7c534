"""Draw skeletons and bodies onto images."""

from hemlets.body.placement import PlacedBody, place_body
from hemlets.reports.drawing.bones import draw_bones, side_view
from hemlets.reports.drawing.chart import joint_error_chart
from hemlets.reports.drawing.comparison import comparison_tile, sheet
from hemlets.reports.drawing.encoding import png
from hemlets.reports.drawing.mesh import MeshImage, overlay, render_mesh, second_view, turn_to_side
from hemlets.reports.drawing.page3d import prediction_page
from hemlets.reports.drawing.people import draw_people
from hemlets.reports.drawing.report import people_picture, prediction_picture
from hemlets.reports.drawing.skeleton import draw_skeleton

__all__ = [
    "MeshImage",
    "PlacedBody",
    "comparison_tile",
    "draw_bones",
    "draw_people",
    "draw_skeleton",
    "joint_error_chart",
    "overlay",
    "people_picture",
    "place_body",
    "png",
    "prediction_page",
    "prediction_picture",
    "render_mesh",
    "second_view",
    "sheet",
    "side_view",
    "turn_to_side",
]

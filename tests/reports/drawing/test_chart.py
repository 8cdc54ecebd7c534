import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.core.skeleton import JOINTS
from hemlets.data.table import decode_image
from hemlets.reports.drawing import joint_error_chart


def test_the_chart_is_a_png_and_takes_unknown_joints() -> None:
    values = dict(zip(JOINTS, np.linspace(0, 170, 18), strict=True)) | {"nose": float("nan")}
    chart = joint_error_chart(values)
    assert chart.startswith(b"\x89PNG")
    assert decode_image(chart).shape == (560, 440, 3)
    assert joint_error_chart({}).startswith(b"\x89PNG")


def test_the_chart_refuses_what_is_no_joint() -> None:
    with pytest.raises(DataError, match="tail"):
        joint_error_chart({"tail": 3.0})

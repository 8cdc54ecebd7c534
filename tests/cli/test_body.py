"""``hemlets body`` from its command line."""

import numpy as np
import pytest
from typer.testing import CliRunner

from hemlets.assets import asset_path
from hemlets.cli.body import body
from hemlets.core.errors import AssetError, ConfigError


def run(*arguments):
    return CliRunner().invoke(body, list(map(str, arguments)))


def test_check_says_what_a_body_file_holds():
    result = run("check", asset_path("body/open_body_lite.npz"))
    assert result.exit_code == 0
    assert "1229 vertices, 2454 triangles, 10 shape coefficients" in result.output


def test_check_names_what_is_wrong(tmp_path):
    np.savez(tmp_path / "body.npz", v_template=np.zeros((4, 3)))
    result = run("check", tmp_path / "body.npz")
    assert isinstance(result.exception, AssetError)
    assert "lacks shapedirs" in str(result.exception)


@pytest.mark.parametrize("name", ["smpl.pkl", "smpl"])
def test_convert_writes_npz_files_only(tmp_path, name):
    result = run("convert", tmp_path / "in.pkl", tmp_path / name)
    assert isinstance(result.exception, ConfigError)
    assert "smpl.npz" in str(result.exception)

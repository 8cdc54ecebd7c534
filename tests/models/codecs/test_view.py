"""The root's rotation in the crop's view: what a crop shows of how a person is turned."""

from __future__ import annotations

import numpy as np
import roma
import torch

from hemlets.models.codecs import crop_views, from_view, into_view

CAMERA = np.array([[400.0, 300.0, 96.0, 80.0]])


def test_a_crop_on_the_optical_axis_shows_the_camera_frame() -> None:
    view = crop_views(np.array([[96.0, 80.0]]), CAMERA)
    torch.testing.assert_close(view, torch.eye(3)[None])


def test_the_view_looks_along_the_ray_through_the_crop() -> None:
    centre = np.array([[12.0, 140.0]])
    ray = np.array([(12 - 96) / 400, (140 - 80) / 300, 1])
    axis = crop_views(centre, CAMERA)[0] @ torch.tensor([0.0, 0.0, 1.0])
    np.testing.assert_allclose(axis.numpy(), ray / np.linalg.norm(ray), atol=1e-6)


def test_the_view_does_not_roll() -> None:
    view = crop_views(np.array([[12.0, 140.0]]), CAMERA)
    assert abs(float(roma.rotmat_to_rotvec(view)[0, 2])) < 1e-6


def test_a_person_who_turns_with_the_ray_looks_the_same() -> None:
    # Carried around the camera, the person shows the crop the same side.
    rotation = roma.random_rotmat(24)[None]
    centres = np.array([[96.0, 80.0], [12.0, 140.0]])
    views = crop_views(centres, CAMERA.repeat(2, 0))
    carried = from_view(rotation.repeat(2, 1, 1, 1), views)
    seen = into_view(carried, views)
    torch.testing.assert_close(seen[0], seen[1], atol=1e-5, rtol=0)


def test_only_the_root_changes_and_comes_back() -> None:
    rotation = roma.random_rotmat(24)[None]
    view = crop_views(np.array([[12.0, 140.0]]), CAMERA)
    seen = into_view(rotation, view)
    assert torch.equal(seen[:, 1:], rotation[:, 1:])
    assert not torch.allclose(seen[:, 0], rotation[:, 0], atol=1e-2)
    torch.testing.assert_close(from_view(seen, view), rotation, atol=1e-5, rtol=0)


def test_without_a_camera_the_crop_is_seen_along_the_axis() -> None:
    centres = np.array([[12.0, 140.0], [12.0, 140.0]])
    cameras = np.array([CAMERA[0], np.zeros(4)])
    views = crop_views(centres, cameras, np.array([True, False]))
    torch.testing.assert_close(views[1], torch.eye(3))
    assert not torch.allclose(views[0], torch.eye(3), atol=1e-2)

"""Fitted bodies against bodies that are known."""

import math

import numpy as np
import pytest
import torch

from hemlets.body.limits import LOWER_J3_RAD, UPPER_J3_RAD
from hemlets.body.raster import FAR_MM, Rasteriser, Rectangle, SquareCamera
from hemlets.body.smplify import FitConfig, Smplify
from hemlets.body.start import StartTrust
from hemlets.body.targets import FitTargets
from hemlets.core.errors import InputError
from hemlets.core.skeleton import Joint

EXACT = FitConfig(joint_mm=1.0)
CAMERA = torch.tensor([[600.0, 600.0, 160.0, 160.0]])


@pytest.fixture(params=["lite_body", "full_body"])
def body(request):
    return request.getfixturevalue(request.param)


def distance(one, other):
    return (one - other).norm(dim=-1)


def skin_of(body, fit):
    return body(fit.theta_BJ3, fit.betas_BK).vertices_BV3_mm + fit.transl_B3_mm[:, None]


def before_camera(body, held_out, n):
    """Held-out bodies 4 m before the camera, upright: skin and joints."""
    theta, betas = held_out(n)
    theta[:, 0] = torch.tensor([math.pi, 0.0, 0.0])
    posed = body(theta, betas)
    away = torch.tensor([0.0, 0.0, 4000.0])
    return theta, betas, posed.vertices_BV3_mm + away, posed.joints18_B183_mm + away


def projected(points, camera):
    return points[..., :2] / points[..., 2:] * camera[:, None, :2] + camera[:, None, 2:]


def test_from_exact_joints_the_body_is_found(body, held_out):
    theta, betas = held_out(16)
    truth = body(theta, betas)
    fit = Smplify(body, EXACT).fit(FitTargets(joints_BN3_mm=truth.joints18_B183_mm))
    assert fit.converged_B.all()
    assert distance(fit.joints_BN3_mm, truth.joints18_B183_mm).mean() < 1
    assert distance(fit.joints_BN3_mm, truth.joints18_B183_mm).max() < 3
    assert distance(skin_of(body, fit), truth.vertices_BV3_mm).mean() < 20


def test_fitted_joints_lie_nearer_to_the_truth_than_noisy_ones(body, held_out):
    truth = body(*held_out(24)).joints18_B183_mm
    noise = 10 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    fit = Smplify(body, FitConfig(joint_mm=10)).fit(FitTargets(joints_BN3_mm=truth + noise))
    ratio = distance(fit.joints_BN3_mm, truth).mean() / noise.norm(dim=-1).mean()
    assert ratio < 0.85


def test_a_body_with_pose_blend_shapes_is_fitted_as_well(blended_body, held_out):
    truth = blended_body(*held_out(8)).joints18_B183_mm
    fit = Smplify(blended_body, EXACT).fit(FitTargets(joints_BN3_mm=truth))
    assert distance(fit.joints_BN3_mm, truth).mean() < 3


def test_the_result_poses_to_the_joints_that_it_names(lite_body, held_out):
    truth = lite_body(*held_out(4)).joints18_B183_mm + 500
    fit = Smplify(lite_body).fit(FitTargets(joints_BN3_mm=truth))
    posed = lite_body(fit.theta_BJ3, fit.betas_BK).joints18_B183_mm + fit.transl_B3_mm[:, None]
    torch.testing.assert_close(posed, fit.joints_BN3_mm, atol=0.05, rtol=0)


def test_a_body_is_fitted_alike_alone_and_in_a_batch(lite_body, held_out):
    truth = lite_body(*held_out(6)).joints18_B183_mm
    fitter = Smplify(lite_body)
    batch = fitter.fit(FitTargets(joints_BN3_mm=truth))
    alone = fitter.fit(FitTargets(joints_BN3_mm=truth[2:3]))
    torch.testing.assert_close(batch.joints_BN3_mm[2:3], alone.joints_BN3_mm, atol=0.01, rtol=0)


def test_image_joints_alone_place_the_body_where_it_projects_to(lite_body, held_out):
    _, _, _, joints = before_camera(lite_body, held_out, 6)
    camera = CAMERA.expand(6, 4)
    pixels = projected(joints, camera)
    fit = Smplify(lite_body, FitConfig(joint_px=1.0)).fit(
        FitTargets(joints2d_BN2_px=pixels, camera_B4=camera)
    )
    assert distance(projected(fit.joints_BN3_mm, camera), pixels).mean() < 1.5
    assert (fit.joints_BN3_mm[:, 0, 2] / 4000 - 1).abs().max() < 0.25


def test_one_wrong_image_joint_does_not_pull_the_body_along(lite_body, held_out):
    _, _, _, joints = before_camera(lite_body, held_out, 4)
    camera = CAMERA.expand(4, 4)
    pixels = projected(joints, camera)
    wrong = pixels.clone()
    wrong[:, Joint.LEFT_WRIST] += 150
    targets = FitTargets(joints_BN3_mm=joints, joints2d_BN2_px=wrong, camera_B4=camera)
    fit = Smplify(lite_body).fit(targets)
    assert distance(fit.joints_BN3_mm, joints).mean() < 15


def test_joints_of_weight_0_may_be_anything(lite_body, held_out):
    truth = lite_body(*held_out(4)).joints18_B183_mm
    given, weight = truth.clone(), torch.ones(4, 18)
    given[:, Joint.NOSE] = float("nan")
    weight[:, Joint.NOSE] = 0
    fit = Smplify(lite_body, EXACT).fit(FitTargets(joints_BN3_mm=given, weight_BN=weight))
    known = [j for j in range(18) if j != Joint.NOSE]
    assert distance(fit.joints_BN3_mm, truth)[:, known].max() < 5
    assert distance(fit.joints_BN3_mm, truth)[:, Joint.NOSE].mean() < 80


def test_angles_stay_within_what_joints_can_do(lite_body):
    generator = torch.Generator().manual_seed(3)
    impossible = 300 * torch.randn(6, 18, 3, generator=generator)
    fit = Smplify(lite_body).fit(FitTargets(joints_BN3_mm=impossible))
    theta = fit.theta_BJ3.numpy()[:, 1:]
    beyond = np.maximum(theta - UPPER_J3_RAD[1:], LOWER_J3_RAD[1:] - theta)
    assert beyond.max() < 0.6
    assert np.isfinite(theta).all()


def away_from(start, fit):
    return (fit.theta_BJ3 - start).abs().amax((1, 2))


def test_a_fit_stays_as_near_to_its_start_as_the_start_is_trusted(lite_body, held_out):
    theta, betas = held_out(4)
    other = lite_body(*held_out(8)).joints18_B183_mm[4:]
    gaps = []
    for share in (1.0, 0.1, 1e-4):
        trust = StartTrust(pose_share=share, root_rad=share, betas=share)
        config = FitConfig(start=trust, pose_weight=0, shape_weight=0)
        fit = Smplify(lite_body, config).fit(
            FitTargets(joints_BN3_mm=other), theta_BJ3=theta, betas_BK=betas
        )
        gaps.append(away_from(theta, fit))
    assert (gaps[0] > gaps[1]).all()
    assert (gaps[1] > gaps[2]).all()
    assert gaps[2].max() < 0.02


def test_fits_that_stay_near_their_starts_do_not_mix_them_up(lite_body, held_out):
    theta, betas = held_out(6)
    truth = lite_body(theta, betas).joints18_B183_mm
    noise = 30 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    trust = StartTrust(pose_share=0.3, root_rad=0.05, betas=0.3)
    fitter = Smplify(lite_body, FitConfig(start=trust))

    def fit(part):
        return fitter.fit(
            FitTargets(joints_BN3_mm=(truth + noise)[part]),
            theta_BJ3=theta[part],
            betas_BK=betas[part],
        )

    batch, alone = fit(slice(None)), fit(slice(4, 5))
    torch.testing.assert_close(batch.joints_BN3_mm[4:5], alone.joints_BN3_mm, atol=0.1, rtol=0)


def test_a_fit_that_is_to_stay_near_its_start_needs_one(lite_body):
    trust = StartTrust(pose_share=0.5, root_rad=0.1, betas=0.5)
    targets = FitTargets(joints_BN3_mm=torch.zeros(1, 18, 3))
    with pytest.raises(InputError, match="start has none"):
        Smplify(lite_body, FitConfig(start=trust)).fit(targets)


def mask_of(body, vertices, camera):
    fx, _, cx, cy = camera.tolist()
    square = SquareCamera(focal_px=fx, centre_px=(cx, cy))
    skin = vertices.numpy()
    where = Rectangle(left=0, top=0, right=320, bottom=320)
    layer = Rasteriser(body.faces_F3.numpy()).draw(square, where, skin, (skin * 0,), scale=1)
    return layer.depth_HW_mm < FAR_MM


def test_a_silhouette_draws_a_body_to_where_it_is_seen(lite_body, held_out):
    _, _, skin, joints = before_camera(lite_body, held_out, 3)
    masks = [mask_of(lite_body, body, CAMERA[0]) for body in skin]
    assert all(mask.any() for mask in masks)
    # The image is known to be off by 8 px as a whole; only the mask tells the right place.
    shifted = joints + torch.tensor([55.0, 40.0, 0.0])
    camera = CAMERA.expand(3, 4)
    config = FitConfig(place_mm=200.0, silhouette_px=2.0)
    without = Smplify(lite_body, config).fit(FitTargets(joints_BN3_mm=shifted))
    targets = FitTargets(joints_BN3_mm=shifted, camera_B4=camera, masks=masks)
    seen = Smplify(lite_body, config).fit(targets)
    pixels = projected(joints, camera)
    before = distance(projected(without.joints_BN3_mm, camera), pixels).mean()
    after = distance(projected(seen.joints_BN3_mm, camera), pixels).mean()
    assert after < 0.5 * before


def test_a_body_without_a_mask_beside_one_with_a_mask_is_fitted_by_its_joints(lite_body, held_out):
    _, _, skin, joints = before_camera(lite_body, held_out, 2)
    masks = [mask_of(lite_body, skin[0], CAMERA[0]), None]
    targets = FitTargets(joints_BN3_mm=joints, camera_B4=CAMERA.expand(2, 4), masks=masks)
    fit = Smplify(lite_body, FitConfig(joint_mm=5)).fit(targets)
    alone = Smplify(lite_body, FitConfig(joint_mm=5)).fit(FitTargets(joints_BN3_mm=joints[1:]))
    torch.testing.assert_close(fit.joints_BN3_mm[1:], alone.joints_BN3_mm, atol=0.5, rtol=0)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (FitTargets(), "nothing to fit to"),
        (FitTargets(joints_BN3_mm=torch.zeros(2, 17, 3)), r"\(2, 17, 3\)"),
        (FitTargets(joints_BN3_mm=torch.full((1, 18, 3), math.nan)), "not finite"),
        (FitTargets(joints2d_BN2_px=torch.zeros(1, 18, 2)), "without a camera"),
        (FitTargets(joints_BN3_mm=torch.zeros(1, 18, 3), unit_B_px=torch.zeros(1)), "above 0"),
    ],
)
def test_targets_that_cannot_be_fitted_are_refused(lite_body, targets, message):
    with pytest.raises(InputError, match=message):
        Smplify(lite_body).fit(targets)


def test_a_start_with_another_number_of_coefficients_is_refused(lite_body):
    targets = FitTargets(joints_BN3_mm=torch.zeros(1, 18, 3))
    with pytest.raises(InputError, match="10 coefficients"):
        Smplify(lite_body).fit(targets, betas_BK=torch.zeros(1, 300))


@pytest.mark.parametrize("start", ["theta_BJ3", "betas_BK"])
def test_a_start_that_is_not_finite_is_refused_rather_than_called_converged(lite_body, start):
    targets = FitTargets(joints_BN3_mm=torch.zeros(2, 18, 3))
    given = {"theta_BJ3": torch.zeros(2, 24, 3), "betas_BK": torch.zeros(2, 10)}
    given[start][1] = math.nan
    with pytest.raises(InputError, match="not finite") as error:
        Smplify(lite_body).fit(targets, **given)
    assert start in str(error.value)
    assert "body 1" in str(error.value)

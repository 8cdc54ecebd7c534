"""Fit bodies to joints, image joints and silhouettes (the paper's "Ours*").

Follows SMPLify (Bogo et al. 2016): the sum of data terms, a learned pose prior, a shape prior and
angle limits is minimised over θ, β and the translation. A trusted start joins the sum, or replaces
the priors (`hemlets.body.start`). Every term is a sum of squares, so Levenberg–Marquardt with exact
derivatives (`hemlets.body.points`) needs a dozen steps. Bodies of a batch are fitted independently,
each with its own damping.

Shape suffixes: B batch, N = 18 joints, M rows of a term, P = 75 + K parameters in the order root
rotation, 23 axis-angles, β, translation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import roma
import torch
from pydantic import Field
from torch import Tensor

from hemlets.body.least_squares import Damping, Term, energy, normal_equations
from hemlets.body.limits import LOWER_J3_RAD, UPPER_J3_RAD
from hemlets.body.model import BodyModel
from hemlets.body.points import Frames, PointModel, Points, Skeleton
from hemlets.body.prior import learned_prior
from hemlets.body.rotations import left_jacobian
from hemlets.body.silhouette import Silhouette, matches, project
from hemlets.body.start import Start, StartTrust
from hemlets.body.targets import FitTargets, NormalizedTargets, mean_point
from hemlets.core.config import Config
from hemlets.core.errors import InputError
from hemlets.core.skeleton import N_JOINTS, SMPL_JOINTS, SMPL_PARENTS

_N_TURNS: Final = len(SMPL_JOINTS)
_LOOSE_MM: Final = 20.0
_LOOSE_TOLERANCE: Final = 1e-3
_NEAREST_MM: Final = 200.0
"""Image terms leave out points nearer to the camera plane."""


class FitConfig(Config):
    """Standard deviations of the errors of each source.

    Pixels are of the image, or of the unit that the targets give for each body.
    """

    joint_mm: float = Field(25.0, gt=0)
    """Error of a 3D joint's coordinate, relative to the other joints."""
    depth_mm: float | None = Field(None, gt=0)
    """The same along the camera's z, if it differs."""
    place_mm: float | None = Field(None, gt=0)
    """Error of the 3D joints' common translation; by default follows from `joint_mm`."""
    joint_px: float = Field(4.0, gt=0)
    """Error of a 2D joint's coordinate."""
    outlier_px: float = Field(40.0, gt=0)
    """Scale of the robust cost of 2D joints (Geman–McClure)."""
    silhouette_px: float = Field(6.0, gt=0)
    """Error of the outline, which weighs as much as 18 joints of this error."""
    pose_weight: float = Field(1.0, ge=0)
    """Weight of the pose prior; 1 is the learned Gaussian."""
    shape_weight: float = Field(1.0, ge=0)
    """Weight of the shape prior, a unit Gaussian over β."""
    start: StartTrust | None = None
    """Trust in the starting body as a measurement; None only starts there."""
    limit_rad: float = Field(0.05, gt=0)
    """Standard deviation of the excess over an anatomical limit."""
    max_steps: int = Field(40, ge=1)
    tolerance: float = Field(1e-4, gt=0)
    """A body has converged when a step lowers its objective by less than this share."""


@dataclass(frozen=True, kw_only=True)
class BodyFit:
    """Fitted bodies.

    Attributes:
        theta_BJ3: θ as axis-angles (B, 24, 3); the root turns into the targets' frame.
        betas_BK: β.
        transl_B3_mm: Translation from the body model's output to the targets' frame.
        joints_BN3_mm: The fitted bodies' 18 joints in the targets' frame.
        energy_B: The objective: half a sum of squares in standard deviations.
        steps: Steps until all bodies converged.
        converged_B: Whether each body converged.
    """

    theta_BJ3: Tensor
    betas_BK: Tensor
    transl_B3_mm: Tensor
    joints_BN3_mm: Tensor
    energy_B: Tensor
    steps: int
    converged_B: Tensor


@dataclass(frozen=True, kw_only=True)
class _State:
    """The parameters of a batch."""

    root_B33: Tensor
    theta_BJ3: Tensor
    betas_BK: Tensor
    transl_B3: Tensor

    def moved(self, step_BP: Tensor) -> _State:
        n_theta = 3 * _N_TURNS
        return _State(
            root_B33=roma.rotvec_to_rotmat(step_BP[:, :3]) @ self.root_B33,
            theta_BJ3=self.theta_BJ3 + step_BP[:, 3:n_theta].view(-1, _N_TURNS - 1, 3),
            betas_BK=self.betas_BK + step_BP[:, n_theta:-3],
            transl_B3=self.transl_B3 + step_BP[:, -3:],
        )

    def where(self, chosen_B: Tensor, other: _State) -> _State:
        def pick(mine: Tensor, its: Tensor) -> Tensor:
            return torch.where(chosen_B.view(-1, *[1] * (mine.ndim - 1)), mine, its)

        return self._with(pick, other)

    def take(self, chosen_B: Tensor) -> _State:
        return self._with(lambda mine, _: mine[chosen_B], self)

    def put(self, index: Tensor, other: _State) -> _State:
        return self._with(lambda mine, its: mine.index_copy(0, index, its), other)

    def _with(self, change: Callable[[Tensor, Tensor], Tensor], other: _State) -> _State:
        return _State(
            root_B33=change(self.root_B33, other.root_B33),
            theta_BJ3=change(self.theta_BJ3, other.theta_BJ3),
            betas_BK=change(self.betas_BK, other.betas_BK),
            transl_B3=change(self.transl_B3, other.transl_B3),
        )


class Smplify:
    """Fits bodies of one model.

    Args:
        body: Any body of SMPL's form; the fit runs on its device, in double precision.
        config: Errors of the sources.
    """

    def __init__(self, body: BodyModel, config: FitConfig | None = None) -> None:
        self.config = FitConfig() if config is None else config
        self._body = body
        self._device = body.v_template_V3.device
        self._skeleton = Skeleton(body)
        self._joints = PointModel.regressed(body, self._skeleton, body.joint_regressor_NV)
        self._skin: PointModel | None = None
        prior = learned_prior()
        self._mean = self._real(prior.mean_J3)
        self._whitening = self._real(prior.whitening_PP)
        self._lower = self._real(LOWER_J3_RAD[1:]).clamp(-1e3, 1e3)
        self._upper = self._real(UPPER_J3_RAD[1:]).clamp(-1e3, 1e3)

    def fit(
        self,
        targets: FitTargets,
        *,
        theta_BJ3: Tensor | None = None,
        betas_BK: Tensor | None = None,
    ) -> BodyFit:
        """Fit a batch.

        Args:
            targets: The targets.
            theta_BJ3: Start, axis-angles (B, 24, 3); by default the likeliest pose, rotated to
                the targets' torso.
            betas_BK: Start, β; by default the mean body.

        Raises:
            InputError: No targets, shapes that don't match, a start that is not finite or that is
                missing though the fit must stay near it, or targets that are not finite despite a
                weight.
        """
        goal = NormalizedTargets.of(targets, self._device)
        with torch.no_grad():
            state = self._start(goal, theta_BJ3, betas_BK)
            if theta_BJ3 is not None:
                start = Start(
                    root_B33=state.root_B33, theta_BJ3=state.theta_BJ3, betas_BK=state.betas_BK
                )
                goal = dataclasses.replace(goal, start=start)
            elif self.config.start is not None:
                raise InputError(
                    "a fit that stays near its start has none",
                    where="theta_BJ3",
                    expected="the θ to start from",
                )
            steps = 0
            for config in self._stages():
                taken, converged, state = self._minimise(goal, state, config)
                steps += taken
            frames = self._frames(state)
            joints = self._joints.at(frames, state.betas_BK) + state.transl_B3[:, None]
            energy = self._energy(goal, state, self._outlines(goal, state), self.config)
        theta = torch.cat([roma.rotmat_to_rotvec(state.root_B33)[:, None], state.theta_BJ3], 1)
        return BodyFit(
            theta_BJ3=theta.float(),
            betas_BK=state.betas_BK.float(),
            transl_B3_mm=state.transl_B3.float(),
            joints_BN3_mm=joints.float(),
            energy_B=energy.float(),
            steps=steps,
            converged_B=converged,
        )

    def _stages(self) -> list[FitConfig]:
        """Return the sequence of configurations, with rising trust in the joints.

        With joints trusted to the millimetre from the start, a limb can't leave a wrong rotation.
        """
        config = self.config
        if config.joint_mm >= _LOOSE_MM:
            return [config]
        loose = {"joint_mm": _LOOSE_MM, "tolerance": max(config.tolerance, _LOOSE_TOLERANCE)}
        return [config.model_copy(update=loose), config]

    def _real(self, values: npt.ArrayLike) -> Tensor:
        return torch.as_tensor(np.asarray(values, np.float64), device=self._device)

    def _frames(self, state: _State) -> Frames:
        turns = roma.rotvec_to_rotmat(state.theta_BJ3)
        rot = torch.cat([state.root_B33[:, None], turns], 1)
        return self._skeleton.frames(rot, state.betas_BK)

    def _start(self, goal: NormalizedTargets, theta: Tensor | None, betas: Tensor | None) -> _State:
        n_bodies = goal.n_bodies
        n_betas = self._skeleton.n_betas
        if theta is not None and theta.shape != (n_bodies, _N_TURNS, 3):
            raise InputError(
                f"the θ to start from has shape {tuple(theta.shape)}",
                where="theta_BJ3",
                expected=f"({n_bodies}, {_N_TURNS}, 3)",
            )
        if betas is not None and betas.shape != (n_bodies, n_betas):
            raise InputError(
                f"the β to start from has shape {tuple(betas.shape)}",
                where="betas_BK",
                expected=f"({n_bodies}, {n_betas}), as the body has {n_betas} coefficients",
            )
        for start, where in ((theta, "theta_BJ3"), (betas, "betas_BK")):
            # Such a body would never move, and count as converged.
            if start is not None and not bool(torch.isfinite(start).all()):
                body = int(torch.isfinite(start).flatten(1).all(1).long().argmin())
                raise InputError(
                    f"what body {body} would start from is not finite",
                    where=where,
                    expected="finite numbers",
                    remedy="leave it out: the fit then finds its own start",
                )
        shape = self._real(np.zeros((n_bodies, n_betas)))
        if betas is not None:
            shape = betas.to(shape)
        if theta is None:
            pose = self._mean.expand(n_bodies, -1, -1).clone()
            root = torch.eye(3).to(shape).repeat(n_bodies, 1, 1)
        else:
            pose, root = theta[:, 1:].to(shape), roma.rotvec_to_rotmat(theta[:, 0].to(shape))
        state = _State(
            root_B33=root,
            theta_BJ3=pose,
            betas_BK=shape,
            transl_B3=self._real(np.zeros((n_bodies, 3))),
        )
        if theta is None:
            turn = goal.facing(self._joints.at(self._frames(state), shape))
            state = dataclasses.replace(state, root_B33=turn @ root)
        way = goal.way_to(self._joints.at(self._frames(state), shape))
        return dataclasses.replace(state, transl_B3=way)

    def _minimise(
        self, goal: NormalizedTargets, state: _State, config: FitConfig
    ) -> tuple[int, Tensor, _State]:
        """Run Levenberg–Marquardt, with each body's own damping."""
        outlines = self._outlines(goal, state)
        energy_B = self._energy(goal, state, outlines, config)
        damping = Damping(energy_B, tolerance=config.tolerance)
        whole, left = state, torch.arange(goal.n_bodies, device=self._device)
        converged_B = torch.zeros_like(left, dtype=torch.bool)
        for step in range(config.max_steps):
            terms = self._terms(goal, state, outlines, config, slopes=True)
            like_BP = energy_B.new_zeros(len(left), self._n_params)
            moved = state.moved(damping.step(*normal_equations(terms, like_BP)))
            new_B = self._energy(goal, moved, outlines, config)
            better_B, done_B = damping.judge(energy_B, new_B)
            state = moved.where(better_B, state)
            energy_B = torch.where(better_B, new_B, energy_B)
            whole = whole.put(left, state)
            if bool(done_B.any()):
                # A straggler must not make the others' steps be computed on.
                converged_B[left[done_B]] = True
                open_B = ~done_B
                left, energy_B = left[open_B], energy_B[open_B]
                if not len(left):
                    return step + 1, converged_B, whole
                state, goal = state.take(open_B), goal.take(open_B)
                damping.take(open_B)
            if outlines is not None:
                outlines = self._outlines(goal, state)
                energy_B = self._energy(goal, state, outlines, config)
        return config.max_steps, converged_B, whole

    def _energy(
        self, goal: NormalizedTargets, state: _State, outlines: Silhouette | None, config: FitConfig
    ) -> Tensor:
        return energy(self._terms(goal, state, outlines, config, slopes=False))

    @property
    def _n_params(self) -> int:
        return 3 * _N_TURNS + self._skeleton.n_betas + 3

    def _terms(
        self,
        goal: NormalizedTargets,
        state: _State,
        outlines: Silhouette | None,
        config: FitConfig,
        *,
        slopes: bool,
    ) -> Iterator[Term]:
        frames = self._frames(state)
        turns = self._turns_by_parameters(frames, state) if slopes else None
        at, slope = self._seen(self._joints, frames, state, turns)
        if goal.joints_BN3 is not None:
            yield from _joint_terms(goal, config, at, slope)
        if goal.joints2d_BN2 is not None:
            yield _image_term(goal, config, at, slope)
        if outlines is not None and self._skin is not None:
            at, slope = self._seen(self._skin, frames, state, turns)
            residual, by_point = outlines.residuals(at)
            share = math.sqrt(N_JOINTS) / config.silhouette_px
            scale = (share / goal.unit_B_px)[:, None]
            yield Term(
                residual_BM=scale * residual.flatten(1),
                slope_BMP=None
                if slope is None
                else scale[..., None] * torch.einsum(
                    "bmic,bmcp->bmip", by_point, outlines.chosen(slope)
                ).flatten(1, 2),
                cut=(config.outlier_px * share * outlines.weight_BM).repeat_interleave(2, 1) + 1e-9,
            )  # fmt: skip
        yield from self._prior_terms(goal, state, config, slopes=slopes)

    def _prior_terms(
        self, goal: NormalizedTargets, state: _State, config: FitConfig, *, slopes: bool
    ) -> Iterator[Term]:
        n_bodies, n_theta = len(state.betas_BK), 3 * _N_TURNS
        n_betas = self._skeleton.n_betas
        n_params = n_theta + n_betas + 3

        def padded(rows_MQ: Tensor, first: int) -> Tensor | None:
            if not slopes:
                return None
            slope = rows_MQ.new_zeros(*rows_MQ.shape[:-1], n_params)
            slope[..., first : first + rows_MQ.shape[-1]] = rows_MQ
            return slope.expand(n_bodies, -1, -1)

        if config.start is not None and goal.start is not None:
            turn, by_turn = goal.start.root_residual(state.root_B33, config.start)
            yield Term(residual_BM=turn, slope_BMP=padded(by_turn, 0))
            bend, by_theta = goal.start.pose_residual(
                state.theta_BJ3, self._whitening, config.start
            )
            yield Term(residual_BM=bend, slope_BMP=padded(by_theta, 3))
            identity = torch.eye(n_betas).to(state.betas_BK) / config.start.betas
            yield Term(
                residual_BM=(state.betas_BK - goal.start.betas_BK) / config.start.betas,
                slope_BMP=padded(identity, n_theta),
            )
        if config.pose_weight:
            weight = math.sqrt(config.pose_weight)
            difference = (state.theta_BJ3 - self._mean).flatten(1)
            yield Term(
                residual_BM=weight * difference @ self._whitening.T,
                slope_BMP=padded(weight * self._whitening, 3),
            )
        if config.shape_weight:
            weight = math.sqrt(config.shape_weight)
            identity = torch.eye(n_betas).to(state.betas_BK)
            yield Term(
                residual_BM=weight * state.betas_BK, slope_BMP=padded(weight * identity, n_theta)
            )
        beyond = (state.theta_BJ3 - self._upper).clamp(min=0) + (
            state.theta_BJ3 - self._lower
        ).clamp(max=0)
        active = (beyond.flatten(1) != 0).to(beyond) / config.limit_rad
        yield Term(
            residual_BM=beyond.flatten(1) / config.limit_rad,
            slope_BMP=padded(torch.diag_embed(active), 3),
        )

    def _turns_by_parameters(self, frames: Frames, state: _State) -> Tensor:
        """Return derivatives (B, J, 3, 3) of global joint rotations by their parameters."""
        parents = list(SMPL_PARENTS[1:])
        # The left Jacobian of the exponential map: Q(θ) with d exp(θ) = [Q dθ]× exp(θ).
        below = frames.rot_BJ33[:, parents] @ left_jacobian(state.theta_BJ3)
        root = torch.eye(3).to(below).expand(len(below), 1, 3, 3)
        return torch.cat([root, below], 1)

    def _seen(
        self, model: PointModel, frames: Frames, state: _State, turns_BJ33: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return points (B, N, 3) in the targets' frame and their derivative (B, N, 3, P)."""
        if turns_BJ33 is None:
            return model.at(frames, state.betas_BK) + state.transl_B3[:, None], None
        points: Points = model.points(frames, state.betas_BK)
        by_theta = torch.einsum("bncjd,bjde->bncje", points.by_turn_BN3J3, turns_BJ33).flatten(3)
        n_bodies, n_points = by_theta.shape[:2]
        by_transl = torch.eye(3).to(by_theta).expand(n_bodies, n_points, 3, 3)
        slope = torch.cat([by_theta, points.by_beta_BN3K, by_transl], -1)
        return points.at_BN3_mm + state.transl_B3[:, None], slope

    def _outlines(self, goal: NormalizedTargets, state: _State) -> Silhouette | None:
        """Match skin and outline at this pose."""
        if not goal.outlines or goal.camera_B4 is None:
            return None
        if self._skin is None:
            self._skin = PointModel.vertices(
                self._body, self._skeleton, _spread_vertices(self._body)
            )
        skin = self._skin.at(self._frames(state), state.betas_BK) + state.transl_B3[:, None]
        return matches(skin, goal.camera_B4, goal.outlines)


def _joint_terms(
    goal: NormalizedTargets, config: FitConfig, at_BN3: Tensor, slope_BN3P: Tensor | None
) -> Iterator[Term]:
    """Build the terms of 3D joints: their arrangement, and their common translation."""
    assert goal.joints_BN3 is not None
    weight = goal.weight_BN
    total = weight.sum(1).clamp(min=1e-12)
    difference = at_BN3 - goal.joints_BN3
    place = mean_point(difference, weight)
    axes = torch.tensor([config.joint_mm, config.joint_mm, config.depth_mm or config.joint_mm])
    scale = weight.sqrt()[..., None] / axes.to(weight)
    together = total.sqrt()[:, None] / axes.to(weight)
    if config.place_mm is not None:
        together = ((total / N_JOINTS).sqrt() / config.place_mm)[:, None].expand(-1, 3)
    apart_slope = place_slope = None
    if slope_BN3P is not None:
        mean_slope = torch.einsum("bn,bncp->bcp", weight / total[:, None], slope_BN3P)
        apart_slope = (scale[..., None] * (slope_BN3P - mean_slope[:, None])).flatten(1, 2)
        place_slope = together[..., None] * mean_slope
    yield Term(residual_BM=(scale * (difference - place)).flatten(1), slope_BMP=apart_slope)
    yield Term(residual_BM=together * place[:, 0], slope_BMP=place_slope)


def _image_term(
    goal: NormalizedTargets, config: FitConfig, at_BN3: Tensor, slope_BN3P: Tensor | None
) -> Term:
    """Build the robust term of 2D joints."""
    assert goal.joints2d_BN2 is not None
    assert goal.camera_B4 is not None
    pixels, by_point = project(at_BN3, goal.camera_B4)
    trust = goal.weight2d_BN.sqrt() * (at_BN3[..., 2] > _NEAREST_MM).to(pixels)
    scale = (trust / (config.joint_px * goal.unit_B_px[:, None]))[..., None]
    slope = None
    if slope_BN3P is not None:
        slope = (by_point @ slope_BN3P * scale[..., None]).flatten(1, 2)
    return Term(
        residual_BM=(scale * (pixels - goal.joints2d_BN2)).flatten(1),
        slope_BMP=slope,
        cut=config.outlier_px / config.joint_px,
    )


def _spread_vertices(body: BodyModel, count: int = 250) -> list[int]:
    """Choose vertices that cover the skin evenly (farthest-point sampling)."""
    skin = body.v_template_V3
    chosen = [0]
    distance = (skin - skin[0]).norm(dim=-1)
    for _ in range(min(count, len(skin)) - 1):
        farthest = int(distance.argmax())
        chosen.append(farthest)
        distance = torch.minimum(distance, (skin - skin[farthest]).norm(dim=-1))
    return chosen

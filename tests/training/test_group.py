"""What the processes of a run agree on, without starting any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hemlets.core.errors import TrainingError
from hemlets.training.group import Group, with_global_statistics


@dataclass(frozen=True)
class _Beside(Group):
    """The first of two processes, the other of which says something else."""

    other: Any = None

    def all_gather(self, value: Any) -> list[Any]:
        return [value, self.other]


def test_a_process_that_reads_other_files_is_named_with_what_is_other() -> None:
    mine = {"settings": "a", "annotations": "b", "step": 8}
    _Beside(size=2, other=dict(mine)).agree(mine, where=Path("out"))
    with pytest.raises(TrainingError, match="annotations: 'b' in process 0, 'c' in") as caught:
        _Beside(size=2, other=mine | {"annotations": "c"}).agree(mine, where=Path("out"))
    assert "shared folder" in str(caught.value.remedy)


def test_one_process_agrees_with_itself_and_ends_when_asked_to() -> None:
    group = Group(signals=[15])
    group.agree({"step": 1}, where=Path("out"))
    assert group.stop_requested()
    assert not Group().stop_requested()
    with pytest.raises(SystemExit) as ended:
        group.end()
    assert ended.value.code == 75


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    norms = nn.BatchNorm2d(4), nn.BatchNorm2d(4, eps=1e-3, momentum=0.01)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), norms[0], nn.ReLU(), nn.Sequential(norms[1]))
    network(torch.randn(8, 3, 5, 5))
    norms[0].eval()
    return network


def test_statistics_of_all_processes_change_no_name_no_weight_and_nothing_frozen() -> None:
    plain, network = _network(), _network()
    parameters = list(network.parameters())
    shared = with_global_statistics(network)
    norms = [m for m in shared.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert [norm.training for norm in norms] == [False, True]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in shared.modules())
    # The optimiser and the average hold these very tensors.
    assert all(a is b for a, b in zip(shared.parameters(), parameters, strict=True))
    assert shared is network
    states = shared.state_dict(), plain.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    image = torch.randn(2, 3, 5, 5)
    assert torch.equal(shared.eval()(image), plain.eval()(image))


@pytest.mark.parametrize(
    ("group", "shares"),
    [
        (Group(), False),
        (Group(size=2), False),
        (Group(size=2, device=torch.device("cuda", 0)), True),
        (Group(size=1, device=torch.device("cuda", 0)), False),
    ],
)
def test_several_processes_on_gpus_share_their_statistics(
    group: Group, shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nn.parallel, "DistributedDataParallel", lambda module, **_: module)
    network = group.parallel(_network())
    assert any(isinstance(m, nn.SyncBatchNorm) for m in network.modules()) == shares

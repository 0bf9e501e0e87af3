"""Two workers whose features differ by a bit keep the same tokens."""

import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from stsprune.serving.agree import agreed


class Group:
    """As much of vLLM's group of workers as is used."""

    world_size, rank_in_group = 2, 0

    def broadcast(self, tensor, src):
        dist.broadcast(tensor, src)
        return tensor


def work(rank, store, found):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    group = Group()
    group.rank_in_group = rank
    calls = []

    def choose():
        calls.append(rank)
        return [torch.tensor([0, 3, 7]) + rank, torch.tensor([1, 2]) + rank]

    kept = agreed(choose, [3, 2], group, torch.device("cpu"))
    found[rank] = ([one.tolist() for one in kept], len(calls))
    dist.destroy_process_group()


def test_the_first_worker_chooses_for_all(tmp_path):
    with processes.Manager() as manager:
        found = manager.dict()
        processes.spawn(work, (str(tmp_path / "store"), found), 2)
        assert found[0] == ([[0, 3, 7], [1, 2]], 1)
        assert found[1] == ([[0, 3, 7], [1, 2]], 0)


def test_a_worker_alone():
    group = Group()
    group.world_size = 1
    kept = agreed(lambda: [torch.tensor([4])], [1], group, torch.device("cpu"))
    assert kept[0].tolist() == [4]

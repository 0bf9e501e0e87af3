"""What makes a host wait for its GPU, found without one."""

from torch.utils._python_dispatch import TorchDispatchMode


class Waits(TorchDispatchMode):
    """Fails on operations that make the host wait for a GPU."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        assert name not in {"_local_scalar_dense", "nonzero", "item", "equal", "masked_select"}
        return function(*args, **(kwargs or {}))

"""The devices that a training asks for, before it begins."""

import torch


def check_device(device: str, devices: int = 1) -> None:
    """Raise ValueError unless this machine has `device`, and so many of them if these are GPUs."""
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not has.get(device, True):
        raise ValueError(
            f"device={device!r}: this machine has none that torch can use; give 'cpu', or 'auto'"
            " for the best that there is"
        )
    if device == "auto":
        device = next((name for name, is_there in has.items() if is_there), "cpu")
    count = {"cuda": torch.cuda.device_count(), "mps": 1}.get(device, devices)
    if devices > count:
        raise ValueError(f"devices={devices}: this machine has {count} for device={device!r}")

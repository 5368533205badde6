"""Products in bf16, where they are worth it."""

import torch


def fast_products(device: torch.device | None = None) -> torch.autocast:
    """A context for forward passes of training; weights and their updates stay in float32.

    A GPU multiplies bf16 many times as fast, a processor that can twice; on one that would imitate it nothing changes.
    """
    if device is not None and device.type != "cpu":
        return torch.autocast(device.type, torch.bfloat16)
    return torch.autocast("cpu", torch.bfloat16, enabled=processor_has_bf16())


def processor_has_bf16() -> bool:
    """Whether this machine's processor multiplies bf16; others imitate it, which takes many times as long as fp32."""
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))

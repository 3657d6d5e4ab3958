"""The published rates and memories of the devices that can be compiled for; estimates of a step take them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

GIGA, TERA = 1e9, 1e12


@dataclasses.dataclass(frozen=True)
class DeviceRates:
    """The published rates of one device: bytes, FLOP/s (two for a multiply-add), bytes/s in one direction.

    `float32` and `tensorfloat32` are rates of products at that precision; a TPU makes them of six and three products
    in bfloat16. `link` is what a device sends to its neighbors over one axis of the mesh, `network` to other hosts.
    """

    description: str
    memory: float
    bandwidth: float
    bfloat16: float
    tensorfloat32: float
    float32: float
    link: float
    network: float = 0.0
    source: str = ''

    def flops(self, dtype: str, precision: str) -> float:
        """Return the FLOP/s of products of numbers of that dtype, at the precision of config.model.matmul_precision."""
        return self.bfloat16 if dtype == 'bfloat16' else getattr(self, precision)


def _tpu_rates(description: str, memory: float, bandwidth: float, bfloat16: float, link: float) -> DeviceRates:
    rates = bfloat16 * TERA, bfloat16 * TERA / 3, bfloat16 * TERA / 6
    source = 'cloud.google.com/tpu/docs: interconnect of a chip divided by its links'
    return DeviceRates(description, memory * GIGA, bandwidth * GIGA, *rates, link * GIGA, source=source)


_HOPPER = {'bfloat16': 989.4 * TERA, 'tensorfloat32': 494.7 * TERA, 'float32': 66.9 * TERA}
_HOPPER_LINKS = {'link': 450 * GIGA, 'network': 50 * GIGA, 'source': 'NVIDIA data sheet, SXM5; network 400 Gb/s a GPU'}
RATES: Mapping[str, DeviceRates] = {
    'tpu:v4': _tpu_rates('TPU v4', 32, 1228, 275, 50),
    'tpu:v5e': _tpu_rates('TPU v5e', 16, 819, 197, 50),
    'tpu:v5p': _tpu_rates('TPU v5p', 95, 2765, 459, 100),
    'tpu:v6e': _tpu_rates('TPU v6e', 32, 1640, 918, 112),
    'cuda:h100': DeviceRates('NVIDIA H100 80GB HBM3', 80e9, 3352 * GIGA, **_HOPPER, **_HOPPER_LINKS),
    'cuda:h200': DeviceRates('NVIDIA H200', 141e9, 4800 * GIGA, **_HOPPER, **_HOPPER_LINKS),
}

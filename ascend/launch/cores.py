"""Which cores the process of a device should keep to: its share of those near its card (the same memory node)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

HUAWEI, ACCELERATOR = "0x19e5", "0x12"
"""PCI vendor, and first byte of the class of processing accelerators."""


def parse_list(text: str) -> list[int]:
    """`0-3,8` of a kernel's file as numbers."""
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def write_list(numbers: Sequence[int]) -> str:
    """The reverse of `parse_list`: consecutive numbers as a range."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def memory_nodes(system: Path = Path("/sys")) -> dict[int, list[int]]:
    """Cores of each memory (NUMA) node that has any; empty where the kernel does not tell."""
    found = {}
    for path in system.glob("devices/system/node/node[0-9]*/cpulist"):
        if cores := parse_list(path.read_text()):
            found[int(path.parent.name.removeprefix("node"))] = cores
    return dict(sorted(found.items()))


def card_nodes(system: Path = Path("/sys")) -> list[int]:
    """Memory node of each Ascend card, in the order of PCI addresses, which is that of /dev/davinci0 ...; -1: not told.

    (A 910C has two devices behind one card and then one entry for each that PCI shows.)
    """
    found = []
    for device in sorted(system.glob("bus/pci/devices/*")):
        vendor, kind = (_read(device / name) for name in ("vendor", "class"))
        if vendor == HUAWEI and kind.startswith(ACCELERATOR):
            found.append(int(_read(device / "numa_node") or -1))
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def bind(devices: Sequence[int], allowed: set[int], system: Path = Path("/sys")) -> dict[str, list[str]]:
    """msrun's `--bind_core`: for every device, by its physical number, a list with one range of cores.

    Devices of one memory node share its cores out evenly. Where cards do not say where they hang, devices are spread
    over the nodes in their order.

    Args:
        devices: physical numbers, ascending.
        allowed: cores that this process may use.

    Returns:
        Empty where there are fewer cores than devices, so that binding could only hurt.
    """
    nodes = {node: [core for core in cores if core in allowed] for node, cores in memory_nodes(system).items()}
    nodes = {node: cores for node, cores in nodes.items() if cores} or {0: sorted(allowed)}
    cards, order = card_nodes(system), list(nodes)
    homes: dict[int, list[int]] = {}
    for place, device in enumerate(devices):
        home = cards[device] if device < len(cards) else -1
        if home not in nodes:
            home = order[place * len(order) // len(devices)]
        homes.setdefault(home, []).append(device)
    bound = {}
    for home, tenants in homes.items():
        cores = nodes[home]
        if len(cores) < len(tenants):
            return {}
        for place, device in enumerate(tenants):
            part = cores[place * len(cores) // len(tenants) : (place + 1) * len(cores) // len(tenants)]
            bound[device] = [write_list(part)]
    return {f"device{device}": bound[device] for device in devices}


def allowed_cores() -> set[int]:
    """Cores that this process may use."""
    return os.sched_getaffinity(0)


def physical_devices(count: int, visible: str | None) -> list[int]:
    """Numbers of the devices that local processes 0 .. count - 1 get, as msrun reads ASCEND_RT_VISIBLE_DEVICES."""
    named = sorted(int(part) for part in (visible or "").split(",") if part.strip().isdigit())
    return named[:count] if named else list(range(count))

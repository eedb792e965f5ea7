"""Each device's process gets cores of the memory node that its card hangs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from ms_plm_ascend.launch.cores import bind, card_nodes, memory_nodes, parse_list, physical_devices, write_list


def machine(root: Path, nodes: dict[int, str], cards: list[int]) -> Path:
    """A /sys with memory nodes and Ascend cards, and a network card that is none."""
    for node, cores in nodes.items():
        folder = root / f"devices/system/node/node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(cores + "\n")
    devices = [("0x19e5", "0x120000", node) for node in cards] + [("0x15b3", "0x020000", 0)]
    for number, (vendor, kind, node) in enumerate(devices):
        folder = root / f"bus/pci/devices/0000:{number:02x}:00.0"
        folder.mkdir(parents=True)
        for name, value in (("vendor", vendor), ("class", kind), ("numa_node", str(node))):
            (folder / name).write_text(value + "\n")
    return root


@pytest.mark.parametrize(
    ("text", "numbers"), [("0-3,8", [0, 1, 2, 3, 8]), ("5", [5]), ("", []), ("0-1,4-5", [0, 1, 4, 5])]
)
def test_lists_of_cores_are_read_and_written(text: str, numbers: list[int]) -> None:
    assert parse_list(text + "\n") == numbers
    assert write_list(numbers) == text


def test_devices_share_the_cores_of_their_own_node(tmp_path: Path) -> None:
    system = machine(tmp_path, {0: "0-7", 1: "8-15"}, [1, 1, 0, 0])
    assert memory_nodes(system) == {0: list(range(8)), 1: list(range(8, 16))}
    assert card_nodes(system) == [1, 1, 0, 0]
    bound = bind([0, 1, 2, 3], set(range(16)), system)
    assert bound == {"device0": ["8-11"], "device1": ["12-15"], "device2": ["0-3"], "device3": ["4-7"]}


def test_cores_that_may_not_be_used_are_left_out(tmp_path: Path) -> None:
    system = machine(tmp_path, {0: "0-7", 1: "8-15"}, [0, 1])
    assert bind([0, 1], {1, 2, 5, 9, 10}, system) == {"device0": ["1-2,5"], "device1": ["9-10"]}


def test_cards_that_do_not_say_where_they_hang_are_spread_over_the_nodes(tmp_path: Path) -> None:
    system = machine(tmp_path, {0: "0-3", 1: "4-7"}, [-1, -1, -1, -1])
    bound = bind([0, 1, 2, 3], set(range(8)), system)
    assert bound == {"device0": ["0-1"], "device1": ["2-3"], "device2": ["4-5"], "device3": ["6-7"]}


def test_a_machine_without_nodes_shares_all_cores_out(tmp_path: Path) -> None:
    assert bind([0, 1], {0, 1, 2, 3}, tmp_path) == {"device0": ["0-1"], "device1": ["2-3"]}


def test_no_core_is_given_twice_and_none_is_empty(tmp_path: Path) -> None:
    system = machine(tmp_path, {0: "0-12", 1: "13-23", 2: "24-30"}, [0, 0, 0, 1, 1, 2, 2, 2])
    bound = bind(list(range(8)), set(range(31)), system)
    given = [core for (text,) in bound.values() for core in parse_list(text)]
    assert sorted(given) == list(range(31))
    assert all(text for (text,) in bound.values())


def test_with_fewer_cores_than_devices_nothing_is_bound(tmp_path: Path) -> None:
    assert bind([0, 1, 2], {0, 1}, tmp_path) == {}


def test_visible_devices_are_those_that_msrun_counts() -> None:
    assert physical_devices(2, None) == [0, 1]
    assert physical_devices(2, "6,4,5") == [4, 5]

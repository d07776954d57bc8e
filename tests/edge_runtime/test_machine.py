"""Machine: this one, and containers as trees of real files."""

import os

import pytest

from edge_runtime.machine import Machine

MIB = 1024 * 1024
MEMINFO = f"MemTotal: {4096 * 1024} kB\nMemFree: 1024 kB\nMemAvailable: {3072 * 1024} kB\n"


def tree(folder, **files):
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return folder


def test_this_machine():
    machine = Machine.detect()
    assert 1 <= machine.cores <= os.cpu_count()
    assert 0 < machine.available_bytes <= machine.memory_bytes


def test_without_groups_the_memory_is_the_systems(tmp_path):
    machine = Machine.detect(tree(tmp_path))
    assert (machine.memory_bytes, machine.available_bytes) == (4096 * MIB, 3072 * MIB)


def test_without_proc_the_total_comes_from_the_system(tmp_path):
    machine = Machine.detect(tmp_path)
    assert machine.memory_bytes == machine.available_bytes > 0


def test_version_2_takes_the_tightest_group(tmp_path):
    group = "sys/fs/cgroup/system.slice/nanoedge.service"
    machine = Machine.detect(
        tree(
            tmp_path,
            **{
                "proc/self/cgroup": "0::/system.slice/nanoedge.service",
                f"{group}/cpu.max": "max 100000",
                f"{group}/memory.max": "max",
                "sys/fs/cgroup/system.slice/cpu.max": "150000 100000",
                "sys/fs/cgroup/system.slice/memory.max": str(512 * MIB),
                "sys/fs/cgroup/system.slice/memory.current": str(200 * MIB),
                "sys/fs/cgroup/system.slice/memory.stat": f"anon 1\ninactive_file {100 * MIB}",
            },
        )
    )
    assert machine == Machine(cores=1, memory_bytes=512 * MIB, available_bytes=412 * MIB)


def test_version_1_in_a_container_whose_path_is_the_hosts(tmp_path):
    machine = Machine.detect(
        tree(
            tmp_path,
            **{
                "proc/self/cgroup": "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str(256 * MIB),
                "sys/fs/cgroup/memory/memory.usage_in_bytes": str(300 * MIB),
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
        )
    )
    assert machine == Machine(cores=1, memory_bytes=256 * MIB, available_bytes=0)


@pytest.mark.parametrize(("quota", "memory"), [("-1", str(2**63 - 4096)), ("max", "max")])
def test_no_limit_is_no_limit(tmp_path, quota, memory):
    files = {
        "proc/self/cgroup": "2:memory:/\n1:cpu:/",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": quota,
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": memory,
    }
    machine = Machine.detect(tree(tmp_path, **files))
    assert machine == Machine(
        cores=Machine.detect(tmp_path / "none").cores, memory_bytes=4096 * MIB, available_bytes=3072 * MIB
    )

#!/usr/bin/env python3
"""Boots one guest with each of several monitors in turn, and prints a table: time to user space, memory besides the guest's.

The rounds are interleaved, so that other load on the machine affects all monitors alike. Run it in the test host:
`./run bench [--rounds N]`. Under the emulator only proportions are meaningful, and only roughly: an exit costs more
there than on hardware.
"""
import argparse
import os
import pathlib
import re
import select
import statistics
import subprocess
import time

GUESTS = pathlib.Path("/var/lib/virtmicro-tests")
QEMU = "/opt/qemu/bin/qemu-system-x86_64"
MEMORY = 128  # MiB
LIMIT = 180  # seconds for one boot
CMDLINE = "console=ttyS0 quiet panic=-1"


def virtmicro(kernel, initrd):
    return ["/usr/libexec/virtmicro-vmm", "--kernel", kernel, "--initrd", initrd, "--cmdline", CMDLINE,
            "--memory", f"{MEMORY}M", "--rng"]


def qemu(machine, *devices):
    def command(kernel, initrd):
        return [QEMU, "-M", machine, "-accel", "kvm", "-cpu", "host", "-m", f"{MEMORY}M", "-nodefaults", "-nographic",
                "-no-reboot", "-serial", "stdio", *devices, "-kernel", kernel, "-initrd", initrd, "-append", CMDLINE]
    return command


MONITORS = {
    "virtmicro-vmm": virtmicro,
    "QEMU, microvm": qemu("microvm,pcie=on", "-device", "virtio-rng-pci"),
    "QEMU, q35": qemu("q35", "-device", "virtio-rng-pci"),
}


def wait_for_line(process, mark):
    """Reads its output up to a line with the mark; returns the seconds that took."""
    start, text = time.monotonic(), b""
    while mark not in text:
        left = start + LIMIT - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise TimeoutError(text[-500:])
        part = os.read(process.stdout.fileno(), 65536)
        if not part:
            raise EOFError(text[-500:])
        text += part
    return time.monotonic() - start


def memory_beside_guest(pid):
    """KiB of the process besides its guest, which is its largest mapping; shared pages count in proportion."""
    sizes = []
    for block in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", pathlib.Path(f"/proc/{pid}/smaps").read_text(), flags=re.M):
        size, pss = re.search(r"^Size: +(\d+)", block, re.M), re.search(r"^Pss: +(\d+)", block, re.M)
        if size and pss:
            sizes.append((int(size[1]), int(pss[1])))
    return sum(pss for _, pss in sizes) - max(sizes)[1]


def boot(command):
    """Seconds to user space, and KiB of memory then."""
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    try:
        return wait_for_line(process, b"init reached"), memory_beside_guest(process.pid)
    finally:
        process.kill()
        process.wait()


def report(results):
    print(f"{'':16} {'seconds to user space':>34} {'KiB on top of guest':>22}")
    print(f"{'':16} {'median':>12} {'least':>10} {'most':>10} {'median':>22}")
    for name, rows in results.items():
        if not rows:
            print(f"{name:16} {'did not boot':>12}")
            continue
        seconds, memory = zip(*rows)
        print(f"{name:16} {statistics.median(seconds):12.2f} {min(seconds):10.2f} {max(seconds):10.2f} "
              f"{statistics.median(memory):22.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kernel", default="6.12", choices=("6.1", "6.12"))
    options = parser.parse_args()
    results = {name: [] for name in MONITORS}
    for number in range(options.rounds):
        for name, monitor in MONITORS.items():
            command = monitor(GUESTS / f"vmlinuz-{options.kernel}", GUESTS / f"initrd-{options.kernel}.img")
            try:
                results[name].append(boot(command))
            except (EOFError, TimeoutError) as error:
                print(f"round {number + 1}: {name}: {error!r}")
    print(f"Linux {options.kernel}, one vCPU, {MEMORY} MiB, {options.rounds} rounds")
    report(results)


if __name__ == "__main__":
    main()

"""Peak resident memory of one call, run as a process of its own (Linux).

Prints by how many bytes the first call raised the peak above the loaded model's memory.
"""

import json
import sys
from pathlib import Path

import torch

from .subjects import Subject, Workload, change_model, load_model, make_call
from .timing import once


def resident(key: str) -> int:
    """A line of /proc/self/status, in bytes: VmRSS (now) or VmHWM (peak)."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(key + ':'):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def main() -> None:
    """Measure the subject and workload that the first argument names, as JSON."""
    order = json.loads(sys.argv[1])
    torch.set_num_threads(order['threads'])
    subject = Subject(**order['subject'])._replace(changes=frozenset(order['subject']['changes']))
    workload = Workload(**order['workload'])
    model = change_model(load_model(subject, workload), subject, workload)
    call = make_call(model, subject, workload)
    if 'compiled' in subject.changes:
        call()  # compiling takes memory of its own
    before = resident('VmRSS')
    Path('/proc/self/clear_refs').write_text('5')  # the peak is counted from here
    once(call, workload.device)
    print(resident('VmHWM') - before)


if __name__ == '__main__':
    main()

"""What GpusBench compares with: PyTorch's collectives over NCCL on the same GPUs, in the same run.

  nccl_baselines.py RANKS REPEATS ELEMENTS...

Prints one JSON object a line: {"torch": version, "nccl": version} and then, for each collective and
size, {"name": ..., "elements": ..., "seconds": median of the slowest rank}. As in GpusBench every
repeat begins together and ends when the device is done.
"""
import json
import os
import socket
import statistics
import sys
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def seconds(operation, repeats):
    times = []
    for i in range(repeats + 1):  # the first is for warming up
        dist.barrier()
        torch.cuda.synchronize()
        start = time.perf_counter()
        operation()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def rank(index, ranks, repeats, sizes, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.cuda.set_device(index)
    dist.init_process_group("nccl", rank=index, world_size=ranks)
    if index == 0:
        nccl = ".".join(map(str, torch.cuda.nccl.version()))
        print(json.dumps({"torch": torch.__version__, "nccl": nccl}), flush=True)
    for n in sizes:
        x = torch.ones(n, device="cuda")
        cases = {
            "all-reduce sum": lambda: dist.all_reduce(x),
            "all-reduce max": lambda: dist.all_reduce(x, op=dist.ReduceOp.MAX),
            "broadcast": lambda: dist.broadcast(x, ranks - 1),
        }
        if n % ranks == 0:
            y = torch.empty_like(x)
            part = torch.empty(n // ranks, device="cuda")
            cases["reduce-scatter"] = lambda: dist.reduce_scatter_tensor(part, x)
            cases["all-gather"] = lambda: dist.all_gather_into_tensor(x, part)
            cases["all-to-all"] = lambda: dist.all_to_all_single(y, x)
        for name, operation in cases.items():
            slowest = torch.tensor(seconds(operation, repeats), device="cuda", dtype=torch.float64)
            dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
            if index == 0:
                print(json.dumps({"name": name, "elements": n, "seconds": slowest.item()}), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks, repeats, *sizes = map(int, sys.argv[1:])
    mp.spawn(rank, args=(ranks, repeats, sizes, port), nprocs=ranks)

"""How CPU cores become devices. Imports nothing that uses jax's devices, so that it can run before they are fixed."""

import os
import socket
import time

import jax

from jaxrl.errors import InvalidArgument, UserError

CPU_FLAGS = (
    # XLA's own thread pool slows small work down; with one device a core, members are what runs in parallel.
    "--xla_cpu_multi_thread_eigen=false",
    "--xla_cpu_enable_concurrency_optimized_scheduler=false",
)


def join_processes(coordinator: str, processes: int | None, process: int | None, timeout: int = 300) -> None:
    """Joins the processes that train one population together; before jax's devices are used.

    Args:
        coordinator: ``host:port`` at which process 0 listens, or ``auto``: taken, like the next two, from the variables
            of SLURM, Open MPI, Kubernetes or a TPU pod.
        processes: how many there are.
        process: which one this is, from 0.
        timeout: seconds to wait for the others.

    Raises:
        InvalidArgument: for a number out of range.
        UserError: if the coordinator does not answer in time, or nothing tells where it is. (If it does and another
            process never comes, jax ends this one with a message of its own.)
    """
    if coordinator == "auto":
        where = {}
    else:
        check_address("coordinator", coordinator, "auto")
        if processes is None or processes < 1:
            raise InvalidArgument("num_processes", processes, "must be at least 1")
        if process is None or not 0 <= process < processes:
            raise InvalidArgument("process_id", process, f"must be within [0, {processes - 1}]")
        if process > 0:
            wait_until_reachable("coordinator", coordinator, timeout)
        where = {"coordinator_address": coordinator, "num_processes": processes, "process_id": process}
    try:
        jax.distributed.initialize(**where, initialization_timeout=timeout)
    except (RuntimeError, ValueError) as error:  # nothing tells where the coordinator is, or its port is taken
        reason = str(error).strip().splitlines()[0][:200]
        raise UserError(f"coordinator={coordinator!r}: there is none to join ({reason})") from error


def wait_until_reachable(argument: str, address: str, timeout: float) -> None:
    """Returns once something listens at ``host:port``.

    Libraries that would be asked instead abort the process or wait for minutes if nothing does.

    Raises:
        UserError: naming the argument, if nothing has answered after ``timeout`` seconds.
    """
    begun, (host, _, port) = time.monotonic(), address.rpartition(":")
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=max(1.0, timeout)).close()
            return
        except OSError as error:
            if time.monotonic() - begun > timeout:
                reason = error.strerror or error
                raise UserError(f"{argument}={address!r}: no answer within {timeout} s ({reason})") from error
            time.sleep(0.2)


def check_address(argument: str, address: str, others: str) -> None:
    """Raises InvalidArgument unless an address is ``host:port``."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit() and 0 < int(port) < 2**16):
        raise InvalidArgument(argument, address, f"must be host:port, such as 10.0.0.1:8476, or {others}")


def use_all_cores(cores: int | None = None, members: int | None = None) -> None:
    """Makes every CPU core a device, so that members are spread over the cores. Accelerators are left alone.

    Call it right after importing jaxrl: jax fixes its devices at their first use, and importing gymnax is one.

    Args:
        cores: how many devices; by default the cores this process may run on.
        members: how many will be trained, if that is known: there are no more devices then. XLA splits even tiny
            products between the threads it has, so that a single member is a third faster on a single one.

    Raises:
        InvalidArgument: for less than one core.
        UserError: if jax's devices are fixed already, to another number.
    """
    if cores is not None and cores < 1:
        raise InvalidArgument("cores", cores, "must be at least 1")
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if members is not None:
        cores = min(cores, max(1, members))
    flags = os.environ.get("XLA_FLAGS", "")
    missing = [flag for flag in CPU_FLAGS if flag.split("=")[0] not in flags]
    try:
        jax.config.update("jax_num_cpu_devices", cores)
    except RuntimeError as error:
        if jax.device_count() == cores:
            return
        raise UserError(
            "use_all_cores: jax has fixed its devices already; call it right after `import jaxrl`, before gymnax or an"
            " environment is imported"
        ) from error
    os.environ["XLA_FLAGS"] = " ".join([flags, *missing]).strip()
    # XLA takes the size of its thread pool from here when the devices are made; jax has no setting for it.
    before = os.environ.get("NPROC")
    os.environ["NPROC"] = str(cores)
    try:
        jax.devices()
    finally:
        if before is None:
            del os.environ["NPROC"]
        else:
            os.environ["NPROC"] = before

"""A real Slurm on this machine: munged, slurmctld and several slurmd.

They are processes of this user on the loopback address, without systemd, cgroups or
root. Debian's packages suffice (``.ci/slurm-install``). All files are in one folder,
which the environment of every process names. Its own name is short, since paths of
sockets have at most 107 characters.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "sinfo", "squeue")
# Debian installs daemons outside the PATH of normal users
SEARCH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"]
)
CONF = """
ClusterName=mgdask
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill,UsePss
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
SchedulerParameters=sched_interval=1,bf_interval=2,sched_min_interval=0,batch_sched_delay=0
KillWait=5
SlurmdTimeout=300
SlurmctldTimeout=300
MessageTimeout=20
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_absent() -> str:
    """Return why Slurm cannot be started; empty if it can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=SEARCH) is None]
    return (
        f"Slurm is not installed (no {', '.join(missing)}): run .ci/slurm-install"
        if missing
        else ""
    )


def wait_until(
    condition: Callable[[], object], what: str, seconds: float = 180.0, every: float = 0.1
) -> None:
    """Wait until a condition holds; ``AssertionError`` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(every)


class Slurm:
    """A Slurm that runs in a ``with`` block.

    Its nodes claim to have ``cores`` and ``memory`` MB, which the machine may lack. Its
    commands need ``environment``.
    """

    def __init__(self, nodes: int = 3, cores: int = 2, memory: int = 9000) -> None:
        self.nodes, self.cores, self.memory = nodes, cores, memory
        self.folder = Path(tempfile.mkdtemp(prefix="sl-", dir="/tmp"))
        self.environment = {
            **os.environ,
            "PATH": SEARCH,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Slurm:
        # munged requires that all can enter this folder and only its owner can write
        self.folder.chmod(0o711)
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start all daemons on free ports; earlier jobs are forgotten."""
        for attempt in range(3):  # another process may take a port meanwhile
            try:
                return self._start()
            except AssertionError:
                if attempt == 2:
                    raise
                self.stop()

    def _start(self) -> None:
        (self.folder / "jobs.txt").unlink(missing_ok=True)  # job numbers start at 1 again
        host, user = socket.gethostname().split(".")[0], pwd.getpwuid(os.getuid()).pw_name
        port, *ports = _free_ports(self.nodes + 1)
        lines = "\n".join(
            f"NodeName=node{k} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port} "
            f"CPUs={self.cores} RealMemory={self.memory}"
            for k, node_port in enumerate(ports)
        )
        conf = CONF.format(host=host, user=user, port=port, folder=self.folder, nodes=lines)
        (self.folder / "slurm.conf").write_text(conf)
        files = {name: self.folder / f"munge.{name}" for name in ("socket", "pid", "seed", "log")}
        self._spawn(
            "munged",
            "-F",
            f"--key-file={self.folder / 'munge.key'}",
            f"--socket={files['socket']}",
            f"--pid-file={files['pid']}",
            f"--seed-file={files['seed']}",
            f"--log-file={files['log']}",
        )
        self._wait(files["socket"].exists, "munged listens")
        self._spawn("slurmctld", "-D", "-c")
        for k in range(self.nodes):
            self._spawn("slurmd", "-D", "-N", f"node{k}")
        self._wait(lambda: self.states() == ["idle"] * self.nodes, "all nodes idle")

    def _spawn(self, program: str, *options: str) -> None:
        command = [str(shutil.which(program, path=SEARCH)), *options]
        if helper := shutil.which("setpriv"):  # a killed test run must leave no daemon
            command = [helper, "--pdeathsig", "TERM", *command]
        with open(self.folder / "output.log", "ab") as log:
            self._daemons.append(
                subprocess.Popen(
                    command,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def _wait(self, condition: Callable[[], object], what: str) -> None:
        def checked() -> object:
            ended = [process.args for process in self._daemons if process.poll() is not None]
            assert not ended, f"{ended} ended: {self.logs()}"
            return condition()

        wait_until(checked, f"{what}: {self.logs()}")

    def stop(self) -> None:
        """End all jobs, daemons and other processes of the site."""
        # without the daemons, scancel would wait for minutes
        if all(process.poll() is None for process in self._daemons):
            with suppress(subprocess.TimeoutExpired, AssertionError):
                self.cancel(*self.jobs())
                wait_until(lambda: not self.jobs(), "jobs end", 30)
        for process in reversed(self._daemons):
            process.terminate()
        for process in reversed(self._daemons):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._daemons.clear()
        while left := self.processes():
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=5)

    def cut_power(self, *clients: int) -> None:
        """Kill everything at once, with the given clients."""
        signal_all([*self.processes(), *map(psutil.Process, clients)])
        self.stop()

    def processes(self) -> list[psutil.Process]:
        """Return all processes of the site, without this one and its parents."""
        own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
        processes = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid in own or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                conf = process.environ().get("SLURM_CONF")
                if conf == self.environment["SLURM_CONF"] or self._has_open_file(process.pid):
                    processes.append(process)
        return processes

    def _has_open_file(self, pid: int) -> bool:
        # slurmstepd overwrites its environment, but keeps the log of its slurmd open
        with suppress(OSError):
            return any(
                os.readlink(link).startswith(f"{self.folder}/")
                for link in Path(f"/proc/{pid}/fd").iterdir()
            )
        return False

    def call(self, *command: str, timeout: float = 30.0) -> str:
        """Return what a command prints; empty if it fails, for example under load."""
        done = subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return done.stdout if done.returncode == 0 else ""

    def states(self) -> list[str]:
        """Return the state of each node."""
        return self.call("sinfo", "-h", "-N", "-o", "%T").split()

    def jobs(self, state: str = "") -> list[str]:
        """Return the ids of waiting and running jobs, or of those in ``state``."""
        return self.call("squeue", "-h", "-o", "%i", *(["-t", state] if state else [])).split()

    def cancel(self, *jobs: str) -> None:
        """Cancel jobs and kill their processes."""
        if jobs:
            self.call("scancel", "--signal=KILL", "--full", *jobs)
            self.call("scancel", *jobs)

    def ended(self) -> dict[str, str]:
        """Return the final states of ended jobs by id."""
        try:
            lines = (self.folder / "jobs.txt").read_text().splitlines()
        except FileNotFoundError:
            return {}
        jobs = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
        return {job["JobId"]: job.get("JobState", "") for job in jobs}

    def workers(self, job: str) -> list[psutil.Process]:
        """Return the processes of the Dask worker of a job, nanny first."""
        workers = []
        for process in self.processes():
            with suppress(psutil.Error):
                if process.environ().get("SLURM_JOB_ID") == job and "python" in process.name():
                    workers.append(process)
        return sorted(workers, key=lambda worker: worker.create_time())

    def logs(self) -> str:
        """Return the ends of all logs, for failure messages."""
        paths = [*self.folder.glob("*.log"), self.folder / "slurm.conf"]
        return "\n".join(
            f"{path.name}: {path.read_text(errors='replace')[-1500:]}"
            for path in paths
            if path.exists()
        )


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def signal_all(processes: list[psutil.Process], number: int = signal.SIGKILL) -> None:
    """Send a signal to processes; those that have ended are skipped."""
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)

"""A real Slurm on this machine: munged, slurmctld and several slurmd as plain processes of this user, loopback only.

Debian's packages do (``.ci/slurm-install``); no systemd, no cgroups, no root. Everything lies in one folder with a short
name, since paths of sockets may have 107 characters at most, and every process of the site has that folder in its environment.
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
# Debian keeps daemons where the PATH of a plain user does not look
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
    """What keeps Slurm from being started here, empty for nothing."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=SEARCH) is None]
    return f"Slurm is not here (no {', '.join(missing)}): run .ci/slurm-install" if missing else ""


def wait_until(
    true: Callable[[], object], what: str, seconds: float = 180.0, every: float = 0.1
) -> None:
    """Come back when ``true()``; ``AssertionError`` after so many seconds."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"after {seconds:g} s still not: {what}"
        time.sleep(every)


class Slurm:
    """``with Slurm() as slurm``: nodes of ``cores`` and ``memory`` MB, had or not; ``environment`` is what its commands need."""

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
        # munged wants the way to its socket open to all, and to be writable by nobody else
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
        """Start all daemons, on ports that are free now; jobs of before are forgotten."""
        for attempt in range(3):  # a port may be taken between here and there
            try:
                return self._start()
            except AssertionError:
                if attempt == 2:
                    raise
                self.stop()

    def _start(self) -> None:
        (self.folder / "jobs.txt").unlink(missing_ok=True)  # numbers begin at 1 again
        host, user = socket.gethostname().split(".")[0], pwd.getpwuid(os.getuid()).pw_name
        port, *ports = _free_ports(self.nodes + 1)
        lines = "\n".join(
            f"NodeName=node{k} NodeHostname={host} NodeAddr=127.0.0.1 Port={own} CPUs={self.cores} RealMemory={self.memory}"
            for k, own in enumerate(ports)
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
        if helper := shutil.which("setpriv"):  # a killed test run leaves no daemon behind
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

    def _wait(self, true: Callable[[], object], what: str) -> None:
        def seen() -> object:
            ended = [process.args for process in self._daemons if process.poll() is not None]
            assert not ended, f"{ended} ended: {self.logs()}"
            return true()

        wait_until(seen, f"{what}: {self.logs()}")

    def stop(self) -> None:
        """End all daemons and all jobs, and whatever else of this site lives."""
        if all(
            process.poll() is None for process in self._daemons
        ):  # without them scancel waits for minutes
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
            for one in left:
                with suppress(psutil.Error):
                    one.kill()
            psutil.wait_procs(left, timeout=5)

    def cut_power(self) -> None:
        """Everything ends at once, clients too, and without a word."""
        signal_all(self.processes())
        self.stop()

    def processes(self) -> list[psutil.Process]:
        """All processes of the site and of its jobs, but not this one and those it was started from."""
        mine = {os.getpid(), *(one.pid for one in psutil.Process().parents())}
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid in mine or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.environ().get("SLURM_CONF") == self.environment[
                    "SLURM_CONF"
                ] or self._writes(process.pid):
                    found.append(process)
        return found

    def _writes(self, pid: int) -> bool:
        # slurmstepd writes its title over its environment, but keeps the log of its slurmd open
        with suppress(OSError):
            return any(
                os.readlink(one).startswith(f"{self.folder}/")
                for one in Path(f"/proc/{pid}/fd").iterdir()
            )
        return False

    def call(self, *command: str, timeout: float = 30.0) -> str:
        """What a command such as squeue prints; empty if it fails, as it may while daemons are busy."""
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
        """The state of each node."""
        return self.call("sinfo", "-h", "-N", "-o", "%T").split()

    def jobs(self, state: str = "") -> list[str]:
        """Numbers of the jobs that wait or run, or are in ``state`` (RUNNING)."""
        return self.call("squeue", "-h", "-o", "%i", *(["-t", state] if state else [])).split()

    def cancel(self, *jobs: str) -> None:
        """End jobs: SIGKILL for their processes, and the jobs are over."""
        if jobs:
            self.call("scancel", "--signal=KILL", "--full", *jobs)
            self.call("scancel", *jobs)

    def ended(self) -> dict[str, str]:
        """Number and last state of the jobs that are over, from the log of finished jobs."""
        try:
            lines = (self.folder / "jobs.txt").read_text().splitlines()
        except FileNotFoundError:
            return {}
        words = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
        return {one["JobId"]: one.get("JobState", "") for one in words}

    def workers(self, job: str) -> list[psutil.Process]:
        """Processes that hold a dask worker of a job: nanny first."""
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                if process.environ().get("SLURM_JOB_ID") == job and "python" in process.name():
                    found.append(process)
        return sorted(found, key=lambda one: one.create_time())

    def logs(self) -> str:
        """The ends of all logs, for the message of a failure."""
        names = [*self.folder.glob("*.log"), self.folder / "slurm.conf"]
        return "\n".join(
            f"{name.name}: {name.read_text(errors='replace')[-1500:]}"
            for name in names
            if name.exists()
        )


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def signal_all(processes: list[psutil.Process], number: int = signal.SIGKILL) -> None:
    """One signal to each, whether it still lives or not."""
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)

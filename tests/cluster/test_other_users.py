"""Another user of the machine cannot run code, read pages or plant files."""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from pathlib import Path

import dask
import pytest

from mgdask import cluster
from mgdask.cluster.checks import find_scheduler
from mgdask.cluster.queue import with_certificate
from mgdask.cluster.tls import TRUSTED_NETWORK
from mgdask.errors import ParameterError, RunError
from mgdask.execution.client import resolve_client
from mgdask.execution.scratch import OWNER, PREFIX, scratch_folder
from tests.cluster.test_cluster import TIMEOUT, start_scheduler
from tests.forked import run

STRANGER = 65534
root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")

ATTACK = """
import asyncio, json, os, ssl, sys, urllib.error, urllib.request
from distributed import Client, Security
from distributed.core import rpc
from distributed.protocol.pickle import dumps
target = json.loads(sys.argv[1])
patience = target['patience']

class Forged(Security):
    "A certificate of the attacker, who accepts any scheduler."
    def get_connection_args(self, role):
        arguments = super().get_connection_args(role)
        arguments["ssl_context"].verify_mode = ssl.CERT_NONE
        return arguments

def security_for(scheme):
    return Forged.temporary() if scheme == "tls" else Security()

async def call(scheme, place, operation):
    security = security_for(scheme)
    arguments = security.get_connection_args("client")
    arguments.pop("require_encryption")
    async with rpc(f"{scheme}://{place}", connection_args=arguments, timeout=patience) as server:
        answer = await getattr(server, operation)(function=dumps(os.getuid))
    return answer["result"]

async def submit(scheme, place):
    options = {"security": security_for(scheme), "timeout": patience, "asynchronous": True}
    async with Client(f"{scheme}://{place}", **options) as client:
        return await client.submit(os.getuid)

async def outcome(name, attempt):
    try:
        return name, await asyncio.wait_for(attempt, 2 * patience)
    except Exception as error:
        reasons = []
        while error is not None:
            reasons.append(f"{type(error).__name__}: {error}")
            error = error.__cause__ or error.__context__
        return name, " < ".join(reasons)

async def main():
    attempts = []
    for scheme in target["schemes"]:
        for name, place in target["places"].items():
            operation = "run_function" if name == "scheduler" else "run"
            attempts.append(outcome(f"{name} {scheme}", call(scheme, place, operation)))
        attempts.append(outcome(f"client {scheme}", submit(scheme, target["places"]["scheduler"])))
    found = dict(await asyncio.gather(*attempts))
    for port in target["ports"]:
        for page in ("health", "metrics", "json/identity.json", "info/main/workers.html"):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5)
                found[f"{page} {port}"] = 200
            except urllib.error.HTTPError as error:
                found[f"{page} {port}"] = error.code
    for file in target["files"]:
        try:
            open(file).close()
            found[file] = "read"
        except OSError as error:
            found[file] = type(error).__name__
    print(json.dumps(found))

async def import_all():
    "The other user may not read the folder of the packages, and some are imported late."
    for scheme in ("tcp", "tls"):
        for attempt in (call(scheme, "127.0.0.1:9", "run"), submit(scheme, "127.0.0.1:9")):
            await outcome("", attempt)

full, patience = patience, 0.2
asyncio.run(import_all())
patience = full
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
asyncio.run(main())
"""


CHILD = """
import os, subprocess, sys
os.environ.pop("PYTHONSAFEPATH", None)  # of a command that this process was forked after
from mgdask.cli import main
try:
    main()
except SystemExit:
    subprocess.run([sys.executable, "-c", "import multiprocessing"])
"""


def attack(client, files=(), schemes=("tcp", "tls"), patience=4):
    """Try to run code at each port and to read each page and file, as another user."""
    info = client.scheduler_info()
    (worker,) = info["workers"].values()
    places = {"scheduler": info["address"]}
    ports = [info["services"]["dashboard"], worker["services"]["dashboard"]]
    if not info["address"].startswith("inproc"):
        places |= {"worker": client.submit(_address).result(), "nanny": worker["nanny"]}
    target = {
        "places": {name: place.partition("://")[2] for name, place in places.items()},
        "ports": ports,
        "schemes": schemes,
        "patience": patience,
        "files": [str(file) for file in files],
    }
    done = run(ATTACK, json.dumps(target))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _address():
    from distributed import get_worker

    return get_worker().address


@root_only
def test_another_user_cannot_run_code_on_a_local_cluster():
    with cluster.local_client(1) as client:
        found = attack(client)
        assert client.submit(os.getuid).result() == os.getuid()
    pages = {name: code for name, code in found.items() if name[-1].isdigit()}
    assert set(pages.values()) == {404}
    refused = [text for name, text in found.items() if name not in pages]
    assert len(refused) == 8  # scheduler, worker, nanny, client: tcp and tls
    for text in refused:
        assert re.search("Connection reset|SSL", str(text))


@root_only
def test_the_same_attack_runs_code_where_the_network_is_said_to_be_trusted(caplog):
    with cluster.open_cluster({"kind": "local", "workers": 1, "tls": "off"}) as client:
        found = attack(client, schemes=["tcp"], patience=TIMEOUT)
    for name in ("scheduler", "worker", "nanny", "client"):
        assert found[f"{name} tcp"] == os.getuid()
    assert TRUSTED_NETWORK in caplog.messages


@root_only
def test_another_user_reads_no_page_of_a_temporary_client():
    with resolve_client(threads=1) as client:
        found = attack(client)
    pages = {name: code for name, code in found.items() if name[-1].isdigit()}
    assert len(pages) == 8
    assert set(pages.values()) == {404}


@pytest.fixture
def shared():
    """A folder in which every user may create and remove files."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


def test_only_this_user_can_use_a_started_scheduler(shared):
    site, file = shared / "site.yaml", shared / "sched.json"
    site.write_text("kind: local\nworkers: 1\n")
    process = start_scheduler(site, file, shared)
    try:
        files = json.loads(file.read_text())["mgdask"]["tls"]
        folder = Path(files["key"]).parent
        assert folder.parent == shared
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(Path(path).stat().st_mode) for path in files.values()} == {0o600}
        with cluster.connect(str(file)) as client:
            client.wait_for_workers(1, timeout=TIMEOUT)
            address = client.scheduler.address
            if os.getuid() == 0:
                found = attack(client, [file, *files.values()], ["tls"])
                for name in ("scheduler", "worker", "nanny", "client"):
                    assert re.search("SSL", found[f"{name} tls"])
                assert {found[str(path)] for path in (file, *files.values())} == {"PermissionError"}
        with (
            pytest.raises(ParameterError, match="admits only holders of its key: give its sched"),
            cluster.connect(address),
        ):
            pass
        cluster.stop(file)
        assert process.wait(TIMEOUT) == 0
    finally:
        process.kill()
        process.wait()
    assert os.listdir(shared) == ["site.yaml"]


def test_what_a_killed_scheduler_left_is_removed(tmp_path):
    site, file = tmp_path / "site.yaml", tmp_path / "sched.json"
    site.write_text("kind: local\nworkers: 1\n")
    process = start_scheduler(site, file, tmp_path)
    process.kill()
    process.wait()
    with pytest.raises(RunError, match="is dead; the file was removed"):
        cluster.stop(file)
    assert os.listdir(tmp_path) == ["site.yaml"]


@root_only
def test_the_scheduler_file_of_another_user_is_refused(tmp_path):
    file = tmp_path / "sched.json"
    file.write_text(json.dumps({"address": "tcp://127.0.0.1:9"}))
    os.chown(file, STRANGER, STRANGER)
    with (
        pytest.raises(ParameterError, match=r"belongs to user 65534, .* could run code as you"),
        cluster.connect(str(file)),
    ):
        pass


def test_a_planted_link_is_not_followed(tmp_path):
    """Another user puts links and pipes of known names into a shared temporary folder."""
    own, shared = tmp_path / "own", tmp_path / "shared"
    own.mkdir()
    shared.mkdir()
    for name in (OWNER, "data"):
        (own / name).write_text(os.uname().nodename)
    (shared / f"{PREFIX}linked").symlink_to(own)
    trap = shared / f"{PREFIX}trap"
    trap.mkdir()
    (trap / OWNER).symlink_to(own / OWNER)
    pipe = shared / f"{PREFIX}pipe"
    pipe.mkdir()
    os.mkfifo(pipe / OWNER)
    with dask.config.set({"temporary-directory": str(shared)}), scratch_folder() as folder:
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert sorted(os.listdir(own)) == ["data", OWNER]
    assert trap.exists()


@pytest.mark.parametrize("command", ["--version", None])
def test_commands_import_nothing_from_the_working_directory(tmp_path, command):
    """Dask starts workers with ``python -c``, which imports from there first."""
    (tmp_path / "multiprocessing.py").write_text('open("planted", "w").close()')
    code = CHILD if command else CHILD.replace("main()", "sys.exit()")
    done = run(code, *filter(None, [command]), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "planted").exists() == (command is None)


def test_scheduler_files_of_earlier_versions_are_still_read(tmp_path):
    file = tmp_path / "sched.json"
    content = {"type": "Scheduler", "id": "a", "address": "tcp://127.0.0.1:9", "workers": {}}
    file.write_text(json.dumps(content | {"mgdask": {"host": "h", "pid": 1, "tls": None}}))
    assert find_scheduler(str(file)) == ("tcp://127.0.0.1:9", None)
    file.write_text(json.dumps(content))  # of dask itself
    assert find_scheduler(str(file)) == ("tcp://127.0.0.1:9", None)


def test_jobs_find_their_certificate_in_a_private_folder(tmp_path):
    site = {"kind": "slurm", "jobs": 1, "cores": 1, "memory": "1GiB", "walltime": "01:00:00"}
    site |= {"interface": "lo", "shared_directory": str(tmp_path / "shared")}
    with with_certificate(cluster.read_site(site)) as secured:
        key = Path(secured.tls_files.key)
        assert key.parents[1] == tmp_path / "shared"
        assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert f"--tls-key {key}" in cluster.job_script(secured)
    assert os.listdir(tmp_path / "shared") == []
    (tmp_path / "file").touch()
    site["shared_directory"] = str(tmp_path / "file")
    with (
        pytest.raises(RunError, match=r"cannot be written to .*file.* Set shared_directory in the"),
        with_certificate(cluster.read_site(site)),
    ):
        pass

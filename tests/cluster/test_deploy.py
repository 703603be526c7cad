"""The site files, batch scripts and container files of deploy/."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mgdask
from mgdask import cluster
from mgdask.pipelines.featurize import plan as plan_module
from mgdask.store.manifest import Manifest
from mgdask.store.progress import read_progress
from tests.cli.test_cli import SOAP, mgdask_command
from tests.pipelines.test_featurize import Stub, files

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SITES = sorted(DEPLOY.glob("*.yaml"))
SCRIPTS = sorted(DEPLOY.glob("*.sh"))
MARKS = {
    "slurm": "#SBATCH",
    "pbs": "#PBS",
    "lsf": "#BSUB",
    "sge": "#$ -",
    "htcondor": "RequestCpus",
    "oar": "#OAR",
}

RUN = """
import sys
if sys.argv[1] == "status":
    from mgdask.cli import main
    main()
import mgdask, signal
from mgdask.execution import executor as execute
from mgdask.pipelines.featurize import plan as plan_module
from tests.pipelines.test_featurize import Stub
plan_module.MAX_BLOCK = 2**12
mgdask.run(mgdask.plan(sys.argv[2], Stub(fault="slow"), out=sys.argv[3]), progress=False)
"""


def test_there_is_a_site_file_for_each_kind():
    assert {path.stem for path in SITES} == {"local", *MARKS}
    assert {"slurm_campaign.sh", "Dockerfile", "mgdask.def", "README.md"} <= {
        path.name for path in DEPLOY.iterdir()
    }


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_a_site_file_loads_and_makes_a_script(path):
    site = cluster.read_site(path)
    assert site.kind == path.stem
    text = (
        mgdask_command("cluster", "show", path).stdout
        if site.kind == "slurm"
        else cluster.job_script(site)
    )
    if site.kind == "local":
        assert "has no job script" in text
        return
    assert MARKS[site.kind] in text
    assert f"--nworkers {site.processes}" in text
    assert f"--interface {site.interface}" in text
    examples = 0
    for line in path.read_text().splitlines():  # examples in comments must be valid too
        if (
            line.startswith("# ")
            and ": " in line
            and line[2:].split(":")[0] in cluster.Site.model_fields
        ):
            key, _, rest = line[2:].partition(": ")
            given = "\n".join(
                known for known in path.read_text().splitlines() if not known.startswith(f"{key}:")
            )
            cluster.job_script(cluster.read_site(f"{given}\n{key}: {rest}"))
            examples += 1
    assert examples >= 1


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_batch_scripts_are_valid_bash(path):
    subprocess.run(["bash", "-n", str(path)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(path)], check=True)


def test_a_local_site_featurizes(glass_store, tmp_path):
    out = tmp_path / "features.zarr"
    words = ("featurize", glass_store, "--soap", SOAP, "--out", out)
    refused = mgdask_command(*words, "--cluster", DEPLOY / "local.yaml", "--workers", 1, ok=False)
    assert "exclude each other" in refused.stderr
    mgdask_command(*words, "--cluster", DEPLOY / "local.yaml")
    plain = tmp_path / "plain.zarr"
    soap = mgdask.SOAP(species=("Cu", "Zr"), r_cut=4, n_max=3, l_max=2, sigma=0.5, rbf="polynomial")
    mgdask.run(mgdask.plan(glass_store, soap, out=plain), progress=False)
    assert files(out) == files(plain)


def test_status_counts_blocks(glass_store, tmp_path, monkeypatch):
    assert str(read_progress(glass_store)).endswith("finished")
    monkeypatch.setattr(plan_module, "MAX_BLOCK", 2**12)
    out = tmp_path / "features.zarr"
    plan = mgdask.plan(glass_store, Stub(), out=out)
    mgdask.run(plan, progress=False)
    assert (
        mgdask_command("status", out).stdout
        == f"{len(plan.blocks)}/{len(plan.blocks)} blocks, finished\n"
    )
    manifest = Manifest(out)
    manifest.reopen()
    lines = (manifest.folder / "blocks.jsonl").read_text().splitlines(keepends=True)
    (manifest.folder / "blocks.jsonl").write_text("".join(lines[:-2]))
    done = mgdask_command("status", out, ok=False)
    assert (done.returncode, done.stdout) == (
        3,
        f"{len(plan.blocks) - 2}/{len(plan.blocks)} blocks\n",
    )
    assert mgdask_command("status", tmp_path / "none.zarr", ok=False).returncode == 1


@pytest.fixture
def campaign(tmp_path):
    """Function that starts a round of a campaign.

    It uses mgdask of this checkout, and an sbatch that only records its arguments.
    """
    (tmp_path / "run.py").write_text(RUN)
    for name, text in (
        ("mgdask", f'exec {sys.executable} "{tmp_path}/run.py" "$@"'),
        (
            "sbatch",
            f'printf "%s\\n" "$MGDASK_ROUND $*" >> "{tmp_path}/submitted"; [ ! -e "{tmp_path}/refuse" ]',
        ),
        ("scontrol", f'echo "   Command={DEPLOY}/slurm_campaign.sh one two"'),
    ):
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)

    def start(*words, **more):
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            **more,
        }
        return subprocess.Popen(
            ["bash", str(DEPLOY / "slurm_campaign.sh"), *map(str, words)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def submitted(folder):
    path = folder / "submitted"
    return path.read_text().splitlines() if path.exists() else []


def test_a_campaign_resubmits_itself_until_the_store_is_finished(campaign, glass_store, tmp_path):
    out = tmp_path / "features.zarr"
    words = (out, "mgdask", "featurize", glass_store, out)
    first = campaign(*words)
    for _ in range(2400):
        if len(Manifest(out).records()) >= 2:
            break
        assert first.poll() is None, first.stdout.read()
        time.sleep(0.05)
    first.send_signal(signal.SIGUSR1)  # what Slurm sends shortly before the walltime
    text, _ = first.communicate(timeout=120)
    assert first.returncode == 0, text
    assert "round 1 of at most 50, 0 blocks done" in text
    half = read_progress(out)
    assert 2 <= half.done < half.total
    assert submitted(tmp_path) == [
        f"2 --export=ALL {DEPLOY}/slurm_campaign.sh {out} mgdask featurize {glass_store} {out}"
    ]
    second = campaign(*words, MGDASK_ROUND="2")
    text, _ = second.communicate(timeout=120)
    assert second.returncode == 0, text
    assert f"round 2 of at most 50, {half.done} blocks done" in text
    assert "finished" in text
    assert read_progress(out).finished
    assert len(submitted(tmp_path)) == 1


@pytest.mark.slow
def test_a_campaign_stops_without_progress_or_when_cancelled(campaign, glass_store, tmp_path):
    out = tmp_path / "features.zarr"
    stuck = campaign(out, "bash", "-c", "exit 7")
    assert (
        "finished no block (the command ended with status 7): stopped"
        in stuck.communicate(timeout=120)[0]
    )
    assert stuck.returncode == 7
    idle = campaign(out, "true")
    assert "finished no block" in idle.communicate(timeout=120)[0]
    assert idle.returncode == 1
    cancelled = campaign(out, "sleep", "600")
    assert "round 1" in cancelled.stdout.readline()
    time.sleep(0.5)  # until the trap is set; an earlier TERM would also end it
    cancelled.terminate()
    cancelled.communicate(timeout=120)
    assert cancelled.returncode in (143, -signal.SIGTERM)
    assert submitted(tmp_path) == []
    # a store with blocks that is not finished
    shell = f"mkdir -p {out} && cp -r {glass_store}/. {out} && rm {out}/manifest/complete.json"
    last = campaign(out, "bash", "-c", shell, MGDASK_ROUND="3", MGDASK_ROUNDS="3")
    assert "the maximum of 3 rounds is reached" in last.communicate(timeout=120)[0]
    assert last.returncode == 75
    assert submitted(tmp_path) == []


def test_containers_copy_all_that_the_build_needs():
    docker = (DEPLOY / "Dockerfile").read_text()
    apptainer = (DEPLOY / "mgdask.def").read_text()
    for name in ("pyproject.toml", "README.md", "mgdask"):
        assert (ROOT / name).exists()
        assert name in next(
            line for line in docker.splitlines() if line.startswith("COPY") and name in line
        )
        assert f"    {name} /src/{name}" in apptainer
    extras = (ROOT / "pyproject.toml").read_text()
    assert "\nlearn = [" in extras
    for content in (docker, apptainer):
        assert "'/src[learn]'" in content

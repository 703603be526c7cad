"""Values of site files cannot add commands or options to a job script."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess

import pytest

from mgdask import cluster
from mgdask.cluster.checks import parse_bytes
from mgdask.cluster.jobs import private_job
from mgdask.cluster.queue import _cluster_class
from mgdask.cluster.site import _ALLOWED_KEYS
from mgdask.cluster.validation import quote, quote_command
from mgdask.errors import ParameterError

KINDS = ("slurm", "pbs", "lsf", "sge", "htcondor", "oar")
SITE = {"jobs": 1, "cores": 1, "memory": "1GiB", "walltime": "01:00:00", "interface": "lo"}
HOSTILE = (
    "a\nb",
    "a\n touch planted",
    "a b",
    "a; touch planted",
    "$(touch planted)",
    "`touch planted`",
    "a' ; touch planted; '",
    'a" ; touch planted; "',
    "a && touch planted",
    "a | touch planted",
    "a > planted",
    "a\0b",
    "a\rb",
    "a\x1b[2J",
    "-x",
    "'",
    '"',
    "\\",
    "$HOME",
    "*",
    "#",
)
OWN_SCRIPT = ("directives", "skip_directives", "prologue")
"""Keys of which each line is a line of the script that the user writes."""


def site_of(kind, **values):
    disk = {"disk": "1GB"} if kind == "htcondor" else {}
    return cluster.read_site({"kind": kind, **SITE, **disk, **values})


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Folder in which job scripts run; ``python`` there records its arguments."""
    folder = tmp_path / "node of mine"
    (folder / "tmp").mkdir(parents=True)
    python = folder / "python"
    python.write_text('#!/usr/bin/env bash\nprintf "%s\\0" "$@" > "$RECORD"\n')
    python.chmod(0o755)
    monkeypatch.setenv("RECORD", str(folder / "record"))
    monkeypatch.setenv("TMPDIR", str(folder / "tmp"))
    return folder


def shell_script(kind, text):
    """The lines that a shell runs on the node."""
    if kind != "htcondor":
        return text
    arguments = re.search(r'^Arguments = "-c (.*)"$', text, flags=re.M)[1].replace('""', '"')
    if arguments.startswith("'"):
        arguments = arguments[1:-1].replace("''", "'")
    return arguments


def run_job(kind, site, node):
    """Run the job script; return the arguments of Python."""
    (node / "record").unlink(missing_ok=True)
    text = shell_script(kind, cluster.job_script(site))
    subprocess.run(["bash", "-c", text], cwd=node, check=True, capture_output=True)
    return (node / "record").read_text().split("\0")[:-1]


def options(words):
    return [word for word in words if word.startswith("--")]


def attempts(kind, python, keys=frozenset()):
    """Sites with one hostile value each; refused ones must be refused in words."""
    for key in sorted(keys or _ALLOWED_KEYS[kind] - {"kind", *OWN_SCRIPT}):
        for value in HOSTILE:
            given = {"ca": value, "cert": value, "key": value} if key == "tls" else value
            if key == "python":
                given = f"{python} {value}"
            try:
                site = site_of(kind, **{"python": python, key: given})
            except ParameterError as error:
                if key not in str(error):
                    raise
                continue
            if key == "tls":  # the files must exist for a script
                site = site.model_copy(update={"tls": None})
            yield key, value, site


@pytest.mark.parametrize("kind", ["slurm", "htcondor"])
def test_a_hostile_value_of_any_key_is_refused_or_quoted(kind, node):
    python = shlex.quote(str(node / "python"))
    plain = options(run_job(kind, site_of(kind, python=python), node))
    accepted = set()
    few = {"local_directory"} if kind == "htcondor" else set()
    for key, value, site in attempts(kind, python, few):
        accepted.add(key)
        assert options(run_job(kind, site, node)) == plain, (key, value)
        assert not (node / "planted").exists(), (key, value)
    assert accepted <= {"local_directory", "shared_directory", "log_directory", "python", "tls"} | {
        "resource"  # which knows quotes
    }
    assert accepted == few or {"local_directory", "shared_directory", "python"} <= accepted


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_value_adds_no_line_to_a_job_script(kind):
    plain = cluster.job_script(site_of(kind)).count("\n")
    extra = {"slurm": 2, "pbs": 2, "lsf": 2, "sge": 2, "htcondor": 6, "oar": 0}[kind]
    for key, value, site in attempts(kind, "python"):
        lines = cluster.job_script(site).count("\n")
        allowed = {0}
        if key == "log_directory":
            allowed = {extra}
        elif key == "resource" and kind == "sge":
            allowed = {1}
        assert lines - plain in allowed, (key, value)


def test_words_are_quoted_and_the_environment_of_the_node_is_read(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me & you")
    monkeypatch.setenv("TMPDIR", "/local disk")
    for text, expected in {
        "~/a b": "/home/me & you/a b",
        "$TMPDIR/x;y": "/local disk/x;y",
        "${TMPDIR}x'y\"": "/local diskx'y\"",
        "/a$b c": "/a c",
        "$1$": "$1$",
        "~root": "~root",
        "*": "*",
    }.items():
        done = subprocess.run(["sh", "-c", f'printf "%s" {quote(text)}'], capture_output=True)
        assert done.stdout.decode() == expected
    command = quote_command("apptainer exec '/shared/my image.sif' python; rm")
    assert shlex.split(command) == ["apptainer", "exec", "/shared/my image.sif", "python;", "rm"]


def test_lines_of_the_own_script_stay_as_they_are(node):
    lines = ["module load x || true", 'export A="$(echo 1)"; echo "$A"']
    site = site_of("slurm", prologue=lines, directives=["--comment='a b'"])
    text = cluster.job_script(site)
    for line in (*lines, "#SBATCH --comment='a b'"):
        assert f"\n{line}\n" in text
    block = cluster.read_site({"kind": "slurm", **SITE, "prologue": "\n".join(lines)})
    assert block.prologue == tuple(lines)
    for key in OWN_SCRIPT:
        with pytest.raises(ParameterError, match=rf"{key}\.0: .* contains a line break or another"):
            site_of("slurm", **{key: ["a\0b"]})
    for key in ("directives", "skip_directives"):
        with pytest.raises(ParameterError, match=rf"{key}\.0: .* contains a line break"):
            site_of("slurm", **{key: ["--comment=a\ntouch planted"]})


def test_paths_with_spaces_reach_the_worker(node):
    python = shlex.quote(str(node / "python"))
    for kind in ("slurm", "htcondor"):
        shared = str(node / "it's shared")
        where = str(node / 'a "local" disk')
        site = site_of(kind, python=python, shared_directory=shared, local_directory=where)
        words = run_job(kind, site, node)
        assert words[words.index("--tls-key") + 1] == f"{shared}/TEMPORARY/key.pem"
        scratch = words[words.index("--local-directory") + 1]
        assert re.fullmatch(rf"{re.escape(where)}/mgdask-workers-\w{{10}}", scratch)
        assert os.listdir(where) == []  # removed at the end


def test_the_job_script_is_written_where_nobody_else_can_exchange_it():
    """The file of dask-jobqueue has a free name in /tmp for a moment."""
    job_class = private_job(_cluster_class("slurm").job_cls)
    job = job_class("tls://127.0.0.1:1", name="a", cores=1, memory="1GiB")
    with job.job_file() as name:
        folder = os.path.dirname(name)
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        assert open(name).read() == job.job_script()
    assert not os.path.exists(folder)


def test_old_values_are_still_read():
    site = site_of(
        "pbs",
        queue="workq,night@host",
        project="group/my-project.2",
        resource="select=1:ncpus=16:mem=64gb:model=rome",
        python="apptainer exec /shared/mgdask.sif python",
        local_directory="$TMPDIR",
        log_directory="~/logs/run-1",
        patience="0-12:00:00",
    )
    assert site.log_directory == os.path.expanduser("~/logs/run-1")
    assert 'mktemp -d "$TMPDIR"/mgdask-workers-' in cluster.job_script(site)
    oar = site_of("oar", resource="\"{cluster='a' and mem>64}\"/nodes=1/core=4")
    assert "mem>64" in cluster.job_script(oar)
    for size in ("-1GiB", "0", "1GiB; rm"):
        with pytest.raises(ParameterError, match="memory: "):
            site_of("slurm", memory=size)
    with pytest.raises(ParameterError, match="is not a command with arguments"):
        site_of("slurm", python="module load x && python")
    for text in ("2GiB x", "2 GiB; rm", "much", "-1GiB"):
        with pytest.raises(ParameterError, match="is not a size"):
            parse_bytes(text)
    assert parse_bytes("1.5 GB") == 1_500_000_000

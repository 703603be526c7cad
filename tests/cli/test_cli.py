"""The main commands as a user types them, their errors, and the demo."""

from __future__ import annotations

import pytest

import mgdask
from tests.conftest import GLASS
from tests.forked import COMMAND_LINE, run

SOAP = "r_cut=4,n_max=3,l_max=2,sigma=0.5,rbf=polynomial"


def mgdask_command(*words, ok=True, cwd=None):
    """Run the command line in a process of its own."""
    done = run(COMMAND_LINE, *words, cwd=cwd)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done


def test_ingest_inspect_plan_and_featurize(tmp_path):
    store, out = tmp_path / "glass.zarr", tmp_path / "features.zarr"
    done = mgdask_command(
        "ingest", GLASS, "--out", store, "--species", "Zr,Cu", "--timestep", 0.002, "--workers", 1
    )
    assert "8 frames of 2000 atoms" in done.stdout
    assert "uneven spacing" in done.stdout
    assert "Cu 1120 (56 %), Zr 880 (44 %)" in done.stdout
    assert "per second" not in done.stdout
    text = mgdask_command("inspect", store).stdout
    for word in (
        "frames",
        "2000",
        "Cu 1120 (56 %)",
        "orthogonal, constant",
        "ps",
        "8 x 2000 x 3",
        "audit",
    ):
        assert word in text
    plan = mgdask_command("plan", store, "--soap", SOAP, "--out", out, "--memory", "2GiB").stdout
    assert "0 done" in plan
    assert not out.exists()
    recipe = tmp_path / "features.yaml"
    recipe.write_text(
        "features:\n  - soap: {r_cut: 4, n_max: 3, l_max: 2, sigma: 0.5, rbf: polynomial}\n"
    )
    first = mgdask_command("featurize", store, "--soap", SOAP, "--out", out, "--workers", 2)
    assert "peak memory" in first.stdout
    again = mgdask_command("featurize", store, "--recipe", recipe, "--out", out, "--workers", 1)
    assert "were done before" in again.stdout
    assert mgdask.open_store(out).soap.shape == (8, 2000, 3 * (6 + 9 + 6))
    assert "63" in mgdask_command("inspect", out).stdout


def test_errors_are_one_message_on_stderr(tmp_path):
    (tmp_path / "a.yaml").write_text("features: [soap]\n")
    for words, message in (
        (("inspect", tmp_path / "none.zarr"), "is not a Zarr store"),
        (
            ("ingest", GLASS, "--out", tmp_path / "g.zarr", "--workers", 1),
            "species are never guessed",
        ),
        (
            (
                "ingest",
                tmp_path / "no*.dump",
                "--out",
                tmp_path / "g.zarr",
                "--species",
                "Cu",
                "--workers",
                1,
            ),
            "no file matches",
        ),
        (
            ("featurize", tmp_path / "none.zarr", "--soap", SOAP, "--out", tmp_path / "f"),
            "is not a Zarr store",
        ),
        (("ingest", GLASS), "Missing option '--out'"),
    ):
        done = mgdask_command(*words, ok=False)
        assert message in done.stderr
        # Dask may log the latter as it ends
        assert "Traceback" not in done.stderr or "during heartbeat" in done.stderr
        assert not done.stdout
    assert (
        "Traceback" in mgdask_command("inspect", tmp_path / "none.zarr", "--debug", ok=False).stderr
    )


def test_wrong_features_are_refused(glass_store, tmp_path):
    (tmp_path / "a.yaml").write_text("features: [soap]\n")
    out = tmp_path / "f.zarr"
    for words, message in (
        (("--soap", "r_cut=5,n_max=4,l_max=x,sigma=0.5"), "l_max='x'"),
        (("--soap", "r_cut=5,nmax=4"), "unknown option 'nmax'"),
        (("--recipe", tmp_path / "a.yaml"), "A recipe is 'features:'"),
        ((), "no feature is given"),
        (("--soap", SOAP, "--memory", "100MiB"), "The largest term is"),
        (("--soap", SOAP, "--centers", "Ni"), "no Ni in the store"),
    ):
        assert message in mgdask_command("plan", glass_store, "--out", out, *words, ok=False).stderr
    done = mgdask_command(
        "featurize",
        glass_store,
        "--soap",
        SOAP,
        "--out",
        out,
        "--scheduler",
        "nothere.json",
        ok=False,
    )
    assert "neither an address" in done.stderr
    assert "traceback" not in done.stderr.lower()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return folder, mgdask_command("demo", "--workers", 2, cwd=folder).stdout


def test_the_demo_runs_all_steps(demo):
    folder, text = demo
    picture = folder / "mgdask-demo" / "environments.png"
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert picture.stat().st_size > 50_000
    for word in (
        "1. ingest",
        "2. inspect",
        "3. plan",
        "4. featurize",
        "5. picture",
        "The same by hand",
    ):
        assert word in text


def test_the_commands_that_the_demo_prints_work(demo):
    folder, text = demo
    commands = [line.split()[1:] for line in text.splitlines() if line.startswith("  mgdask ")]
    assert [words[0] for words in commands] == ["ingest", "inspect", "plan", "featurize"]
    moved = [
        [
            word.replace("glass.zarr", "hand.zarr").replace("features.zarr", "hand-f.zarr")
            for word in words
        ]
        for words in commands
    ]
    for words in moved:
        mgdask_command(*words, cwd=folder)
    by_hand = mgdask.open_store(folder / "mgdask-demo" / "hand-f.zarr")
    assert (
        by_hand.soap[0].values
        == mgdask.open_store(folder / "mgdask-demo" / "features.zarr").soap[0].values
    ).all()

"""QS of several glasses: their distributions and intervals, and a study of several test glasses."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mgdask
from mgdask.errors import ParameterError
from mgdask.learn.evaluation.metrics import roc_auc
from mgdask.studies.results import POOLED, Results
from mgdask.studies.softness.data import prepare_glass
from mgdask.studies.softness.glasses import glass_spectrum, score_glass
from mgdask.studies.softness.options import SoftnessOptions
from mgdask.studies.softness.repeats import measured_ceiling
from mgdask.studies.softness.report import FIGURES
from mgdask.studies.softness.tables import ceiling_table
from mgdask.studies.softness.training import Softness, learn_softness
from mgdask.studies.softness.workflow import SoftnessStudy
from tests.studies.conftest import PLAIN, PNG


def test_distribution_by_numpy(rng):
    """Fig. 3f: std(QS) and the share of atoms with QS < 0.1."""
    qs = rng.beta(2, 3, 4000)
    qs[::7] = np.nan
    known = qs[np.isfinite(qs)]
    found = glass_spectrum("a", qs, np.arange(4000) // 50, n_resamples=400)
    assert found["atoms"] == len(known)
    for name, value in (
        ("mean", known.mean()),
        ("std", known.std()),
        ("hard", (known < 0.1).mean()),
        ("soft", (known > 0.7).mean()),
    ):
        assert found[name]["value"] == pytest.approx(value)
        assert found[name]["low"] < value < found[name]["high"]
    width = 0.02
    counts = [((known >= k * width) & (known < (k + 1) * width)).sum() for k in range(50)]
    np.testing.assert_allclose(found["density"], np.array(counts) / len(known) / width)


def test_intervals_are_those_of_independent_atoms(rng):
    """Closed forms: sqrt(p (1 - p) / n) for a share, sqrt((m4 - s^4) / n) / (2 s) for std."""
    qs = rng.random(6000)
    found = glass_spectrum("a", qs, np.arange(6000) // 60, n_resamples=1000)
    share, n = found["hard"]["value"], len(qs)
    assert found["hard"]["high"] - found["hard"]["low"] == pytest.approx(
        2 * 1.96 * np.sqrt(share * (1 - share) / n), rel=0.25
    )
    s = qs.std()
    fourth = ((qs - qs.mean()) ** 4).mean()
    assert found["std"]["high"] - found["std"]["low"] == pytest.approx(
        2 * 1.96 * np.sqrt((fourth - s**4) / n) / (2 * s), rel=0.25
    )


def test_no_hard_atom_is_not_certainly_none():
    found = glass_spectrum("a", np.full(100, 0.5), np.arange(100) // 10, n_resamples=50)
    assert found["hard"]["value"] == found["hard"]["low"] == 0.0
    z = 1.959964  # Wilson's upper end for no atoms of n: z^2 / (n + z^2)
    assert found["hard"]["high"] == pytest.approx(z**2 / (100 + z**2), rel=1e-6)


@pytest.fixture(scope="module")
def stores(half_stores):
    """Three pieces of a slab, two of them deformed, and one frame of the third."""
    left, right = half_stores
    folder = left.parent
    third = mgdask.open_store(right).isel(frame=[0])
    lines = ["ITEM: TIMESTEP", "0", "ITEM: NUMBER OF ATOMS", str(third.sizes["atom"])]
    lines += ["ITEM: BOX BOUNDS ff ff pp", "-60 120", "-60 120"]
    side = float(third["cell"].values[0, 2, 2])
    origin = float(third["origin"].values[0, 2])
    lines += [f"{origin} {origin + side}", "ITEM: ATOMS id type x y z"]
    kinds = {29: 1, 40: 2}
    position = third["position"].values[0] + np.array([3.0, 0.0, 0.0])
    for number, z, r in zip(
        third["atom_id"].values, third["species"].values, position, strict=True
    ):
        lines.append(f"{number} {kinds[int(z)]} {r[0]:.6f} {r[1]:.6f} {r[2]:.6f}")
    (folder / "still.dump").write_text("\n".join(lines) + "\n")
    mgdask.ingest(
        str(folder / "still.dump"), folder / "still.zarr", species=("Cu", "Zr"), timestep=0.002
    )
    return folder, left, right, folder / "still.zarr"


def test_an_undeformed_glass_needs_no_labels(stores, half_glasses, tmp_path):
    still, (a, b) = stores[-1], half_glasses
    found = learn_softness([a], b, **PLAIN)
    features = mgdask.feature_set("interstice", ("Cu", "Zr"))
    glass, qs = score_glass(still, tmp_path, found, features, margin=4.0, progress=False)
    # the same atoms, moved as a whole: the same QS
    np.testing.assert_allclose(qs, found.qs, atol=1e-6)
    assert glass.name == "still"
    leading = learn_softness([a], b, **{**PLAIN, "folds": 3, "n_features": 4}, qs="leading")
    assert leading.columns == leading.leading
    _, few = score_glass(still, tmp_path, leading, features, margin=4.0, progress=False)
    np.testing.assert_allclose(few, leading.leading_qs, atol=1e-6)
    # Wang & Jain, Methods: "the model is for the host (majority) atoms only"
    numbers = mgdask.open_store(still).species.values
    host = np.bincount(numbers).argmax()
    host_only = {"margin": 4.0, "species": ("host",), "progress": False}
    _, of_host = score_glass(still, tmp_path, found, features, **host_only)
    np.testing.assert_array_equal(of_host, np.where(numbers == host, qs, np.nan))
    with pytest.raises(
        ParameterError,
        match="has no column 'interstice/distance_voronoi_mean', which the score needs",
    ):
        score_glass(still, tmp_path, found, [mgdask.Interstice()], name="few", progress=False)
    with pytest.raises(ParameterError, match=r"none of the \d+ atoms is eligible"):
        score_glass(still, tmp_path, found, features, margin=500.0, progress=False)


@pytest.fixture(scope="module")
def study(stores):
    folder, left, right, still = stores
    # the train and two test glasses are quarters and a half: other atoms, so other scores
    pieces = quarters(folder, right)
    options = SoftnessOptions(
        train=[left],
        test=pieces,
        glasses=[still],
        repeats=[almost_again(folder)],
        out=folder / "study",
        margin=3.0,
        threshold=2.0,
        n_undersamples=2,
        num_boost_round=30,
        n_features=4,
        folds=2,
        qs="leading",
    )
    with pytest.MonkeyPatch.context() as patch:
        # figures are drawn in test_softness_report; ten of them take most of the time
        for name in FIGURES:
            patch.setitem(FIGURES, name, lambda _, path: path.write_bytes(PNG))
        return options, SoftnessStudy(options).run(progress=False)


def almost_again(folder):
    """The run "inner" with one atom moved by 0.001 Å in the last frame."""
    lines = (folder / "inner.dump").read_text().splitlines()
    words = lines[-1].split()
    words[2] = f"{float(words[2]) + 0.001:.6f}"
    path = folder / "inner_again.dump"
    path.write_text("\n".join([*lines[:-1], " ".join(words)]) + "\n")
    mgdask.ingest(str(path), folder / "inner_again.zarr", species=("Cu", "Zr"), timestep=0.002)
    return folder / "inner_again.zarr"


def quarters(folder, right):
    """The right half cut at its middle along x into two deformed glasses."""
    text = (folder / "right.dump").read_text().splitlines()
    n = int(text[3])
    frames = [text[k : k + 9 + n] for k in range(0, len(text), 9 + n)]
    x = np.array([float(line.split()[2]) for line in frames[0][9:]])
    stores = []
    for name, mask in (("inner", x < np.median(x)), ("outer", x >= np.median(x))):
        lines = []
        for frame in frames:
            head = frame[:9]
            head[3] = str(int(mask.sum()))
            lines += [*head, *(row for row, kept in zip(frame[9:], mask, strict=True) if kept)]
        (folder / f"{name}.dump").write_text("\n".join(lines) + "\n")
        store = folder / f"{name}.zarr"
        mgdask.ingest(str(folder / f"{name}.dump"), store, species=("Cu", "Zr"), timestep=0.002)
        stores.append(store)
    return stores


def written_for(options, name):
    folder = options.out / "softness" / ("" if name == "inner" else name)
    store = options.test[0].with_name(f"{name}.zarr")
    glass = prepare_glass(store, options.out, progress=False, **options.glass())
    return Softness.load(folder), glass, folder


@pytest.mark.slow
def test_pooled_scores_of_several_test_glasses(study):
    options, results = study
    value = {(one.model, one.test, one.name): one.value for one in results.metrics}
    parts = []
    for name in ("inner", "outer"):
        softness, glass, _ = written_for(options, name)
        x, y, atoms = glass.rows()
        columns = [glass.columns().index(one) for one in softness.columns]
        each = np.array([m.predict(x[:, columns]) for m in softness.models])
        assert value["softness", name, "roc_auc"] == pytest.approx(roc_auc(y, softness.qs[atoms]))
        single = np.mean([roc_auc(y, one) for one in each])
        assert value["softness", name, "roc_auc of single models"] == pytest.approx(single)
        parts.append((y, softness.qs[atoms], each))
    y = np.concatenate([part[0] for part in parts])
    qs, each = (np.concatenate([part[k] for part in parts], axis=-1) for k in (1, 2))
    assert value["softness", POOLED, "roc_auc"] == pytest.approx(roc_auc(y, qs))
    assert value["softness", POOLED, "recall"] == pytest.approx((qs[y] > 0.5).mean())
    single = np.mean([roc_auc(y, one) for one in each])
    assert value["softness", POOLED, "roc_auc of single models"] == pytest.approx(single)
    # QS is that of the leading columns, so both lines agree; all columns are beside it
    assert value["softness, leading columns", POOLED, "roc_auc"] == pytest.approx(roc_auc(y, qs))
    assert ("softness, all columns", "inner", "roc_auc") in value
    # the repeat is almost the run itself, so it predicts the same atoms
    written = json.loads((options.out / "softness" / "numbers.json").read_text())
    assert written["ceiling"]["auc"][0]["value"] == 1.0
    assert ("noise ceiling of repeated runs", "inner", "roc_auc") in value
    pooled = {one.name: one for one in results.metrics if one.test == POOLED}
    assert pooled["roc_auc"].low is not None


def test_page_of_several_test_glasses(study):
    options, results = study
    page = (options.out / "report.html").read_text()
    assert page.count("<img") == 10  # five figures per test glass
    assert "Quench-in softness of inner: Distribution of QS (Fig. 3)" in page
    assert "Quench-in softness of outer: Distribution of QS (Fig. 3)" in page
    assert "roc_auc of single models" in page
    assert "QS comes from the 4 leading columns" in page
    assert "nan" not in page[: page.index("<img")].lower()
    written = json.loads((options.out / "softness" / "numbers.json").read_text())
    assert [one["glass"] for one in written["glasses"]] == ["inner", "outer", "still"]
    assert [one["role"] for one in written["glasses"]] == ["test", "test", "other"]
    assert written["source"] == "leading"
    assert written["columns"] == 4
    for one in written["glasses"]:
        assert f"{one['std']['value']:.3f} [{one['std']['low']:.3f}" in page
    assert Results.read(options.out).options["qs"] == "leading"
    again = SoftnessStudy(options).run(progress=False)
    assert again.metrics == results.metrics  # resumed from what is written


def test_glasses_of_the_study_are_refused(study, stores):
    options, _ = study
    changed = options.model_copy(update={"glasses": (options.train[0],)})
    with pytest.raises(ParameterError, match="is already a glass of this study"):
        SoftnessStudy(changed).spectra([written_for(options, "inner")])
    # before anything is computed: it was found after the training
    new = changed.model_copy(update={"out": options.out.with_name("refused")})
    with pytest.raises(ParameterError, match="is already a glass of this study"):
        SoftnessStudy(new).run(progress=False)
    # a run that repeats itself would be a ceiling of 1
    for own in (options.test[0], options.glasses[0]):
        same = options.model_copy(update={"out": new.out, "repeats": (own,)})
        with pytest.raises(ParameterError, match="in `repeats` is already a glass of this study"):
            SoftnessStudy(same).run(progress=False)
    assert not list(new.out.glob("*-features.zarr"))


@pytest.fixture(scope="module")
def again(stores):
    """A second deformation of the right half: the same start, other places at the end."""
    folder, *_ = stores
    lines = (folder / "right.dump").read_text().splitlines()
    n = int(lines[3])
    rng = np.random.default_rng(3)
    for k in range(n + 18, 2 * n + 18):
        number, kind, *r = lines[k].split()[:5]
        noisy = np.array(r, dtype=float) + rng.normal(0, 0.15, 3)
        lines[k] = " ".join([number, kind, *map(str, noisy), *lines[k].split()[5:]])
    (folder / "again.dump").write_text("\n".join(lines) + "\n")
    store = folder / "again.zarr"
    mgdask.ingest(str(folder / "again.dump"), store, species=("Cu", "Zr"), timestep=0.002)
    return store


def test_ceiling_of_repeated_runs(stores, again, tmp_path):
    """Two runs from one start: the plastic atoms of each, ranked by D² of the other."""
    _, left, right, _ = stores
    glass = prepare_glass(right, tmp_path, margin=4.0, threshold=2.0, progress=False)
    found = measured_ceiling(glass, [again], tmp_path, n_resamples=50, progress=False)
    atoms = glass.rows()[2]
    second = mgdask.open_store(tmp_path / "again-d2min.zarr").nonaffine
    column = second.nonaffine_feature.values.tolist().index("d2min_sum")
    one, two = glass.d2min()[1][atoms], second.values[1][atoms, column]
    expected = np.mean([roc_auc(one > 2.0, two), roc_auc(two > 2.0, one)])
    assert found["n_runs"] == 2
    assert found["auc"][0]["value"] == pytest.approx(expected)
    assert 0.5 < expected < 1.0
    table = ceiling_table(found)
    assert table.rows[0][:2] == ("mean of 1 other run", f"{expected:.3f}")
    assert table.rows[-1][0] == "propensity, if beta-distributed"
    with pytest.raises(ParameterError, match="has other atoms than right"):
        measured_ceiling(glass, [left], tmp_path, progress=False)
    with pytest.raises(ParameterError, match="starts up to 3 Å away from right"):
        measured_ceiling(glass, [stores[3]], tmp_path, progress=False)


def test_options_that_do_not_fit(tmp_path):
    with pytest.raises(ParameterError, match="qs=leading needs n_features"):
        SoftnessOptions(train="a", test="b", out=tmp_path, qs="leading", n_features=0)

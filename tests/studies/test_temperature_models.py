"""Models of the temperature against scikit-learn, naive twins and closed forms."""

from functools import partial

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor

from mgdask.errors import ParameterError, StoreError
from mgdask.studies.temperature import baselines, likelihood, validation
from mgdask.studies.temperature.fitting import fewest_atoms
from mgdask.studies.temperature.model import fit_nearest, load_model, save_model
from tests.reference import thermometer

LEVELS = np.array([100.0, 500.0, 1000.0, 1300.0])
LAGS = np.array([5.0, 10.0, 20.0, 50.0, 100.0])


def motion(levels=LEVELS, n_atoms=40, seed=0):
    """lg[r² m] of caged and diffusing atoms of two species: height and slope follow T."""
    rng = np.random.default_rng(seed)
    temperature = np.repeat(levels, n_atoms)
    species = np.tile(np.array([29, 40]), len(temperature) // 2)
    height = np.log10(temperature / 100) + 0.2 * (species == 29)
    slope = temperature / 2000
    x = height[:, None] + slope[:, None] * np.log10(LAGS / 5)
    return x + rng.normal(0, 0.2, x.shape), temperature, species


@pytest.fixture(scope="module")
def train():
    return motion()


@pytest.fixture(scope="module")
def other():
    return motion(np.array([700.0]), 10, seed=1)


FITS = {
    "constant": baselines.fit_constant,
    "isotonic": baselines.fit_isotonic,
    "ridge": baselines.fit_ridge,
    "boosted": baselines.fit_boosted,
    "nearest": lambda *rows: fit_nearest(*rows, n_neighbors=5),
    "likelihood": lambda *rows: likelihood.fit_likelihood(*rows, lags=LAGS),
}


def test_nearest_equals_the_naive_twin(train, other):
    x, temperature, species = train
    found = fit_nearest(x, temperature, species, n_neighbors=7).predict(other[0], other[2])
    twin = thermometer.nearest_mean(x, temperature, species, other[0], other[2], 7)
    np.testing.assert_allclose(found, twin, rtol=1e-13)


def test_nearest_equals_scikit_learn_within_species(train, other):
    x, temperature, species = train
    found = fit_nearest(x, temperature, species, n_neighbors=5).predict(other[0], other[2])
    low, width = x.min(axis=0), np.ptp(x, axis=0)
    for z in (29, 40):
        twin = KNeighborsRegressor(5).fit(
            (x[species == z] - low) / width, temperature[species == z]
        )
        here = other[2] == z
        np.testing.assert_allclose(found[here], twin.predict((other[0][here] - low) / width))


def test_isotonic_equals_scikit_learn(train, other):
    x, temperature, species = train
    twin = IsotonicRegression(out_of_bounds="clip").fit(x.mean(axis=1), temperature)
    model = baselines.fit_isotonic(x, temperature, species)
    points = np.linspace(x.min() - 1, x.max() + 1, 200)
    found = model.predict(np.repeat(points[:, None], len(LAGS), axis=1), np.full(200, 29))
    np.testing.assert_allclose(found, twin.predict(points), rtol=1e-12)


def test_ridge_equals_scikit_learn_and_its_penalty_leaves_temperatures_out(train, other):
    x, temperature, species = train
    model = baselines.fit_ridge(x, temperature, species)
    columns = np.hstack([x, (species[:, None] == [29, 40]).astype(float)])
    columns = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    errors = []
    for penalty in baselines.PENALTIES:
        square = 0.0
        for t in LEVELS:
            keep = temperature != t
            twin = Ridge(penalty * keep.sum()).fit(columns[keep], temperature[keep])
            square += ((twin.predict(columns[~keep]) - t) ** 2).sum()
        errors.append(square)
    assert model.penalty == baselines.PENALTIES[np.argmin(errors)]
    twin = Ridge(model.penalty * len(x)).fit(columns, temperature)
    np.testing.assert_allclose(model.predict(x, species), twin.predict(columns), rtol=1e-9)


def test_description_is_a_least_squares_polynomial():
    x = np.random.default_rng(0).normal(size=(4, len(LAGS)))
    np.testing.assert_allclose(
        likelihood.described(x, LAGS), thermometer.shape_numbers(x, LAGS), rtol=1e-9
    )


def test_likelihood_equals_the_naive_posterior(train, other):
    x, temperature, species = train
    model = likelihood.fit_likelihood(x, temperature, species, lags=LAGS, scale="linear")
    found = model.infer(other[0][:6], other[2][:6])
    for k in range(6):
        mine = species == other[2][k]
        mean, deviation = thermometer.posterior(
            other[0][k], LAGS, x[mine], temperature[mine], likelihood.STEP
        )
        np.testing.assert_allclose(
            (found.mean[k], found.deviation[k]), (mean, deviation), rtol=1e-7
        )


def test_the_scale_is_chosen_without_the_temperature_left_out(train):
    x, temperature, species = train
    chosen = likelihood.fit_likelihood(x, temperature, species, lags=LAGS).scale
    errors = []
    for scale in likelihood.SCALES:
        fit = partial(likelihood.fit_likelihood, lags=LAGS, scale=scale)
        splits = validation.temperatures_left_out(temperature)
        predicted = validation.cross_predicted(fit, x, temperature, species, splits)
        errors.append(np.nanmean((predicted - temperature) ** 2))
    assert chosen == likelihood.SCALES[np.argmin(errors)]


def test_likelihood_finds_a_temperature_between_those_of_training(train):
    x, _, species = motion(np.array([700.0]), 400, seed=3)
    mean = likelihood.fit_likelihood(*train, lags=LAGS).predict(x, species).mean()
    assert mean == pytest.approx(700, abs=60)
    assert fit_nearest(*train, n_neighbors=5).predict(x, species).std() > 60


@pytest.mark.parametrize("name", FITS)
def test_a_saved_model_predicts_the_same_bits(name, train, other, tmp_path):
    model = FITS[name](*train)
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.name == model.name
    np.testing.assert_array_equal(
        again.predict(other[0], other[2]), model.predict(other[0], other[2])
    )


@pytest.mark.parametrize("name", [name for name in FITS if name != "constant"])
def test_unusable_rows_are_refused_in_words(name, train, other):
    model = FITS[name](*train)
    bad = other[0].copy()
    bad[3, 1] = -np.inf
    with pytest.raises(ParameterError, match=r"column 1 .* is -inf in row 3"):
        model.predict(bad, other[2])
    with pytest.raises(ParameterError, match="atoms of Ni were not in the training runs"):
        model.predict(other[0], np.full(len(other[0]), 28))
    with pytest.raises(ParameterError, match=r"matrix must be \(row, 5\)"):
        model.predict(other[0][:, :3], other[2])


@pytest.mark.parametrize("name", FITS)
def test_one_temperature_is_nothing_to_learn(name, train):
    x, temperature, species = train
    with pytest.raises(ParameterError, match="have the temperature 100 K"):
        FITS[name](x[:40], temperature[:40], species[:40])
    with pytest.raises(ParameterError, match="is unknown"):
        FITS[name](x, np.where(temperature == 100, np.nan, temperature), species)


def test_too_few_atoms_of_a_species_are_refused(train):
    x, temperature, species = train
    with pytest.raises(ParameterError, match=r"n_neighbors=81, but only 80 training atoms are Cu"):
        fit_nearest(x, temperature, species, n_neighbors=81)
    few = np.where(np.arange(len(species)) < 3, 28, species)
    with pytest.raises(ParameterError, match="only 3 atoms are Ni at 100 K"):
        likelihood.fit_likelihood(x, temperature, few, lags=LAGS)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no finished model"):
        load_model(tmp_path)


def test_temperatures_are_left_out_whole(train):
    _, temperature, _ = train
    inner = validation.temperatures_left_out(temperature)
    ends = validation.temperatures_left_out(temperature, ends=True)
    assert [np.unique(temperature[one.test]).tolist() for one in inner] == [[500], [1000]]
    assert [np.unique(temperature[one.test]).tolist() for one in ends] == [[100], [1300]]
    for one in inner + ends:
        assert not np.isin(temperature[one.train], temperature[one.test]).any()
        assert len(one.train) + len(one.test) == len(temperature)
    with pytest.raises(ParameterError, match="at least 3"):
        validation.temperatures_left_out(temperature[temperature < 600])


def test_folds_are_even_within_temperatures(train):
    _, temperature, _ = train
    fold = validation.atom_folds(temperature, 8, seed=0)
    for t in LEVELS:
        assert np.bincount(fold[temperature == t]).tolist() == [5] * 8
    (half,) = validation.half_splits(temperature, seed=0)
    assert len(half.train) == len(half.test) == 80
    everyone = np.sort(np.concatenate([one.test for one in validation.fold_splits(fold)]))
    assert everyone.tolist() == list(range(160))


def test_training_rows_are_spread_over_temperatures(train):
    _, temperature, _ = train
    rows = validation.spread(np.arange(160), temperature, 40)
    assert np.unique(temperature[rows], return_counts=True)[1].tolist() == [10] * 4
    assert validation.spread(np.arange(160), temperature, 160).tolist() == list(range(160))


def test_interval_of_the_error_is_that_of_its_standard_error():
    rng = np.random.default_rng(0)
    temperature = np.repeat([500.0, 1000.0], 2000)
    predicted = temperature + np.where(temperature == 500, 40.0, 80.0) * rng.normal(size=4000)
    found = validation.score(
        predicted, temperature, scheme="s", form="none", model="m", n_train=7, n_resamples=400
    )
    square = (predicted - temperature) ** 2
    parts = [square[temperature == t] for t in (500, 1000)]
    error = np.sqrt(sum(p.var() / len(p) for p in parts)) / 2  # of the mean square error
    middle = square.mean()
    assert found.rmse == pytest.approx(np.sqrt(middle))
    assert found.low == pytest.approx(np.sqrt(middle - 1.96 * error), rel=0.01)
    assert found.high == pytest.approx(np.sqrt(middle + 1.96 * error), rel=0.01)
    assert [one.rmse for one in found.temperatures] == pytest.approx([40, 80], rel=0.05)
    assert validation.Score.from_json(found.to_json()) == found


def test_table_has_every_model_in_both_forms(train):
    x, temperature, species = train
    splits = validation.temperatures_left_out(temperature)
    forms = {"none": x, "run": x - np.log10(temperature)[:, None]}
    fits = {name: FITS[name] for name in ("constant", "ridge")}
    rows = validation.validate(fits, forms, temperature, species, splits, validation.LEFT_OUT)
    assert [(row.form, row.model) for row in rows] == [
        (form, name) for form in ("run", "none") for name in fits
    ]
    by = {(row.form, row.model): row for row in rows}
    # the mean of 100, 1000, 1300 misses 500 by 300; that of 100, 500, 1300 misses 1000 by 366.7
    expected = np.sqrt((300**2 + (1000 - 1900 / 3) ** 2) / 2)
    assert by["none", "constant"].rmse == pytest.approx(expected)
    assert by["none", "ridge"].rmse < by["run", "ridge"].rmse < expected
    assert {(row.n_train, row.n_test) for row in rows} == {(120, 80)}


def test_every_species_is_drawn_if_species_alternate():
    # every 50th atom of a melted crystal would be of one species only
    temperature = np.repeat([300.0, 900.0], 5000)
    species = np.tile([29, 40], 5000)
    rows = validation.spread(np.arange(10_000), temperature, 200)
    assert np.bincount(temperature[rows] == 900).tolist() == [100, 100]
    assert np.bincount(species[rows])[[29, 40]].min() > 60
    np.testing.assert_array_equal(rows, validation.spread(np.arange(10_000), temperature, 200))
    assert (np.diff(rows) > 0).all()


def test_blocks_change_no_prediction(train, other, monkeypatch):
    x, temperature, species = train
    model = fit_nearest(x, temperature, species, n_neighbors=5)
    whole = model.predict(other[0], other[2])
    monkeypatch.setattr("mgdask.studies.temperature.model.BLOCK", 3)
    np.testing.assert_array_equal(model.predict(other[0], other[2]), whole)


def test_the_number_of_neighbors_suits_every_scheme():
    temperature = np.repeat([100.0, 500.0, 900.0], [20, 30, 50])
    species = np.where(np.arange(100) % 5 == 0, 40, 29)  # 4, 6 and 10 zirconium atoms
    splits = [
        *validation.fold_splits(validation.atom_folds(temperature, 10, 3)),
        *validation.half_splits(temperature, 3),
        *validation.temperatures_left_out(temperature),
        *validation.temperatures_left_out(temperature, ends=True),
    ]
    fewest = min((species[one.train] == 40).sum() for one in splits)
    assert fewest_atoms(temperature, species, 10, 3) == fewest <= 10
    species[temperature == 500] = np.where(species[temperature == 500] == 40, 28, 29)
    with pytest.raises(ParameterError, match="atoms of Ni are missing in the training data"):
        fewest_atoms(temperature, species, 10, 3)


def test_rare_species_are_added_to_a_draw():
    temperature = np.repeat([300.0, 900.0], 20_000)
    species = np.where(np.arange(40_000) % 100 == 0, 13, 29)  # 200 of 20 000 atoms
    species[:20_000][50::100] = 13  # 400 at 300 K
    rows = validation.spread(np.arange(40_000), temperature, 1000, species)
    counts = [((temperature[rows] == t) & (species[rows] == 13)).sum() for t in (300, 900)]
    assert counts == [validation.RARE, 200]
    plain = validation.spread(np.arange(40_000), temperature, 1000)
    assert len(rows) < 1000 + sum(counts)
    assert len(np.unique(rows)) == len(rows)
    assert len(plain) == 1000

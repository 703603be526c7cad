"""Groups of extreme scores: closed forms, determinism, coverage of errors."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from mgdask.analysis import groups, order
from mgdask.analysis.groups import (
    composition,
    coordination_change,
    extreme_groups,
    polyhedra,
    trend,
)
from mgdask.analysis.order import cargill_spaepen, score_correlation, signs
from mgdask.errors import ParameterError


def test_examples():
    for module in (groups, order):
        assert doctest.testmod(module, extraglobs={"np": np}).failed == 0


def test_extreme_groups_do_not_depend_on_the_order_of_rows(rng):
    score = rng.integers(0, 5, 1000).astype(float)
    score[::50] = np.nan
    ids = rng.permutation(1000) + 1
    low, high = extreme_groups(score, 0.1, ids)
    assert low.sum() == high.sum() == 98
    assert not (low & high).any()
    assert not np.isnan(score[low | high]).any()
    assert np.nanmax(score[low]) <= np.nanmin(score[~low & ~np.isnan(score)])
    turn = rng.permutation(1000)
    again, _ = extreme_groups(score[turn], 0.1, ids[turn])
    assert set(ids[low]) == set(ids[turn][again])
    low, high = extreme_groups(np.zeros(10), 0.5, np.arange(10)[::-1])
    assert np.flatnonzero(low).tolist() == [5, 6, 7, 8, 9]
    assert (high == ~low).all()


def test_extreme_groups_refuse_in_words():
    for score, options, words in (
        ([1.0, 2.0], {"fraction": 0.1}, "no atom"),
        ([1.0, 2.0], {"fraction": 0.7}, "at most 0.5"),
        ([1.0, 2.0], {"fraction": 0.5, "ids": [1, 1]}, "repeated"),
        ([1.0, 2.0], {"fraction": 0.5, "ids": [1.5, 1]}, "integers"),
        ([[1.0, 2.0]], {}, "one-dimensional"),
    ):
        with pytest.raises(ParameterError, match=words):
            extreme_groups(score, **options)


def test_errors_of_shares_cover():
    inside = {"fraction": [], "deviation": []}
    p, q, n, k = 0.6, 0.4, 2000, 200  # shares of Cu in the group and in the rest
    whole = (p * k + q * (n - k)) / n
    for seed in range(300):
        rng = np.random.default_rng(seed)
        mask = np.arange(n) < k
        z = np.where(rng.random(n) < np.where(mask, p, q), 29, 40)
        found = composition(z, {"low": mask}).sel(group="low", species="Cu")
        inside["fraction"].append(abs(found.fraction - p) <= found.fraction_error)
        inside["deviation"].append(abs(found.deviation - (p / whole - 1)) <= found.deviation_error)
    for name, hits in inside.items():
        assert 0.6 < np.mean(hits) < 0.76, name


def test_composition_against_hypergeometric():
    n, k = 500, 100
    z = np.where(np.arange(n) < 200, 29, 40)
    drawn, errors = [], []
    for seed in range(300):
        mask = np.zeros(n, dtype=bool)
        mask[np.random.default_rng(seed).permutation(n)[:k]] = True
        found = composition(z, {"random": mask}).sel(group="random", species="Cu")
        drawn.append(float(found.deviation))
        errors.append(float(found.deviation_error))
    exact = np.sqrt(stats.hypergeom(n, 200, k).var()) / k / 0.4
    assert np.mean(errors) == pytest.approx(exact, rel=0.03)
    assert np.std(drawn) == pytest.approx(exact, rel=0.15)


def test_whole_and_empty_groups():
    z = np.array([29] * 6 + [40] * 4)
    everyone = np.ones(10, dtype=bool)
    found = composition(z, {"all": everyone, "none": ~everyone})
    assert found.deviation.sel(group="all").values.tolist() == [0, 0]
    assert found.deviation_error.sel(group="all").values.tolist() == [0, 0]
    assert np.isnan(found.fraction.sel(group="none")).all()
    for bad, words in (
        ({"a": np.arange(10)}, "booleans"),
        ({}, "must map"),
        ({"a": everyone[:5]}, "10 booleans"),
    ):
        with pytest.raises(ParameterError, match=words):
            composition(z, bad)
    with pytest.raises(ParameterError, match="outside whole"):
        composition(z, {"all": everyone}, whole=z == 29)


def test_polyhedra(rng):
    kinds = np.array([[0, 0, 12, 0, 0], [0, 2, 8, 2, 0], [0, 3, 6, 3, 0]])
    which = rng.choice(3, 3000, p=[0.5, 0.3, 0.2])
    indices = kinds[which].astype(float)
    indices[::100, 0] = np.nan
    mask = np.arange(3000) < 600
    found = polyhedra(indices, {"low": mask}, top=2)
    assert found.polyhedron.values.tolist() == ["<0,0,12,0,0>", "<0,2,8,2,0>"]
    closed = np.isfinite(indices[:, 0])
    mine, everyone = (which[mask & closed] == 0).mean(), (which[closed] == 0).mean()
    assert found.fraction.values[0, 0] == pytest.approx(mine)
    assert found.deviation.values[0, 0] == pytest.approx((mine - everyone) / everyone)
    assert abs(found.deviation.values[0, 0]) < 4 * found.deviation_error.values[0, 0]
    assert found["count"].values.tolist() == [(mask & closed).sum()]
    none = polyhedra(indices, {"ico": which == 0}).sel(polyhedron="<0,2,8,2,0>")
    assert none.deviation.values.tolist() == [-1.0]
    assert 0 < none.deviation_error.values[0] < 0.01
    for bad, words in (
        (indices * 0.5, "integers"),
        (indices * np.nan, "no closed cell"),
        (which, "shape"),
    ):
        with pytest.raises(ParameterError, match=words):
            polyhedra(bad, {"low": mask})


def test_coordination_change_and_its_error():
    hits = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        mask = np.arange(1000) < 150
        cn = rng.normal(np.where(mask, 12.0, 13.0), 1.0)
        found = coordination_change(cn, np.full(1000, 29), {"low": mask}).sel(
            group="low", species="Cu"
        )
        hits.append(abs(found.change - (-0.85)) <= found.change_error)
    assert 0.6 < np.mean(hits) < 0.76
    cn, z = np.array([12.0, np.nan, 15, 16]), np.array([29, 29, 40, 40])
    found = coordination_change(cn, z, {"one": np.array([True, True, False, False])})
    assert found.species.values.tolist() == ["Cu", "Zr", "all"]
    assert found["count"].values.tolist() == [[1, 0, 1]]
    assert np.isnan(found.change.sel(species="Zr")).all()


def test_relative_change_of_coordination_is_equation_5():
    """Liu X. et al. 2022, Eq. (5): (CN_LAs - CN_total) / CN_total x 100 %."""
    cn, z = np.array([12.0, 13, 15, 16]), np.array([29, 29, 40, 40])
    found = coordination_change(cn, z, {"la": np.array([True, False, True, False])}).sel(group="la")
    by_hand = [(12 - 12.5) / 12.5 * 100, (15 - 15.5) / 15.5 * 100, (13.5 - 14) / 14 * 100]
    assert found.relative_change.values.tolist() == pytest.approx(by_hand)
    assert found.relative_change.attrs["units"] == "%"
    assert found.change.values.tolist() == [-0.5, -0.5, -0.5]
    hits, truth = [], 100 * (12.0 / (0.15 * 12 + 0.85 * 13) - 1)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        mask = np.arange(1000) < 150
        # coordination far from its own spread: the error of the whole matters
        cn = rng.normal(np.where(mask, 12.0, 13.0), 6.0)
        one = coordination_change(cn, np.full(1000, 29), {"low": mask}).sel(
            group="low", species="Cu"
        )
        hits.append(abs(float(one.relative_change) - truth) / float(one.relative_change_error))
    assert 0.6 < np.mean(np.array(hits) < 1) < 0.76
    assert 0.9 < np.mean(np.array(hits) < 2) < 0.98
    everyone = coordination_change(np.arange(4.0), z, {"all": np.ones(4, dtype=bool)})
    assert (everyone.relative_change == 0).all()
    assert (everyone.relative_change_error == 0).all()


def test_change_of_share_against_five_fold_symmetry_is_figure_4b():
    """Liu X. et al. 2022, Eq. (4) and Fig. 4B: delta f of each polyhedron over its LFFS = n5 / sum n_i."""
    kinds = np.array([[0, 0, 12, 0, 0], [0, 2, 8, 2, 0], [0, 3, 6, 3, 0], [0, 4, 4, 4, 1]])
    which = np.repeat(np.arange(4), [130, 200, 100, 70])
    solid = np.arange(500) % 3 == 0
    found = polyhedra(kinds[which], {"sa": solid}).sortby("lffs")
    assert found.lffs.values.tolist() == [4 / 13, 6 / 12, 8 / 12, 1.0]
    for here, kind in enumerate(kinds.tolist()):
        row = found.sel(polyhedron=f"<{','.join(map(str, kind))}>", group="sa")
        assert float(row.lffs) == kind[2] / sum(kind)
        f, f_total = (which[solid] == here).mean(), (which == here).mean()
        assert float(row.deviation) == pytest.approx((f - f_total) / f_total)
    assert np.isnan(polyhedra(kinds[which][:, :2], {"sa": solid}).lffs).all()


def test_polyhedra_most_common_in_each_group():
    """Liu X. et al. 2022, Fig. 4A: the most abundant polyhedra of each group."""
    kinds = np.array([[0, 0, 12, 0], [0, 2, 8, 2], [0, 3, 6, 3], [1, 3, 4, 3]])
    which = np.r_[np.repeat([0, 1, 2, 3], [0, 10, 2, 8]), np.repeat([0, 1, 2, 3], [9, 5, 50, 1])]
    la = np.arange(len(which)) < 20
    sa = np.zeros(len(which), dtype=bool)
    sa[20:34] = True
    of_whole = polyhedra(kinds[which], {"la": la, "sa": sa}, top=2).polyhedron.values.tolist()
    assert of_whole == ["<0,3,6,3>", "<0,2,8,2>"]
    found = polyhedra(kinds[which], {"la": la, "sa": sa}, top=2, ranked_by="groups")
    assert set(found.polyhedron.values) == {"<0,2,8,2>", "<1,3,4,3>", "<0,0,12,0>"}
    with pytest.raises(ParameterError, match="'whole' or 'groups'"):
        polyhedra(kinds[which], {"la": la}, ranked_by="both")


def test_trend_is_rising_and_covers():
    rng = np.random.default_rng(0)
    score = rng.normal(size=5000)
    lffs = 0.4 + 0.05 * score + rng.normal(0, 0.1, 5000)
    found = trend(score, np.where(np.arange(5000) == 7, np.nan, lffs), bins=20)
    assert found["count"].sum() == 4999
    assert found["count"].max() - found["count"].min() <= 1
    off = (found.value - (0.4 + 0.05 * found.score)) / found.value_error
    assert 0.4 < (np.abs(off) < 1).mean() < 0.95
    assert (np.abs(off) < 4).all()
    assert found.attrs["pearson"] == pytest.approx(stats.pearsonr(score, lffs)[0], abs=1e-3)
    assert found.attrs["spearman"] == pytest.approx(stats.spearmanr(score, lffs)[0], abs=1e-3)
    with pytest.raises(ParameterError, match="bins=10"):
        trend([1.0, 2.0], [1.0, 2.0])


def test_a_missing_error_of_a_group_says_why():
    z, cn = np.array([29, 29, 40, 40, 40]), np.array([12.0, 13, 15, 16, 14])
    one = {"one": np.array([True, False, False, False, False])}
    found = coordination_change(cn, z, one)
    assert np.isnan(found.change_error.sel(species="Cu").item())
    assert "fewer than 2 atoms" in found.change_error.attrs["note"]
    assert "fewer than 2 atoms" in found.relative_change_error.attrs["note"]
    assert "one atom in the bin" in trend([1.0, 2], [1.0, 2], bins=2).value_error.attrs["note"]
    assert "note" not in trend(cn, cn, bins=2).value_error.attrs


def test_cargill_spaepen_of_the_whole_is_the_features(glass_store):
    import mgdask

    ds = mgdask.open_store(glass_store).isel(frame=[-1])
    out = mgdask.featurize(
        ds, [mgdask.Chemistry(species=("Cu", "Zr"), neighbors=("cutoff",), cutoff=3.8)]
    )
    labels = [str(v) for v in out.chemistry_feature.values if str(v).startswith("count_")]
    counts = out.chemistry.sel(chemistry_feature=labels).isel(frame=0).values
    z = out.species.values
    low, high = extreme_groups(counts.sum(axis=1), 0.2)
    found = cargill_spaepen(counts, z, ("Cu", "Zr"), {"low": low, "high": high})
    expected = mgdask.cargill_spaepen(out)
    np.testing.assert_allclose(found.order.sel(group="whole"), expected.values, rtol=1e-12)
    assert found.sign.dims == found.order.dims
    assert found["count"].sel(group="low").sum() == low.sum()


def test_cargill_spaepen_error_covers_and_random_is_zero():
    hits = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        z = np.repeat([29, 40], 300)
        total = rng.integers(10, 16, 600)
        counts = np.stack([rng.binomial(total, 0.5), np.zeros(600)], axis=1)
        counts[:, 1] = total - counts[:, 0]
        found = cargill_spaepen(counts, z, ("Cu", "Zr"), {"a": np.arange(600) % 5 == 0}).sel(
            group="a", species="Cu"
        )
        hits.append(abs(found.order.values[1]) <= found.order_error.values[1])
    assert 0.6 < np.mean(hits) < 0.76
    with pytest.raises(ParameterError, match="no atom in whole"):
        cargill_spaepen(
            np.ones((2, 2)), np.array([29, 29]), ("Cu", "Zr"), {"a": np.ones(2, dtype=bool)}
        )
    with pytest.raises(ParameterError, match="cannot be called"):
        cargill_spaepen(
            np.ones((2, 1)), np.array([29, 29]), ("Cu",), {"whole": np.ones(2, dtype=bool)}
        )
    with pytest.raises(ParameterError, match="one column per species"):
        cargill_spaepen(np.ones((2, 3)), np.array([29, 29]), ("Cu",), {"a": np.ones(2, dtype=bool)})


def test_signs_are_of_the_deviation_from_the_whole():
    """Liu X. et al. 2022, Fig. 5C: "0" is a change below 0.03, a double sign one above 0.09."""
    edges = [0.091, 0.09, 0.03, 0.029, np.nan, -0.029, -0.03, -0.09, -0.091, 0.0]
    assert signs(edges).tolist() == ["++", "+", "+", "0", "", "0", "-", "-", "--", "0"]
    assert signs([0.0, 1e-9], weak=0.0).tolist() == ["0", "+"]
    # strong order of the whole, -alpha = +0.4 and -0.4, but a group that is equal to it
    n = np.tile([[3.0, 7.0], [7.0, 3.0]], (50, 1))
    z = np.tile([29, 40], 50)
    found = cargill_spaepen(n, z, ("Cu", "Zr"), {"same": np.arange(100) < 50})
    assert np.abs(found.order.sel(group="same")).min() > 0.35
    assert (found.sign == "0").all()
    # n_A around A and f: -alpha of the group by hand, minus that of the whole, Eq. (6)
    n[:2] = [[4.0, 6.0], [7.0, 3.0]]
    found = cargill_spaepen(n, z, ("Cu", "Zr"), {"first": np.arange(100) < 2})
    whole = (3.0 + 1 / 50) / (0.5 * 10) - 1
    by_hand = (4 / 5 - 1) - whole
    assert float(found.deviation.sel(group="first")[0, 0]) == pytest.approx(by_hand)
    assert found.sign.sel(group="first").values.tolist() == [["++", "--"], ["0", "0"]]


def test_error_of_the_deviation_of_order_covers():
    scores = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        z = np.repeat([29, 40], 300)
        mask = np.arange(600) % 3 == 0
        total = rng.integers(10, 16, 600)
        first = rng.binomial(total, np.where(mask, 0.6, 0.5))
        counts = np.stack([first, total - first], axis=1)
        found = cargill_spaepen(counts, z, ("Cu", "Zr"), {"a": mask}).sel(group="a", species="Cu")
        truth = (0.6 - (0.6 / 3 + 0.5 * 2 / 3)) / 0.5
        scores.append(abs(found.deviation.values[0] - truth) / found.deviation_error.values[0])
    assert 0.6 < np.mean(np.array(scores) < 1) < 0.76
    assert 0.9 < np.mean(np.array(scores) < 2) < 0.98
    everyone = cargill_spaepen(counts, z, ("Cu", "Zr"), {"all": np.ones(600, dtype=bool)})
    assert (everyone.deviation_error == 0).all()


def test_signs_refuse():
    with pytest.raises(ParameterError, match="weak < strong"):
        signs([0.1], 0.1, 0.2)


def test_correlations_are_scipys_and_intervals_cover():
    rng = np.random.default_rng(1)
    s = rng.integers(0, 20, 300).astype(float)
    m = xr.DataArray(
        np.stack([s + rng.normal(0, w, 300) for w in (5, 20)]),
        dims=("lag", "atom"),
        coords={"lag": [1.0, 9.0]},
    )
    m[1, 5] = np.nan
    found = score_correlation(s, m, seed=3, bootstrap=100)
    xr.testing.assert_identical(
        found, score_correlation(s, m.transpose("atom", "lag"), seed=3, bootstrap=100)
    )
    assert found.lag.values.tolist() == [1.0, 9.0]
    assert found["count"].values.tolist() == [300, 299]
    for k in range(2):
        keep = np.isfinite(m[k].values)
        assert float(found.pearson[k]) == pytest.approx(
            stats.pearsonr(s[keep], m[k].values[keep])[0]
        )
        assert float(found.spearman[k]) == pytest.approx(
            stats.spearmanr(s[keep], m[k].values[keep])[0]
        )
    hits = []
    for seed in range(100):
        x, y = np.random.default_rng(seed).multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 200).T
        one = score_correlation(x, y, seed=seed, bootstrap=150, level=0.9)
        hits.append(
            [
                one.pearson_low[0] <= 0.5 <= one.pearson_high[0],
                one.spearman_low[0] <= 0.4826 <= one.spearman_high[0],
            ]
        )
    assert (np.mean(hits, axis=0) > 0.8).all()
    assert (np.mean(hits, axis=0) < 0.98).all()


def test_ranks_of_resamples_are_exact(rng):
    values = rng.integers(0, 10, 50).astype(float)
    picks = rng.integers(0, 50, 50)
    weight = np.bincount(picks, minlength=50)[None].astype(float)
    np.testing.assert_array_equal(
        order._weighted_ranks(weight, values)[0][picks], stats.rankdata(values[picks])
    )


def test_correlations_of_nothing():
    found = score_correlation(np.ones(10), np.arange(10.0), seed=0, bootstrap=20)
    assert np.isnan(found.pearson[0])
    assert np.isnan(found.spearman_low[0])
    with pytest.raises(ParameterError, match="shape"):
        score_correlation(np.ones(10), np.ones((2, 9)), seed=0)
    with pytest.raises(ParameterError, match="bootstrap"):
        score_correlation(np.ones(10), np.ones(10), seed=0, bootstrap=2)

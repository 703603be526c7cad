"""SOAP against a naive twin, against DScribe, and against what symmetry demands."""

from __future__ import annotations

import inspect
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mgdask import SOAP
from mgdask.errors import MissingDependencyError, ParameterError
from mgdask.features import make_feature, parse_options
from mgdask.kernels import radial
from tests import forked
from tests.reference import soap as reference

TRICLINIC = np.array([[7.1, 0.0, 0.0], [2.3, 6.4, 0.0], [-1.2, 1.9, 8.3]])
CELLS = {
    "orthogonal": (np.diag([11.0, 12.0, 13.0]), (True, True, True)),
    "triclinic": (TRICLINIC, (True, True, True)),
    "smaller than the cut-off": (TRICLINIC * 0.6, (True, True, True)),
    "slab": (np.diag([9.0, 9.0, 14.0]), (True, True, False)),
    "cluster": (np.diag([30.0, 30.0, 30.0]), (False, False, False)),
}


def configuration(rng, cell, n=14, kinds=(29, 40)):
    return rng.uniform(0, 1, (n, 3)) @ cell, rng.choice(kinds, n)


def error(a, b):
    return (np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1)).max()


@pytest.mark.parametrize("name", CELLS)
def test_equal_to_the_naive_twin(rng, name):
    cell, pbc = CELLS[name]
    position, numbers = configuration(rng, cell)
    soap = SOAP(species=("Zr", "Cu"), r_cut=3.5, n_max=4, l_max=4, sigma=0.4, rbf="polynomial")
    twin = reference.soap(
        position,
        cell,
        numbers,
        (29, 40),
        3.5,
        4,
        4,
        0.4,
        lambda r: reference.polynomial_radial(r, 3.5, 4, 4, 0.4),
        pbc,
    )
    assert error(soap.compute(position, cell, numbers, pbc=pbc), twin) < 1e-9


@pytest.mark.parametrize("rbf", ["gto", "polynomial"])
@pytest.mark.parametrize("name", CELLS)
def test_equal_to_dscribe_in_its_basis(rng, name, rbf):
    pytest.importorskip("dscribe")
    cell, pbc = CELLS[name]
    position, numbers = configuration(rng, cell, 20, (28, 29, 40))
    options = {
        "species": ("Ni", "Cu", "Zr"),
        "r_cut": 4.0,
        "n_max": 6,
        "l_max": 5,
        "sigma": 0.5,
        "rbf": rbf,
    }
    theirs = SOAP(**options, engine="dscribe").compute(position, cell, numbers, pbc=pbc)
    assert (
        error(SOAP(**options, basis="dscribe").compute(position, cell, numbers, pbc=pbc), theirs)
        < 1e-6
    )
    if rbf == "gto":
        assert error(SOAP(**options).compute(position, cell, numbers, pbc=pbc), theirs) < 1e-6


def test_published_size_equals_dscribe(glass):
    """r_cut=5, n_max=11, l_max=12, sigma=0.5: gto exactly, polynomial in DScribe's basis with the harmonics it drops."""
    pytest.importorskip("dscribe")
    some = np.arange(0, 2000, 400)
    options = {"species": ("Cu", "Zr"), "r_cut": 5.0, "n_max": 11, "l_max": 12, "sigma": 0.5}
    for rbf, ours in (("gto", "exact"), ("polynomial", "dscribe")):
        theirs = SOAP(**options, rbf=rbf, engine="dscribe").compute(*glass, centers=some)
        assert theirs.shape == (5, 3289)
        assert (
            error(SOAP(**options, rbf=rbf, basis=ours).compute(*glass, centers=some), theirs) < 1e-6
        )
    exact = SOAP(**options, rbf="polynomial").compute(*glass, centers=some)
    assert (
        error(exact, theirs) > 1e-3
    )  # DScribe's basis is rounding noise at this size, ours is not


def test_default_radial_basis_is_that_of_dscribe():
    """Liu C. et al. (2023) name DScribe, r_cut, n_max, l_max and sigma, but no radial basis."""
    descriptors = pytest.importorskip("dscribe.descriptors")
    theirs = inspect.signature(descriptors.SOAP.__init__).parameters["rbf"].default
    published = SOAP(species=("Cu", "Zr"), r_cut=5.0, n_max=11, l_max=12, sigma=0.5)
    assert published.rbf == theirs == "gto"
    # 22 channels in pairs without order, times 13 degrees
    assert published.n_columns == 22 * 23 // 2 * 13


@pytest.mark.parametrize("average", ["inner", "outer"])
def test_averages(glass, average):
    options = {"species": ("Cu", "Zr"), "r_cut": 4.0, "n_max": 4, "l_max": 3, "sigma": 0.5}
    some = np.arange(0, 600)
    mean = SOAP(**options, average=average).compute(*glass, centers=some)
    assert mean.shape == (SOAP(**options).n_columns,)
    if average == "outer":
        np.testing.assert_allclose(
            mean, SOAP(**options).compute(*glass, centers=some).mean(0), rtol=1e-12
        )
    pytest.importorskip("dscribe")
    theirs = SOAP(**options, average=average, engine="dscribe").compute(*glass, centers=some)
    assert np.linalg.norm(mean - theirs) / np.linalg.norm(theirs) < 1e-6


def test_polynomial_basis_is_exact():
    x, weight, basis = radial.polynomial_basis(5.0, 11, 200)
    np.testing.assert_allclose(
        (basis * (weight * x * x)[:, None]).T @ basis, np.eye(11), atol=1e-12
    )


def test_table_is_as_good_as_the_function():
    """Between its knots the table errs by less than 1e-10 of the largest value, through the kernel."""
    soap = SOAP(species=("Cu",), r_cut=5.0, n_max=8, l_max=0, sigma=0.5, rbf="polynomial")
    for d in (0.31, 2.557, 4.9, 6.8):
        got = soap.compute(
            np.array([[0.0, 0, 0], [0, 0, d]]), np.eye(3) * 40, np.array([29, 29]), centers=[0]
        )[0]
        h = reference.polynomial_radial(np.array([0.0, d]), 5.0, 8, 0, 0.5)[0].sum(0)
        want = np.pi * np.sqrt(8) * np.outer(h, h)[np.triu_indices(8)] / (4 * np.pi)
        assert np.abs(got - want).max() < 1e-9 * np.abs(want).max()


def test_invariances(rng):
    cell, _ = CELLS["triclinic"]
    position, numbers = configuration(rng, cell, 16)
    soap = SOAP(species=("Cu", "Zr"), r_cut=5.0, n_max=11, l_max=12, sigma=0.5, rbf="polynomial")
    base = soap.compute(position, cell, numbers)
    turn = Rotation.random(rng=np.random.default_rng(3)).as_matrix()
    order = rng.permutation(16)
    wrapped = position + rng.integers(-3, 4, (16, 3)) @ cell
    assert error(soap.compute(position @ turn.T, cell @ turn.T, numbers), base) < 1e-10
    assert error(soap.compute(position + [1.2, -30.0, 0.7], cell, numbers), base) < 1e-10
    assert error(soap.compute(wrapped, cell, numbers), base) < 1e-10
    assert error(soap.compute(position[order], cell, numbers[order]), base[order]) < 1e-10


def test_any_subset_threads_and_dtype_give_the_same_bits(glass):
    options = {"species": ("Cu", "Zr"), "r_cut": 5.0, "n_max": 7, "l_max": 6, "sigma": 0.5}
    soap, single = SOAP(**options), SOAP(**options, dtype="float32")
    whole = soap.compute(*glass, centers=np.arange(700))
    some = np.array([3, 699, 41, 256])
    assert (soap.compute(*glass, centers=some) == whole[some]).all()
    with ThreadPoolExecutor(4) as pool:
        parts = list(
            pool.map(
                lambda k: soap.compute(*glass, centers=np.arange(k, k + 100)), range(0, 700, 100)
            )
        )
    assert (np.concatenate(parts) == whole).all()
    small = single.compute(*glass, centers=some)
    assert small.dtype == np.float32
    assert (small == whole[some].astype(np.float32)).all()


def test_a_large_frame_is_kept_sorted_but_never_taken_for_another(glass, monkeypatch):
    position, cell, numbers = (array.copy() for array in glass)
    soap = SOAP(species=("Cu", "Zr"), r_cut=4.0, n_max=4, l_max=3, sigma=0.5)
    some = np.arange(50)
    first, moved = [], []
    for large in (10**9, 1):
        monkeypatch.setattr("mgdask.features.environments.LARGE", large)
        position[:] = glass[0]
        first += [
            soap.compute(position, cell, numbers, some),
            soap.compute(position, cell, numbers, some),
        ]
        position[3] += 0.5  # in place
        moved.append(soap.compute(position, cell, numbers, some))
    assert all((x == first[0]).all() for x in first)
    assert (moved[0] == moved[1]).all()
    assert (moved[0] != first[0]).any()


def test_labels_follow_the_columns(rng):
    soap = SOAP(species=("Zr", "Cu"), r_cut=4.0, n_max=3, l_max=2, sigma=0.5)
    assert soap.species == ("Cu", "Zr")
    assert len(soap.labels) == soap.n_columns == 3 * (6 + 9 + 6)
    assert soap.labels[0] == "Cu-Cu l=0 n=1,1"
    assert soap.labels[18] == "Cu-Zr l=0 n=1,1"
    assert soap.labels[-1] == "Zr-Zr l=2 n=3,3"
    x = soap.compute(np.array([[0.0, 0, 0], [0, 0, 2.5]]), np.eye(3) * 30, np.array([29, 29]))[0]
    zr = np.array(["Zr" in label for label in soap.labels])
    assert not x[zr].any()
    assert x[~zr].any()
    assert set(soap.coordinates()) == {
        "soap_species_1",
        "soap_species_2",
        "soap_l",
        "soap_n_1",
        "soap_n_2",
    }


def test_lone_and_coincident_atoms():
    soap = SOAP(species=("Cu",), r_cut=4.0, n_max=3, l_max=2, sigma=0.5)
    alone = soap.compute([[1.0, 1, 1]], np.eye(3) * 50, [29])[0]
    l = soap.coordinates()["soap_l"]
    assert alone[l == 0].any()
    assert not alone[l > 0].any()
    twice = soap.compute([[1.0, 1, 1], [1.0, 1, 1]], np.eye(3) * 50, [29, 29])[0]
    np.testing.assert_allclose(twice, 4 * alone, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"r_cut": -1.0}, "r_cut=-1.0"),
        ({"n_max": 0}, "n_max=0"),
        ({"rbf": "bessel"}, "'gto' or 'polynomial'"),
        ({"species": ("Cu", "Xx")}, "Xx"),
        ({"species": ("Cu", "Cu")}, "twice"),
        ({"r_cut": 0.9}, "must be larger than 1"),
        ({"sigma": float("nan")}, "sigma"),
    ],
)
def test_bad_parameters_are_refused_in_words(change, words):
    with pytest.raises(ParameterError, match=words):
        SOAP(
            **(
                {"species": ("Cu", "Zr"), "r_cut": 5.0, "n_max": 4, "l_max": 4, "sigma": 0.5}
                | change
            )
        )


def test_bad_configurations_are_refused_in_words(small_soap):
    r, cell, z = np.zeros((2, 3)) + [[0], [2.5]], np.eye(3) * 10, np.array([29, 40])
    for arguments, words in (
        ((r[:, :2], cell, z), r"\(atom, 3\)"),
        ((r * np.nan, cell, z), "atom 0 is not finite"),
        ((r, cell * 0, z), "is zero although"),
        ((r, np.ones((3, 3)), z), "do not span"),
        ((r, cell, z[:1]), "2 atomic numbers"),
        ((r, cell, np.array([29, 28])), "lacks Ni"),
        ((r, cell, z, [2]), "indices from 0 to 1"),
        ((r, cell, z, [True, False]), "np.flatnonzero"),
    ):
        with pytest.raises(ParameterError, match=words):
            small_soap.compute(*arguments)


def test_features_are_made_from_text():
    soap = make_feature(
        "soap", parse_options("r_cut=5,n_max=11,l_max=12,sigma=0.5,rbf=polynomial"), ["Zr", "Cu"]
    )
    assert soap == SOAP(
        species=("Cu", "Zr"), r_cut=5.0, n_max=11, l_max=12, sigma=0.5, rbf="polynomial"
    )
    assert make_feature("soap", soap.parameters()) == soap
    assert make_feature(
        "soap", {"species": "Ni+Cu", "r_cut": "4", "n_max": "2", "l_max": "1"}
    ).species == ("Ni", "Cu")
    for text, words in (("r_cut", "not name=value"), ("r_cut=5,r_cut=4", "twice")):
        with pytest.raises(ParameterError, match=words):
            parse_options(text)
    with pytest.raises(
        ParameterError,
        match="unknown option 'rcut'\. Did you mean r_cut\? Allowed are species, r_cut",
    ):
        make_feature("soap", {"rcut": "5"}, ["Cu"])
    with pytest.raises(ParameterError, match="there is no feature 'sope'"):
        make_feature("sope", {})
    with pytest.raises(ParameterError, match="n_max, l_max must be given"):
        make_feature("soap", {"r_cut": "5"}, ["Cu"])


def test_missing_dscribe_says_how_to_install_it(monkeypatch, rng):
    monkeypatch.setitem(sys.modules, "dscribe.descriptors", None)
    soap = SOAP(species=("Cu",), r_cut=4.1, n_max=3, l_max=2, sigma=0.5, basis="dscribe")
    with pytest.raises(MissingDependencyError, match=r"pip install 'mgdask\[dscribe\]'"):
        soap.compute([[0.0, 0, 0]], np.eye(3) * 9, [29])


def test_two_processes_share_one_cache_of_compiled_kernels(tmp_path):
    code = """
import numpy as np
from mgdask.kernels.vector_math import exponentials
out = np.empty(8)
exponentials(np.linspace(-1, 1, 8), out)
print(out.tobytes().hex())
"""
    env = {**os.environ, "MGDASK_CACHE_DIR": str(tmp_path / "cache")}
    both = [forked.Forked(code, env=env) for _ in range(2)]
    first = [process.communicate(240) for process in both]
    again = forked.run(code, env=env).stdout
    assert first[0] == first[1] == (again, "")
    np.testing.assert_allclose(
        np.frombuffer(bytes.fromhex(again)), np.exp(np.linspace(-1, 1, 8)), rtol=1e-14
    )
    # compiled once for all three
    assert len(list((tmp_path / "cache").rglob("*exponentials*.nbc"))) == 1

"""Do the stated standard errors hold? Bias and coverage on made data with a known truth.

    OMP_NUM_THREADS=1 python tests/benchmarks/error_coverage.py [creep] [relaxation] [diffusion] [--repeats 200]

Every row is one quantity under one condition: bias relative to the truth, the share of repeats within one and two stated errors, and the
share of repeats in which the answer was "not found". Repeat k of every row has the seed k. ``tests/analysis`` runs small versions.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator

import numpy as np

from mgdask.analysis import Trajectory, fit_diffusion, fit_kohlrausch, relaxation_time, steady_state


# ---------------------------------------------------------------------------------------------------------------- noise
def autoregressive(rng, n, phi):
    """AR(1) noise of variance 1."""
    white = rng.normal(size=n)
    noise = np.empty(n)
    last = noise[0] = white[0]
    for k in range(1, n):
        last = noise[k] = phi * last + math.sqrt(1 - phi * phi) * white[k]
    return noise


def oscillation(rng, t, period):
    """A sine of random phase with a tenth of white noise, as of a thermostat or barostat."""
    phase = rng.uniform(0, 2 * math.pi)
    return math.sqrt(2) * np.sin(2 * math.pi * t / period + phase) + 0.1 * rng.normal(size=len(t))


# ---------------------------------------------------------------------------------------------------------------- creep
RATE = 2e-5
PRIMARY = {
    "steady only": lambda t: 0 * t,
    "exponential, t1 = 30": lambda t: -0.02 * np.expm1(-t / 30),
    "exponential, t1 = 100": lambda t: -0.02 * np.expm1(-t / 100),
    "exponential, t1 = 200": lambda t: -0.02 * np.expm1(-t / 200),
    "exponential, t1 = 300": lambda t: -0.02 * np.expm1(-t / 300),
    "logarithm, t0 = 10": lambda t: 4e-3 * np.log1p(t / 10),
    "weak logarithm, t0 = 10": lambda t: 4e-4 * np.log1p(t / 10),
    "power t^(1/3)": lambda t: 1e-3 * np.cbrt(t),
    "two exponentials, 8 and 70": lambda t: -0.01 * np.expm1(-t / 8) - 0.01 * np.expm1(-t / 70),
    "exp(-(t/30)^0.6)": lambda t: -0.02 * np.expm1(-((t / 30) ** 0.6)),
    "(1 + t/40)^-2": lambda t: 0.02 * (1 - (1 + t / 40) ** -2.0),
    "t1 = 30 and tertiary": lambda t: -0.02 * np.expm1(-t / 30) + 0.02 * np.exp((t - 1000) / 40),
    "tertiary only, t^3": lambda t: 0.02 * (t / 1000) ** 3,
}
"""Transient strains over 1000 ps."""


def creep_curve(seed, primary, noise="white", sigma=2e-4, points=401):
    """Times in ps and strains of steady creep, a transient, and noise of one kind."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1000, points)
    if noise == "white":
        e = rng.normal(size=points)
    elif noise == "oscillation":
        e = oscillation(rng, t, 17.0)
    elif noise == "random walk":
        e = 0.2 * np.cumsum(rng.normal(size=points))
    else:
        e = autoregressive(rng, points, float(noise))
    return t, RATE * t + PRIMARY[primary](t) + sigma * e


def creep_result(seed, **condition):
    found = steady_state(*creep_curve(seed, **condition))
    return (found.rate.value, found.rate.error, RATE) if found.found else None


CREEP = [
    *({"primary": name} for name in PRIMARY),
    *({"primary": name, "noise": "0.8"} for name in list(PRIMARY)[:3]),
    *({"primary": name, "points": n} for name in list(PRIMARY)[:3] for n in (101, 2001)),
    *({"primary": name, "sigma": 1e-3} for name in list(PRIMARY)[:3]),
    {"primary": "steady only", "noise": "oscillation"},
    {"primary": "steady only", "noise": "random walk"},
    {"primary": "exponential, t1 = 100", "noise": "random walk"},
]


def creep(repeats) -> Iterator[str]:
    for condition in CREEP:
        words = f"{condition['primary']}; noise {condition.get('sigma', 2e-4):g} {condition.get('noise', 'white')}, {condition.get('points', 401)} points"
        yield row("steady rate", words, lambda k, c=condition: creep_result(k, **c), repeats)


# ----------------------------------------------------------------------------------------------------------- relaxation
TAU, BETA, PLATEAU = 400.0, 0.6, 0.75


def correlated_curve(seed, sigma, length, points=60, plateau=PLATEAU):
    """F_s-like decay from 1 to 10^4 ps, with Gaussian noise of a correlation length in ln t (0: white)."""
    t = np.logspace(0, 4, points)
    clean = plateau * np.exp(-((t / TAU) ** BETA))
    return t, clean, clean + sigma * smooth_noise(np.random.default_rng(seed), np.log(t), length)


def smooth_noise(rng, x, length):
    """White noise; or noise of covariance exp(-d / length), or, for a negative length, exp(-d^2 / 2 length^2)."""
    if length == 0:
        return rng.normal(size=len(x))
    d = np.abs(x[:, None] - x)
    matrix = np.exp(-d / length) if length > 0 else np.exp(-0.5 * (d / length) ** 2)
    return np.linalg.cholesky(matrix + 1e-9 * np.eye(len(x))) @ rng.normal(size=len(x))


def crossing_truth(plateau):
    return TAU * math.log(plateau * math.e) ** (1 / BETA)


def kinds(seed, sigma, length, kind, points, plateau, m=20):
    """A curve, and the argument that says what is known about its errors."""
    if kind != "samples":
        t, _, f = correlated_curve(seed, sigma, length, points, plateau)
        x = np.log(t)
        d = np.abs(x[:, None] - x)
        matrix = (
            np.eye(points)
            if length == 0
            else np.exp(-d / length)
            if length > 0
            else np.exp(-0.5 * (d / length) ** 2)
        )
        known = {
            "error": {"error": np.full(points, sigma)},
            "covariance": {"covariance": sigma**2 * matrix},
            "nothing": {},
        }
        return t, f, known[kind]
    parts = [
        correlated_curve(1000 * seed + k, sigma * math.sqrt(m), length, points, plateau)
        for k in range(m)
    ]
    curves = np.array([part[2] for part in parts])
    return parts[0][0], curves.mean(axis=0), {"samples": curves}


def tau_result(seed, sigma, length, kind, points=60, plateau=1.0, m=20):
    t, f, known = kinds(seed, sigma, length, kind, points, plateau, m)
    found = relaxation_time(t, f, **known)
    return (found.value, found.error, crossing_truth(plateau)) if found.found else None


def kohlrausch_result(seed, sigma, length, kind, points=60, plateau=PLATEAU):
    t, f, known = kinds(seed, sigma, length, kind, points, plateau)
    found = fit_kohlrausch(t, f, 0.0, **known)
    return (found.tau.value, found.tau.error, TAU) if math.isfinite(found.tau.error) else None


def walker_curves(seed, atoms=160, frames=401, parts=20, q=1.0, step=0.2):
    """F_s(q) and MSD of random walkers from all origins, by group of atoms: lags correlated as in a simulation."""
    rng = np.random.default_rng(seed)
    path = np.cumsum(rng.normal(0, step, (frames, atoms, 3)), axis=0)
    lags = np.unique(np.geomspace(1, frames // 2, 30).astype(int))
    fs, msd = np.empty((atoms, len(lags))), np.empty((atoms, len(lags)))
    for k, lag in enumerate(lags):
        r2 = ((path[lag:] - path[:-lag]) ** 2).sum(axis=2)
        qr = q * np.sqrt(r2)
        fs[:, k], msd[:, k] = (np.sin(qr) / qr).mean(axis=0), r2.mean(axis=0)
    groups = (parts, -1, len(lags))
    return lags.astype(float), fs.reshape(groups).mean(axis=1), msd.reshape(groups).mean(axis=1)


def walker_tau(seed, fit):
    t, fs, _ = walker_curves(seed)  # F_s = exp(-q^2 step^2 t / 2) of Gaussian steps
    if fit:
        found = fit_kohlrausch(t, fs.mean(axis=0), 0.0, samples=fs).tau
    else:
        found = relaxation_time(t, fs.mean(axis=0), samples=fs)
    return found.value, found.error, 2 / 0.2**2


NOISES = {
    "white": 0.0,
    "exponential correlation over 0.3 in ln t": 0.3,
    "over 2 in ln t": 2.0,
    "smooth over 0.5 in ln t": -0.5,
    "smooth over 2 in ln t": -2.0,
}


def relaxation(repeats) -> Iterator[str]:
    for sigma in (0.005, 0.02, 0.05):
        yield row(
            "tau (1/e)",
            f"white noise {sigma}; error given",
            lambda k, s=sigma: tau_result(k, s, 0.0, "error"),
            repeats,
        )
    yield row(
        "tau (1/e)",
        "white noise 0.02, plateau 0.75; error given",
        lambda k: tau_result(k, 0.02, 0.0, "error", plateau=PLATEAU),
        repeats,
    )
    for points, sigma, plateau in (
        (20, 0.02, 1.0),
        (200, 0.02, 1.0),
        (200, 0.001, 0.75),
        (200, 0.005, 0.75),
    ):
        height = "" if plateau == 1 else f"plateau {plateau}, "
        yield row(
            "tau (1/e)",
            f"white noise {sigma}, {height}{points} points; error given",
            lambda k, p=points, s=sigma, f=plateau: tau_result(
                k, s, 0.0, "error", points=p, plateau=f
            ),
            repeats,
        )
    for name, length in NOISES.items():
        for kind in ("error", "samples", "covariance"):
            if name != "white" or kind != "error":
                yield row(
                    "tau (1/e)",
                    f"noise 0.02, {name}; {kind} given",
                    lambda k, n=length, g=kind: tau_result(k, 0.02, n, g),
                    repeats,
                )
    yield row(
        "tau (1/e)",
        "noise 0.02, over 2 in ln t; only 8 samples given",
        lambda k: tau_result(k, 0.02, 2.0, "samples", m=8),
        repeats,
    )
    yield row(
        "tau (1/e)",
        "random walkers, all origins; 20 samples given",
        lambda k: walker_tau(k, fit=False),
        repeats,
    )
    for sigma in (0.005, 0.02):
        yield row(
            "tau (Kohlrausch)",
            f"white noise {sigma}; nothing given",
            lambda k, s=sigma: kohlrausch_result(k, s, 0.0, "nothing"),
            repeats,
        )
    for name, length in NOISES.items():
        for kind in ("nothing", "error", "samples", "covariance"):
            if name != "white" or kind != "nothing":
                yield row(
                    "tau (Kohlrausch)",
                    f"noise 0.02, {name}; {kind} given",
                    lambda k, n=length, g=kind: kohlrausch_result(k, 0.02, n, g),
                    repeats,
                )
    yield row(
        "tau (Kohlrausch)",
        "random walkers, all origins; 20 samples given",
        lambda k: walker_tau(k, fit=True),
        repeats,
    )


# ------------------------------------------------------------------------------------------------------------ diffusion
def diffusion_result(
    seed, kind, cage=0.0, window=None, atoms=120, frames=301, parts=20, together=1
):
    """D of random walkers of step 0.1 Å per ps and component, with vibration of deviation ``cage``; ``together`` atoms move as one."""
    rng = np.random.default_rng(seed)
    path = np.cumsum(rng.normal(0, 0.1, (frames, atoms // together, 3)), axis=0).repeat(
        together, axis=1
    )
    path += rng.normal(0, 1, path.shape) * cage
    lags = np.unique(np.geomspace(1, frames // 2, 40).astype(int))
    each = np.stack([((path[k:] - path[:-k]) ** 2).sum(axis=2).mean(axis=0) for k in lags], axis=1)
    known = {
        "samples": {"samples": each.reshape(parts, -1, len(lags)).mean(axis=1)},
        "trajectory": {"trajectory": Trajectory(atoms, frames, 1.0)},
        "points independent": {"independent": True},
    }[kind]
    found = fit_diffusion(lags.astype(float), each.mean(axis=0), window, **known).coefficient
    return found.value, found.error, 0.1**2 / 2


def diffusion(repeats) -> Iterator[str]:
    for kind in ("points independent", "samples", "trajectory"):
        for cage, window in ((0.0, None), (0.0, (50, 150)), (0.3, (10, 150))):
            words = f"random walkers{f' in cages, {cage} Å' if cage else ''}, lags {window or '1 to 150'} of 300 ps; {kind}"
            yield row(
                "D",
                words,
                lambda k, g=kind, c=cage, w=window: diffusion_result(k, g, c, w),
                repeats,
            )
    for kind in ("samples", "trajectory"):
        words = f"the same without cages, atoms move in groups of 6{', one group a sample' if kind == 'samples' else ''}; {kind}"
        yield row("D", words, lambda k, g=kind: diffusion_result(k, g, together=6), repeats)


# ---------------------------------------------------------------------------------------------------------------- table
def coverage(results):
    """Bias relative to the truth, coverage at 1 and 2 errors, share not found."""
    found = [r for r in results if r is not None and math.isfinite(r[0])]
    missing = 1 - len(found) / len(results)
    if not found:
        return math.nan, math.nan, math.nan, missing
    value, error, truth = np.array(found).T
    off = np.abs(value - truth) / error
    return (
        float((value / truth - 1).mean()),
        float((off <= 1).mean()),
        float((off <= 2).mean()),
        missing,
    )


def row(quantity: str, condition: str, result: Callable, repeats: int) -> str:
    bias, one, two, missing = coverage([result(k) for k in range(repeats)])
    numbers = "- | - | -" if math.isnan(one) else f"{100 * bias:+.2f} % | {one:.2f} | {two:.2f}"
    return f"| {quantity} | {condition} | {numbers} | {missing:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["relaxation", "diffusion", "creep"])
    parser.add_argument("--repeats", type=int, default=200)
    options = parser.parse_args()
    print("| quantity | condition | bias | 1 error | 2 errors | not found |")
    print("|---|---|---|---|---|---|")
    for part in options.parts:
        for line in globals()[part](options.repeats):
            print(line, flush=True)


if __name__ == "__main__":
    main()

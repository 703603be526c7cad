"""Inverse design: move a sample toward a target barcode by reverse Monte Carlo.

Liu C. et al. propose it in their conclusions (Acta Mater. 259, 119281 (2023)). A move
displaces one atom or swaps two unlike ones. It is accepted by the Metropolis rule on

    O = N D(f, t) + g sum_i u_i,

with the number of atoms N, the distance D of the fractions f to the target t (total
variation), and the excesses u of atoms that are not at their goals (``wanted.py``). The
first term counts the atoms that must change their entry. The second is smooth and leads
them there.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.errors import MgdaskError, ParameterError
from mgdask.studies.barcode.moving import Entries, MovingSample, Trial, Update
from mgdask.studies.barcode.search_checkpoint import Progress, read_checkpoint, write_checkpoint
from mgdask.studies.barcode.search_result import History, SearchResult
from mgdask.studies.barcode.wanted import FREE, Wanted, excess, wanted_fractions

if TYPE_CHECKING:
    import xarray as xr
    from ase import Atoms

    from mgdask.store.dictionaries import Dictionary

ROUNDING = 1e-12
"""Distance that counts as zero."""
Energy = Callable[[MovingSample], float]
"""Energy of a sample; it may use its fractions, positions and atomic numbers."""


@dataclass(frozen=True)
class _Rules:
    step: float
    swap: float
    temperature: float
    guidance: float
    preference: float
    record: int
    check: int
    reassign: int
    limit: FloatArray
    """Smallest distance (species, species) of pairs in Å."""


def search(
    sample: Atoms | xr.Dataset,
    target: Mapping[int, float] | npt.ArrayLike,
    dictionary: str | Path | Dictionary | Entries,
    *,
    n_moves: int = 20_000,
    step: float = 0.1,
    swap: float = 0.0,
    temperature: float = 0.05,
    guidance: float = 50.0,
    preference: float = 4.0,
    min_distance: float | None = None,
    energy: Energy | None = None,
    seed: int = 0,
    record: int = 100,
    check: int = 1000,
    reassign: int = 1000,
    stop_at: float = 0.0,
    checkpoint: str | Path | None = None,
) -> SearchResult:
    """Move a sample toward a target barcode by reverse Monte Carlo.

    Parameters
    ----------
    sample
        ``ase.Atoms``, or a Dataset with one frame (``position``, ``cell``, ``species``
        and ``pbc``), such as ``mgdask.open_store(path).isel(frame=0)``.
    target
        Target fraction by entry, or fractions (entry,) of all entries, with NaN for
        entries that may have any fraction. These entries share the rest.
    dictionary
        Unique local environments that the atoms are assigned to: the path of a
        dictionary, the dictionary, or its ``Entries``.
    n_moves
        Number of proposed moves, including those of an earlier, resumed search.
    step
        Maximum displacement in Å along each axis.
    swap
        Fraction of the moves that swap two atoms of unlike species.
    temperature
        Temperature of the Metropolis rule, in atoms of a wrong entry. With 0, only
        moves that do not increase the objective are accepted.
    guidance
        Weight of the smooth term, in atoms per unit of the squared distance. With 0,
        most moves leave the objective unchanged.
    preference
        Atoms that are not at their goal are moved 1 + ``preference`` times as often as
        others. The acceptance probability is corrected for it.
    min_distance
        Minimum distance in Å between two atoms. Default: for each pair of species, the
        smallest distance in the initial sample.
    energy
        Energy to record, as a function of the sample, such as a linear model.
    seed
        Seed of the random numbers.
    record
        Number of moves between two records of the history.
    check
        Number of moves after which the state is compared with a computation from
        scratch, and the checkpoint is written.
    reassign
        Number of moves after which the goals are reassigned.
    stop_at
        Distance at which the search stops.
    checkpoint
        Checkpoint file. If it exists, the search resumes from it.

    Returns
    -------
    The state with the smallest distance, and the history.

    Raises
    ------
    ParameterError
        If the sample, the target or a parameter cannot be used, or if the checkpoint
        belongs to another search.

    Notes
    -----
    The distance is the total variation, half of the sum of |f_k - t_k| over the target
    entries, where all others count as one. It is the smallest fraction of atoms that
    must change their entry.

    Displacements are uniform in a cube and swaps are uniform among pairs. With the
    correction for ``preference``, the moves satisfy detailed balance with respect to
    exp(-O / T) while the goals are fixed. New goals never increase O, but break
    detailed balance.

    The same seed gives the same bits on one machine. Energies are recorded but do not
    affect the search. In a Zr-Cu glass, displacements of 0.13 Å reach a barcode far
    from that of the glass. If the energy is minimized afterwards, the atoms move back.
    See "Move a sample toward a target barcode" in the manual.

    References
    ----------
    Liu C. et al., Acta Mater. 259, 119281 (2023), conclusions. McGreevy and Pusztai,
    Mol. Simul. 1, 359 (1988), for reverse Monte Carlo.

    Examples
    --------
    >>> result = search(atoms, {12: 0.06}, "ules.zarr")  # doctest: +SKIP
    >>> result.write("designed.xyz")  # doctest: +SKIP
    """
    position, cell, pbc, numbers = configuration_of(sample)
    entries = dictionary if isinstance(dictionary, Entries) else Entries.of(dictionary)
    wanted = wanted_fractions(target, entries.n_entries)
    state = MovingSample(position, cell, pbc, numbers, entries)
    rules = _Rules(
        step=_number("step", step, above=0.0),
        swap=_number("swap", swap, least=0.0, most=1.0),
        temperature=_number("temperature", temperature, least=0.0),
        guidance=_number("guidance", guidance, least=0.0),
        preference=_number("preference", preference, least=0.0),
        record=_count("record", record),
        check=_count("check", check),
        reassign=_count("reassign", reassign),
        limit=_limit(min_distance, state),
    )
    if rules.swap and len(state.species) < 2:
        raise ParameterError(
            f"swap={swap:g}, but all atoms are of one species (Z = {state.species[0]}); set swap=0"
        )
    n_moves = _count("n_moves", n_moves, least=0)
    _number("stop_at", stop_at, least=0.0, most=1.0)
    settings = _settings(rules, seed, min_distance, stop_at, wanted, state)
    walk = _Walk(state, wanted, rules, energy, np.random.default_rng(seed))
    start, start_numbers = state.position.copy(), state.numbers.copy()
    file = None if checkpoint is None else Path(checkpoint)
    if file is not None and file.exists():
        walk.restore(read_checkpoint(file, settings))
    while walk.move < n_moves and walk.distance > stop_at + ROUNDING:
        walk.step()
        if walk.move % rules.check == 0:
            walk.check()
            if file is not None:
                write_checkpoint(file, walk.progress(), settings)
    if file is not None:
        # before the last record, which an uninterrupted search need not have
        write_checkpoint(file, walk.progress(), settings)
    walk.record_now()
    best = MovingSample(walk.best_position, cell, pbc, walk.best_numbers, entries)
    return SearchResult(
        position=best.position,
        numbers=best.numbers,
        cell=best.cell,
        pbc=np.array(best.pbc),
        entry=best.entry,
        counts=best.counts,
        distance=wanted.distance(best.counts),
        move=walk.best_move,
        start=start,
        start_numbers=start_numbers,
        history=walk.history(),
        settings=settings,
    )


class _Walk:
    """State of a search between two moves."""

    def __init__(
        self,
        state: MovingSample,
        wanted: Wanted,
        rules: _Rules,
        energy: Energy | None,
        random: np.random.Generator,
    ) -> None:
        self.state, self.wanted, self.rules, self.energy = state, wanted, rules, energy
        self.random = random
        self.move = self.accepted = 0
        self.distance = wanted.distance(state.counts)
        self.best_distance, self.best_move = self.distance, 0
        self.best_position, self.best_numbers = state.position.copy(), state.numbers.copy()
        self._records: list[tuple[float, ...]] = []
        self.excess: FloatArray = np.zeros(len(state))
        self.goal: IntArray = np.full(len(state), FREE)
        self._assign_goals()
        self.record_now()

    def step(self) -> None:
        """Propose one move, and accept it or not."""
        if self.move and self.move % self.rules.reassign == 0:
            self._assign_goals()
        trial, forward = self._propose()
        self.move += 1
        # drawn for every move, so that a rejected pair changes no later number
        threshold = self.random.random()
        if not self._too_close(trial):
            self._decide(trial, forward, threshold)
        if self.move % self.rules.record == 0:
            self.record_now()

    def _propose(self) -> tuple[Trial, float]:
        """Return a move, and the probability of choosing its atoms."""
        state, rules = self.state, self.rules
        kind, pick, other = self.random.random(3)
        displacement = self.random.uniform(-rules.step, rules.step, 3)
        atoms = self.choose(pick, other, swap=kind < rules.swap)
        if len(atoms) == 1:
            position, numbers = state.position[atoms] + displacement, state.numbers[atoms]
        else:
            position, numbers = state.position[atoms], state.numbers[atoms[::-1]]
        forward = self.chance(atoms, self._weights(state.entry), state.numbers)
        return state.propose(atoms, position, numbers), forward

    def choose(self, pick: float, other: float, *, swap: bool) -> IntArray:
        """Return the atom to move, or two unlike atoms to swap.

        ``pick`` and ``other`` are uniform in [0, 1).
        """
        total = np.cumsum(self._weights(self.state.entry))
        first = min(int(np.searchsorted(total, pick * total[-1], "right")), len(total) - 1)
        if not swap:
            return np.array([first])
        unlike = np.flatnonzero(self.state.numbers != self.state.numbers[first])
        return np.array([first, unlike[int(other * len(unlike))]])

    def chance(self, atoms: IntArray, weight: FloatArray, numbers: IntArray) -> float:
        """Return the probability of choosing these atoms, in either order."""
        chance = weight[atoms] / weight.sum()
        if len(atoms) == 2:
            chance = chance / np.array([(numbers != numbers[atom]).sum() for atom in atoms])
        return float(chance.sum())

    def _misplaced(self, entry: IntArray) -> BoolArray:
        return np.asarray((self.goal != FREE) & (self.goal != entry))

    def _weights(self, entry: IntArray) -> FloatArray:
        return np.where(self._misplaced(entry), 1.0 + self.rules.preference, 1.0)

    def _too_close(self, trial: Trial) -> bool:
        kind = np.searchsorted(self.state.species, trial.numbers)
        return bool((trial.closest < self.rules.limit[kind]).any())

    def log_ratio(
        self, trial: Trial, update: Update, excesses: FloatArray, forward: float
    ) -> float:
        """Return the logarithm of the odds of acceptance.

        It is the change of -O / T, corrected for the chances of choosing the atoms
        before and after.
        """
        state, rules = self.state, self.rules
        change = len(state) * (self.wanted.distance(update.counts) - self.distance)
        change += rules.guidance * (float(excesses.sum()) - float(self.excess.sum()))
        if rules.temperature == 0.0:
            return 0.0 if change <= 0.0 else -math.inf
        entry, numbers = state.entry.copy(), state.numbers.copy()
        entry[update.touched], numbers[trial.atoms] = update.entry, trial.numbers
        backward = self.chance(trial.atoms, self._weights(entry), numbers)
        return math.log(backward / forward) - change / rules.temperature

    def _decide(self, trial: Trial, forward: float, threshold: float) -> None:
        state = self.state
        update = state.update(trial)
        at = update.touched
        excesses = self.excess.copy()
        excesses[at] = self._excess(update.rows, update.entry, update.squared_distance, at)
        ratio = self.log_ratio(trial, update, excesses, forward)
        if ratio < 0.0 and threshold >= math.exp(ratio):
            return
        state.accept(trial, update)
        self.excess, self.distance = excesses, self.wanted.distance(update.counts)
        self.accepted += 1
        if self.distance < self.best_distance:
            self.best_distance, self.best_move = self.distance, self.move
            self.best_position = state.position.copy()
            self.best_numbers = state.numbers.copy()

    def _excess(
        self, rows: FloatArray, entry: IntArray, squared: FloatArray, atoms: IntArray
    ) -> FloatArray:
        vectors = self.state.entries.index.vectors
        return excess(rows, entry, squared, self.goal[atoms], vectors)

    def _assign_goals(self) -> None:
        self.goal, _ = self.wanted.goals(self.state)
        self._compute_excess()

    def _compute_excess(self) -> None:
        state = self.state
        self.excess = self._excess(
            state.rows, state.entry, state.squared_distance, np.arange(len(state))
        )

    def check(self) -> None:
        """Compare the state with a computation from scratch."""
        fresh, before = self.state.fresh(), self.excess
        difference = self.state.difference(fresh)
        self.state = fresh
        self._compute_excess()
        if difference is None and before.tobytes() != self.excess.tobytes():
            difference = "excess"
        if difference is not None:
            raise MgdaskError(
                f"after {self.move} moves the state of the search differs from a computation from "
                f"scratch in {difference}. This is a bug in mgdask; please report it"
            )

    def record_now(self) -> None:
        """Add a record to the history, unless this move has one."""
        if self._records and self._records[-1][0] == self.move:
            return
        last = self._records[-1] if self._records else (0, 0, 0, 0, 0, 0)
        since = self.move - last[0]
        self._records.append(
            (
                self.move,
                self.distance,
                float(self.excess.sum()),
                (self.accepted - last[5]) / since if since else math.nan,
                math.nan if self.energy is None else float(self.energy(self.state)),
                self.accepted,
            )
        )

    def history(self) -> History:
        """Return the records as arrays."""
        move, distance, excesses, accepted, energy, _ = np.array(self._records).T
        return History(move.astype(np.int64), distance, excesses, accepted, energy)

    def progress(self) -> Progress:
        """Return what is needed to continue from here."""
        return Progress(
            move=self.move,
            accepted=self.accepted,
            best_move=self.best_move,
            position=self.state.position,
            numbers=self.state.numbers,
            goal=self.goal,
            best_position=self.best_position,
            best_numbers=self.best_numbers,
            best_distance=self.best_distance,
            records=np.array(self._records),
            random=self.random.bit_generator.state,
        )

    def restore(self, progress: Progress) -> None:
        """Continue from where an earlier search stopped."""
        state = self.state
        self.state = MovingSample(
            progress.position, state.cell, state.pbc, progress.numbers, state.entries
        )
        self.goal = progress.goal
        self._compute_excess()
        self.distance = self.wanted.distance(self.state.counts)
        self.move, self.accepted = progress.move, progress.accepted
        self.best_move, self.best_distance = progress.best_move, progress.best_distance
        self.best_position, self.best_numbers = progress.best_position, progress.best_numbers
        self._records = [tuple(record) for record in progress.records.tolist()]
        self.random.bit_generator.state = progress.random


def configuration_of(
    sample: Atoms | xr.Dataset,
) -> tuple[FloatArray, FloatArray, BoolArray, IntArray]:
    """Return positions, cell vectors, periodicity and atomic numbers of a sample.

    Parameters
    ----------
    sample
        ``ase.Atoms``, or a Dataset with one frame.

    Returns
    -------
    Positions (atom, xyz) in Å, cell (vector, xyz) in Å, pbc (vector,), numbers (atom,).

    Raises
    ------
    ParameterError
        If it is neither, has several frames or no atoms, or a position is not finite.
    """
    if hasattr(sample, "get_scaled_positions"):
        position, cell = sample.get_positions(), np.asarray(sample.get_cell())
        pbc, numbers = np.asarray(sample.get_pbc()), sample.get_atomic_numbers()
    elif hasattr(sample, "data_vars"):
        missing = [
            name for name in ("position", "cell", "species", "pbc") if name not in sample.variables
        ]
        if missing:
            raise ParameterError(f"sample lacks {', '.join(missing)}; give a frame of a store")
        if sample["position"].ndim != 2:
            raise ParameterError(
                f"sample has {sample['position'].shape[0]} frames; give one of them, such as "
                "sample.isel(frame=0)"
            )
        position, cell = sample["position"].values, sample["cell"].values
        pbc, numbers = sample["pbc"].values, sample["species"].values
    else:
        raise ParameterError(
            f"sample must be ase.Atoms or a Dataset with one frame, not {type(sample).__name__}"
        )
    if not len(position):
        raise ParameterError("sample has no atoms")
    bad = np.flatnonzero(~np.isfinite(position).all(axis=1))
    if len(bad):
        raise ParameterError(
            f"the position of atom {bad[0]}, {position[bad[0]].tolist()}, must be finite"
        )
    return (
        np.asarray(position, dtype=np.float64),
        np.asarray(cell, dtype=np.float64),
        np.asarray(pbc, dtype=bool),
        np.asarray(numbers, dtype=np.int64),
    )


def _limit(min_distance: float | None, state: MovingSample) -> FloatArray:
    closest = state.closest()
    if min_distance is None:
        return np.where(np.isfinite(closest), closest, closest.min())
    return np.full_like(closest, _number("min_distance", min_distance, least=0.0))


def _settings(
    rules: _Rules,
    seed: int,
    min_distance: float | None,
    stop_at: float,
    wanted: Wanted,
    state: MovingSample,
) -> dict[str, Any]:
    """Return the parameters that determine every bit of a search, as plain values."""
    index = state.entries.index
    arrays = (state.position, state.cell, np.array(state.pbc), state.numbers)
    vectors = hashlib.sha256()
    for part in index.parts:
        vectors.update(part.tobytes())
    return {
        **{name: getattr(rules, name) for name in _Rules.__annotations__ if name != "limit"},
        "seed": int(seed),
        "min_distance": min_distance,
        "stop_at": float(stop_at),
        "target": dict(zip(wanted.entry.tolist(), wanted.fraction.tolist(), strict=True)),
        "sample": _digest(*arrays),
        "soap": state.entries.soap.parameters(),
        "per_species": state.entries.species is not None,
        "entries": vectors.hexdigest(),
    }


def _digest(*arrays: npt.NDArray[Any]) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _number(
    name: str,
    value: float,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (least <= number <= most and number > above and math.isfinite(number)):
        allowed = [f"at least {least:g}"] if least > -math.inf else []
        allowed += [f"larger than {above:g}"] if above > -math.inf else []
        allowed += [f"at most {most:g}"] if most < math.inf else []
        raise ParameterError(f"{name}={value!r} must be a number, {' and '.join(allowed)}")
    return number


def _count(name: str, value: int, *, least: int = 1) -> int:
    if isinstance(value, bool) or int(value) != value or value < least:
        raise ParameterError(f"{name}={value!r} must be a whole number, at least {least}")
    return int(value)


__all__ = ["configuration_of", "search"]

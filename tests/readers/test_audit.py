"""Every row of the audit: what is refused says where, what is left out is said."""

from __future__ import annotations

import gzip
import os

import numpy as np
import pytest
import zstandard

from mgdask.errors import AuditError, ParameterError
from mgdask.readers.indexing import take_inventory
from mgdask.readers.sources import expand
from mgdask.readers.window import read_window
from tests.conftest import DATA, SPECIES, write_dump
from tests.readers.test_lammps import paths, sample

__all__ = ["sample"]
ROWS = [[1, 1, 1.0, 1.0, 1.0], [2, 2, 2.0, 2.0, 2.0], [3, 1, 3.0, 3.0, 3.0]]


def changed(k, column, value):
    return [[*r[:column], value, *r[column + 1 :]] if i == k else r for i, r in enumerate(ROWS)]


def noted(inventory, words):
    (note,) = (note for note in inventory.notes if words in note)
    return note


def test_a_truncated_last_frame_is_said_and_the_good_ones_stay(sample):
    inventory, found = paths(sample("trunc.dump"))
    assert found.shape == (3, 300, 3)
    note = noted(inventory, "cut short")
    for word in (
        "trunc.dump, frame 3 (timestep 600), line 928 (byte 38278)",
        "the last frame",
        "141 of 300 rows",
    ):
        assert word in note


@pytest.mark.parametrize("between", ["\n", ""])
def test_a_restart_that_wrote_on_after_a_torn_frame(tmp_path, sample, between):
    text = open(sample("trunc.dump")).read() + between + open(sample("tri_time.dump")).read()[:0]
    more = open(sample("ort_unwrap.dump")).read()
    (tmp_path / "on.dump").write_text(text + more[more.index("ITEM: TIMESTEP\n600") :])
    inventory, found = paths(tmp_path / "on.dump")
    assert inventory.step.tolist() == [0, 200, 400, 600, 800, 1000]
    assert (found == paths(sample("ort_unwrap.dump"))[1]).all()
    assert "a frame in the middle" in noted(inventory, "cut short")


def test_a_file_cut_at_its_beginning(tmp_path):
    path = write_dump(tmp_path / "a.dump", [(0, ROWS), (10, ROWS)])
    text = open(path).read()[60:]
    (tmp_path / "a.dump").write_text(text)
    inventory = take_inventory(path, species=SPECIES)
    assert inventory.step.tolist() == [10]
    assert f"bytes 0 to {text.index('ITEM: TIMESTEP')}" in noted(inventory, "left out")


@pytest.mark.parametrize("lead", ["", "ITEM: UNITS\nmetal\nITEM: TIME\n1.5\n"])
def test_a_file_cut_anywhere_keeps_every_whole_frame(tmp_path, lead):
    path = write_dump(tmp_path / "a.dump", [(0, ROWS), (10, ROWS)])
    text = open(path).read().replace("ITEM: TIMESTEP", f"{lead}ITEM: TIMESTEP")
    first = len(text) // 2
    while not text[first:].startswith(lead + "ITEM: TIMESTEP"):
        first -= 1
    for cut in range(first, len(text)):
        (tmp_path / "a.dump").write_text(text[:cut])
        inventory = take_inventory(path, species=SPECIES)
        assert inventory.step.tolist() == [0]
        assert cut == first or f"byte {first})" in noted(inventory, "left out")


def test_a_whole_last_line_without_its_end_is_not_trusted(tmp_path):
    path = write_dump(tmp_path / "a.dump", [(0, ROWS), (10, ROWS)])
    (tmp_path / "a.dump").write_text(open(path).read()[:-1])
    assert "2 of 3 rows" in noted(take_inventory(path, species=SPECIES), "cut short")
    (tmp_path / "a.dump").write_text(open(write_dump(tmp_path / "b.dump", [(0, ROWS)])).read()[:-1])
    with pytest.raises(AuditError, match="no complete frame"):
        take_inventory(path, species=SPECIES)


def test_repeated_steps_keep_one_and_say_so(sample):
    for keep, which in (("last", "frame 2"), ("first", "frame 3")):
        inventory, _ = paths(sample("dup.dump"), repeated=keep)
        assert inventory.step.tolist() == [0, 200, 400, 600, 1000]
        assert f"dup.dump, {which} (timestep 400)" in noted(inventory, "same timestep")
    assert paths(sample("dup.dump"), repeated="all")[0].n_frames == 6
    with pytest.raises(
        AuditError,
        match=r"frame 3 \(timestep 400\), line 928 \(byte 38278\): the timestep already occurs in",
    ):
        paths(sample("dup.dump"), repeated="error")
    with pytest.raises(ParameterError, match="must be one of last, first, all, error"):
        paths(sample("dup.dump"), repeated="some")


def test_many_notes_of_a_kind_are_told_by_their_steps(tmp_path):
    path = write_dump(tmp_path / "a.dump", [(k, ROWS) for k in (*range(12), *range(20))])
    inventory = take_inventory(path, species=SPECIES)
    assert inventory.n_frames == 20
    assert "8 more of this kind (repeated), timesteps 4 5 6 7 8 9 10 11" in noted(
        inventory, "more of this kind"
    )


def test_uneven_and_backward_steps_are_fine_and_reported(sample, tmp_path):
    assert "200 (3×), 400 (1×)" in noted(paths(sample("dup.dump"))[0], "spacing")
    path = write_dump(tmp_path / "a.dump", [(0, ROWS), (30, ROWS), (10, ROWS)])
    inventory = take_inventory(path, species=SPECIES)
    assert inventory.step.tolist() == [0, 30, 10]
    assert "from 30 to 10" in noted(inventory, "goes backward")


@pytest.mark.parametrize(
    ("frames", "options", "words"),
    [
        (
            [(0, ROWS), (10, changed(1, 0, 1))],
            {},
            r"frame 1 \(timestep 10\), line 13 \(byte \d+\): id 1 occurs twice \(line 22 and line 23",
        ),
        (
            [(0, ROWS), (10, ROWS[:2])],
            {},
            r"frame 1 \(timestep 10\), line 13 \(byte \d+\): it has 2 atoms",
        ),
        (
            [(0, ROWS), (10, changed(0, 1, 2))],
            {},
            r"timestep 10.*id 1 changes species: atomic number 29 here, 40",
        ),
        (
            [(0, ROWS), (10, changed(2, 0, 7))],
            {},
            "set of ids differs from that of the first frame: missing 3, new 7",
        ),
        (
            [(0, ROWS)],
            {"box": ((0, 10), (0, 0), (0, 10))},
            r"\(timestep 0\), line 1 \(byte 0\): its box has a volume that is zero or negative",
        ),
        (
            [(0, ROWS)],
            {"box": ((0, 10), (5, 1), (0, 10))},
            "its box has a volume that is zero or negative",
        ),
        ([(0, ROWS)], {"box": ((0, 10), (5, "nan"), (0, 10))}, "not finite"),
        ([(0, ROWS)], {"box": ((0, 10), (5, "one"), (0, 10))}, "its box bounds are not numbers"),
        ([(0, ROWS)], {"box": ((0, 10), (5, 6), (0, "9 1"))}, "must have 2 numbers"),
        ([("x", ROWS)], {}, "'ITEM: TIMESTEP' is followed by 'x', not by an integer"),
        ([("1e30", ROWS)], {}, "'ITEM: TIMESTEP' is followed by '1e30', not by an integer"),
        ([(0, [])], {}, "it has 0 atoms"),
        ([(0, changed(1, 1, 3))], {}, "type 3 is not in species="),
        ([(0, changed(1, 1, -3))], {}, "type -3 is not in species="),
        (
            [(0, ROWS), (10, changed(1, 3, "oops"))],
            {},
            r"a.dump, frame 1 \(timestep 10\), line 23: column y holds 'oops'",
        ),
        (
            [(0, ROWS), (10, changed(1, 0, "2.5"))],
            {},
            "line 23: column id holds '2.5', which is not an integer",
        ),
        (
            [(0, ROWS), (10, [ROWS[0], ROWS[1][:4], ROWS[2]])],
            {},
            r"line 23 .*has 4 values, but the header names 5",
        ),
        (
            [(0, ROWS), (10, [ROWS[0], [*ROWS[1], 7], ROWS[2]])],
            {},
            r"line 23 .*has 6 values, but the header names 5",
        ),
        ([(0, ROWS)], {"columns": "id type x y q"}, "no complete set of coordinates"),
        (
            [(0, ROWS)],
            {"columns": "q type x y z"},
            r"frame 0 \(timestep 0\), line 1 \(byte 0\): there is no column 'id'",
        ),
        ([(0, ROWS)], {"columns": "id q x y z"}, "neither a column 'type' nor a column 'element'"),
        ([(0, [[*r, 1] for r in ROWS])], {"columns": "id type x y z x"}, "column x occurs twice"),
        ([(0, ROWS)], {"flags": "pp pp"}, "it needs three, such as 'pp pp pp'"),
    ],
)
def test_what_cannot_be_read_right_is_refused(tmp_path, frames, options, words):
    path = write_dump(tmp_path / "a.dump", frames, **options)
    with pytest.raises(AuditError, match=words):
        list(read_window(take_inventory(path, species=SPECIES)))


def test_text_mixed_into_a_frame_is_refused(tmp_path):
    path = write_dump(tmp_path / "a.dump", [(0, ROWS), (10, ROWS)])
    text = open(path).read()
    (tmp_path / "a.dump").write_text(
        text.replace("3 1 3.0 3.0 3.0\nITEM", "3 1 3.0 3.0 3.0\nWARNING: lost atoms\nITEM")
    )
    with pytest.raises(AuditError, match="its header gives 3 atoms, but 4 lines follow"):
        take_inventory(path, species=SPECIES)
    (tmp_path / "a.dump").write_text(text.replace("ITEM: BOX", "hello\nITEM: BOX"))
    with pytest.raises(AuditError, match="line 5 of its header is 'hello'"):
        take_inventory(path, species=SPECIES)
    (tmp_path / "a.dump").write_text(text.replace("NUMBER OF ATOMS", "NUMBER OF ENTRIES"))
    with pytest.raises(AuditError, match="style local or grid"):
        take_inventory(path, species=SPECIES)
    (tmp_path / "a.dump").write_text(text + "\n  \n\n")  # blank lines at the end are nothing
    assert take_inventory(path, species=SPECIES).n_frames == 2


@pytest.mark.parametrize("name", ["ort_noid.dump", "ort_vary.dump", "dupid.dump"])
def test_the_damaged_files_of_real_runs_are_refused(sample, name):
    words = {
        "ort_noid.dump": "no column 'id'",
        "ort_vary.dump": r"timestep 200.*has 280 atoms",
        "dupid.dump": "id 1 occurs twice",
    }
    with pytest.raises(AuditError, match=words[name]):
        take_inventory(sample(name), species=SPECIES)


def test_files_that_are_no_dumps(tmp_path):
    (tmp_path / "empty.dump").write_bytes(b"")
    (tmp_path / "text.dump").write_text("units metal\n")
    (tmp_path / "other.txt").write_text("units metal\n")
    (tmp_path / "bad.dump.gz").write_bytes(b"\x1f\x8b" + b"no gzip at all" * 10)
    for name, words in (
        ("empty.dump", r"empty.dump: the file is empty \(0 bytes\)"),
        ("text.dump", "the file has no frame"),
        ("other.txt", "not a trajectory that mgdask reads: it begins with 'units metal"),
        ("none.dump", "there is no such file"),
        ("none*.dump", "no file matches the pattern"),
        ("", "is a directory"),
        ("bad.dump.gz", "gz data is damaged"),
    ):
        with pytest.raises(AuditError, match=words):
            take_inventory(tmp_path / name if name else tmp_path, species=SPECIES)
    with pytest.raises(AuditError, match="no input file"):
        take_inventory([], species=SPECIES)
    with pytest.raises(AuditError, match="is given twice"):
        take_inventory([tmp_path / "text.dump", tmp_path / "text.dump"], species=SPECIES)


def zstd_in_blocks(data):
    """As a stream that was written bit by bit."""
    packer, flush = zstandard.ZstdCompressor().compressobj(), zstandard.COMPRESSOBJ_FLUSH_BLOCK
    parts = [
        packer.compress(data[k : k + 8000]) + packer.flush(flush) for k in range(0, len(data), 8000)
    ]
    return b"".join(parts) + packer.flush()


@pytest.mark.parametrize("pack", [gzip.compress, zstd_in_blocks], ids=["gz", "zst"])
def test_a_packed_file_cut_by_the_walltime_keeps_its_good_frames(tmp_path, sample, pack):
    text = open(sample("ort_unwrap.dump"), "rb").read() * 40
    packed = pack(text)
    (tmp_path / "cut.dump").write_bytes(packed[: len(packed) * 3 // 4])
    inventory, found = paths(tmp_path / "cut.dump", repeated="all")
    assert 1 <= len(found) < 240
    noted(inventory, "end before their end mark")
    (tmp_path / "whole.dump").write_bytes(text)
    assert (found == paths(tmp_path / "whole.dump", repeated="all")[1][: len(found)]).all()
    (tmp_path / "two.dump").write_bytes(pack(text) + pack(text))  # as cat a.gz b.gz
    assert take_inventory(tmp_path / "two.dump", species=SPECIES, repeated="all").n_frames == 480


def test_a_damaged_packed_file_is_refused(tmp_path):
    data = bytearray((DATA / "tri_wrap.dump.gz").read_bytes())
    data[9000:9100] = b"x" * 100
    (tmp_path / "bad.dump.gz").write_bytes(data)
    with pytest.raises(
        AuditError, match=r"bad.dump.gz: the gz data is damaged near compressed byte .*gzip -t"
    ):
        take_inventory(tmp_path / "bad.dump.gz", species=SPECIES)


def test_species_are_never_guessed(tmp_path):
    path = write_dump(tmp_path / "a.dump", [(0, ROWS)])
    with pytest.raises(
        AuditError, match=r"species=\{1: 'Cu', 2: 'Zr'\} in Python, or --species Cu,Zr"
    ):
        take_inventory(path)
    with pytest.raises(ParameterError, match="did you mean 'Zr'"):
        take_inventory(path, species={1: "zr", 2: "Cu"})
    assert take_inventory(path, species="Zr,Cu").species.tolist() == [40, 29, 40]
    assert take_inventory(path, species=("Zr", "Cu")).species.tolist() == [40, 29, 40]
    assert (
        "type" in take_inventory(path, species={1: "Cu", 2: "Cu"}).variables
    )  # more than the species says
    path = write_dump(tmp_path / "b.dump", [(0, [[1, "Q", 1, 1, 1]])], "id element x y z")
    with pytest.raises(
        AuditError, match="unknown species in column element: 'Q' is not an element symbol"
    ):
        take_inventory(path)
    assert take_inventory(path, species={"Q": "Ti"}).species.tolist() == [22]
    path = write_dump(tmp_path / "c.dump", [(0, [[1, 1, "C", 1, 1, 1]])], "id type element x y z")
    noted(take_inventory(path), "dump_modify element is not set")
    inventory = take_inventory(path, species={1: "Cu"})
    assert inventory.species.tolist() == [29]
    noted(inventory, "the column element is ignored")


def test_further_columns_are_kept_or_named(tmp_path):
    rows = [[*r, 1.5, 2.5, 3.5, 4.0] for r in ROWS]
    path = write_dump(tmp_path / "a.dump", [(0, rows)], "id type x y z c_pe[1] time position mass")
    inventory = take_inventory(path, species=SPECIES)
    assert set(inventory.variables) == {"c_pe_1", "file_time", "file_position"}
    assert inventory.mass.tolist() == [4, 4, 4]
    ((_, frame),) = read_window(inventory)
    assert frame["position"].shape == (3, 3)
    assert frame["c_pe_1"].tolist() == [1.5] * 3
    inventory = take_inventory(path, species=SPECIES, columns=["time"])
    assert list(inventory.variables) == ["file_time"]
    assert "c_pe[1] position" in noted(inventory, "not kept")
    with pytest.raises(ParameterError, match="has no column foo"):
        take_inventory(path, species=SPECIES, columns=["foo"])


def test_several_files_are_one_trajectory_or_several_runs(tmp_path):
    for k in (0, 20, 100):
        write_dump(tmp_path / f"dump.{k}.txt", [(k, ROWS)])
    pattern = str(tmp_path / "dump.*.txt")
    assert [name.split(".")[-2] for name in expand(pattern)] == ["0", "20", "100"]
    assert take_inventory(pattern, species=SPECIES).step.tolist() == [0, 20, 100]
    one = write_dump(tmp_path / "one.dump", [(0, ROWS), (10, ROWS)])
    two = write_dump(tmp_path / "two.dump", [(0, ROWS), (10, ROWS)])
    with pytest.raises(
        AuditError, match=r"each of its 2 timesteps is also in another file.*--run-per-file"
    ):
        take_inventory([one, two], species=SPECIES)
    assert take_inventory([one, two], species=SPECIES, run_per_file=True).run == (
        "one",
        "one",
        "two",
        "two",
    )
    assert take_inventory([one, two], species=SPECIES, repeated="all", run="r").run == ("r",) * 4
    other = write_dump(tmp_path / "three.dump", [(0, changed(0, 1, 2))])
    with pytest.raises(AuditError, match="Run 'three' does not have the same atoms as run 'one'"):
        take_inventory([one, other], species=SPECIES, run_per_file=True)
    (tmp_path / "other").mkdir()
    again = write_dump(tmp_path / "other" / "one.dump", [(0, ROWS)])
    labels = take_inventory([one, again], species=SPECIES, run_per_file=True).run
    assert labels[-1] == "other/one"
    assert len(set(labels)) == 2


def test_files_that_do_not_go_together(tmp_path):
    one = write_dump(tmp_path / "a.dump", [(0, [[*r, 1.0] for r in ROWS])], "id type x y z vx")
    two = write_dump(tmp_path / "b.dump", [(10, ROWS)])
    with pytest.raises(
        AuditError, match=r"b.dump, frame 0.*the columns change: vx is missing here"
    ):
        take_inventory([one, two], species=SPECIES)
    assert take_inventory([one, two], species=SPECIES, columns=[]).n_frames == 2
    three = write_dump(tmp_path / "c.dump", [(20, ROWS)], flags="ff pp pp")
    with pytest.raises(
        AuditError, match=r"c.dump.*periodic along y z, but the first frame along x y z"
    ):
        take_inventory([two, three], species=SPECIES)


def test_frames_are_chosen(sample):
    name = sample("ort_unwrap.dump")
    assert take_inventory(name, species=SPECIES, frames=slice(1, None, 2)).step.tolist() == [
        200,
        600,
        1000,
    ]
    assert take_inventory(name, species=SPECIES, frames="-2:").step.tolist() == [800, 1000]
    assert take_inventory(name, species=SPECIES, frames=[5, 0]).step.tolist() == [1000, 0]
    for wrong in ("a:b", [7], slice(9, 10)):
        with pytest.raises(ParameterError, match="frames="):
            take_inventory(name, species=SPECIES, frames=wrong)


def test_units_and_times(tmp_path):
    text = open(write_dump(tmp_path / "a.dump", [(5, ROWS)])).read()
    (tmp_path / "a.dump").write_text("ITEM: UNITS\nnano\nITEM: TIME\n2.5\n" + text)
    inventory = take_inventory(tmp_path / "a.dump", species=SPECIES)
    assert inventory.cell[0, 0, 0] == 100.0
    assert inventory.time.tolist() == [2500.0]
    ((_, frame),) = read_window(inventory)
    np.testing.assert_allclose(frame["position"][1], [20, 20, 20])
    with pytest.raises(AuditError, match="states units nano, but units='metal'"):
        take_inventory(tmp_path / "a.dump", species=SPECIES, units="metal")
    with pytest.raises(ParameterError, match="not a LAMMPS unit style"):
        take_inventory(tmp_path / "a.dump", species=SPECIES, units="furlong")
    (tmp_path / "b.dump").write_text(text)
    plain = take_inventory(tmp_path / "b.dump", species=SPECIES)
    assert plain.time is None
    noted(plain, "metal (Å, ps, eV) is assumed")
    noted(plain, "no time")
    assert take_inventory(tmp_path / "b.dump", species=SPECIES, timestep=0.5).time.tolist() == [2.5]
    noted(take_inventory(tmp_path / "b.dump", species=SPECIES, units="lj"), "lj are not converted")
    with pytest.raises(ParameterError, match="timestep=-1"):
        take_inventory(tmp_path / "b.dump", species=SPECIES, timestep=-1)


def test_a_file_that_changed_meanwhile_is_refused(tmp_path):
    path = write_dump(tmp_path / "a.dump", [(0, ROWS), (10, ROWS)])
    inventory = take_inventory(path, species=SPECIES)
    text = open(path).read()
    (tmp_path / "a.dump").write_text(text + text)  # it has grown: what was indexed is there
    assert len(list(read_window(inventory))) == 2
    (tmp_path / "a.dump").write_text(text.replace("2.0", "7.0"))
    os.utime(path, (1, 1))
    with pytest.raises(AuditError, match="has changed since it was indexed"):
        list(read_window(inventory))


def test_the_digest_knows_what_matters(tmp_path):
    path = write_dump(tmp_path / "a.dump", [(0, ROWS), (10, ROWS)])
    mine = take_inventory(path, species=SPECIES).digest()
    (tmp_path / "copy").mkdir()
    copy = write_dump(tmp_path / "copy" / "a.dump", [(0, ROWS), (10, ROWS)])
    assert take_inventory(copy, species=SPECIES).digest() == mine
    assert take_inventory(path, species=SPECIES, timestep=1).digest() != mine
    assert take_inventory(path, species={1: "Ti", 2: "Cu"}).digest() != mine
    assert take_inventory(path, species=SPECIES, frames=[0]).digest() != mine


def test_an_element_of_a_type_that_no_atom_has_is_remarked_on(tmp_path):
    path = write_dump(tmp_path / "a.dump", [(0, ROWS)])
    note = noted(take_inventory(path, species=("Zr", "Cu", "Al")), "no atom has such a type")
    assert "species lists {3: 'Al'}" in note
    assert "the types are 1, 2. Check that" in note
    notes = take_inventory(path, species=("Zr", "Cu")).notes
    assert not any("no atom has" in note for note in notes)

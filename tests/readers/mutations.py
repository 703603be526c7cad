"""Seeds of every dialect, and random damage to them."""

from __future__ import annotations

import gzip
import io
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zstandard

DATA = Path(__file__).parents[1] / "data"
ABSURD = (
    *("inf", "-inf", "nan", "-1", "0", "1", "2147483647", "2147483648", "-2147483649", "1e9"),
    *("9223372036854775807", "9223372036854775808", "1e16", "-1e16", "1e30", "1e300", "1e308"),
    *("-1e308", "1e-308", "1e-300", "1e400", "99999999999", "900000000000", "1_000", "0x10", "'"),
    *("1e-12", "", "é", "\udce9", "ITEM:", "0.0000001", "100000000000000000000000000000"),
)
"""Words that replace a word of a file."""
N_ATOMS, N_FRAMES = 8, 3


def _read(name: str) -> bytes:
    return gzip.decompress((DATA / f"{name}.gz").read_bytes())


def small_dump(text: bytes) -> bytes:
    """Return the first frames of a LAMMPS dump with few atoms."""
    out: list[bytes] = []
    rows = N_ATOMS
    lines = iter(text.split(b"\n"))
    frames = 0
    for line in lines:
        if line.startswith(b"ITEM: TIMESTEP"):
            frames += 1
        if line.startswith((b"ITEM: TIMESTEP", b"ITEM: TIME")) and frames > N_FRAMES:
            break
        out.append(line)
        if line.startswith(b"ITEM: NUMBER OF ATOMS"):
            rows = min(N_ATOMS, int(next(lines)))
            out.append(b"%d" % rows)
        elif line.startswith(b"ITEM: ATOMS"):
            named = line.split()[2:]
            kept = []
            for row in lines:
                words = row.split()
                if b"id" not in named or int(words[named.index(b"id")]) <= rows:
                    kept.append(row)
                if len(kept) == rows:
                    break
            out += kept
            for row in lines:  # skip the other rows
                if row.startswith(b"ITEM:"):
                    lines = iter([row, *lines])
                    break
    return b"\n".join(out) + b"\n"


def small_xyz(text: bytes) -> bytes:
    """Return the first frames of an extended XYZ file with few atoms."""
    lines, out, at = text.split(b"\n"), [], 0
    for _ in range(N_FRAMES):
        if at >= len(lines) or not lines[at].strip():
            break
        n = int(lines[at])
        out += [b"%d" % min(n, N_ATOMS), *lines[at + 1 : at + 2 + min(n, N_ATOMS)]]
        at += n + 2
    return b"\n".join(out) + b"\n"


def small_data(text: bytes) -> bytes:
    """Return a LAMMPS data file with few atoms."""
    out, section = [], b""
    for line in text.split(b"\n"):
        words = line.split()
        if len(words) == 2 and words[1] == b"atoms":
            line = b"%d atoms" % N_ATOMS
        if words and words[0][:1].isalpha() and line[:1].isalpha():
            section = words[0]
        is_row = section in (b"Atoms", b"Velocities") and words and words[0].isdigit()
        if is_row and int(words[0]) > N_ATOMS:
            continue
        out.append(line)
    return b"\n".join(out)


def _zst(text: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(text)


def _gz(text: bytes) -> bytes:
    return gzip.compress(text, 1, mtime=0)


def _columns(_: bytes = b"") -> bytes:
    return b"# step energy\n" + b"".join(b"%d, %.4f\n" % (k, -0.1 * k) for k in range(6))


TEXT_DUMPS = (
    *("ort_scaled", "ort_su", "ort_time", "ort_unwrap", "tri_elem", "tri_scaled", "tri_su"),
    *("tri_time", "tri_unwrap", "tri_wrap", "lmp_labels", "lmp_ort", "lmp_tri"),
)


def seeds() -> dict[str, tuple[str, bytes]]:
    """Return the name of a file and its bytes by dialect."""
    found: dict[str, tuple[str, bytes]] = {}
    for name in TEXT_DUMPS:
        found[name] = f"{name}.dump", small_dump(_read(f"{name}.dump"))
    found["gz"] = "packed.dump.gz", found["tri_wrap"][1]
    found["zst"] = "packed.dump.zst", found["ort_unwrap"][1]
    for name in ("tri", "lmp_labels"):
        text = small_xyz(_read(f"{name}.xyz")).replace(b"Lattice=", b'Origin="0 0 0" Lattice=')
        found[f"{name}.xyz"] = f"{name}.xyz", text
        found[f"{name}.data"] = f"{name}.data", small_data(_read(f"{name}.data"))
    for name in ("lmp_ort.h5md", "lmp_ort_group.h5md", "mda.h5md"):
        found[name] = name, _read(name)
    for name in ("lmp_ort.nc", "lmp_ort_double.nc", "mda.ncdf"):
        found[name] = name, _read(name)
    found["nc4"] = "four.nc", _netcdf4(found["lmp_ort.nc"][1])
    found["column"] = "energy.txt", _columns()
    found["column.gz"] = "energy.txt.gz", _columns()
    return found


def _netcdf4(classic: bytes) -> bytes:
    """Return a trajectory as NetCDF 4, whose container is HDF5."""
    import netCDF4

    old = netCDF4.Dataset("classic", memory=classic)
    new = netCDF4.Dataset("new", "w", memory=1 << 20)
    for name, size in old.dimensions.items():
        new.createDimension(name, None if size.isunlimited() else len(size))
    for name, variable in old.variables.items():
        old.set_auto_maskandscale(False)
        made = new.createVariable(name, variable.dtype, variable.dimensions, zlib=variable.ndim > 0)
        made.set_auto_maskandscale(False)
        made.setncatts({key: variable.getncattr(key) for key in variable.ncattrs()})
        made[...] = variable[...]
    new.setncatts({key: old.getncattr(key) for key in old.ncattrs()})
    old.close()
    return bytes(new.close())


def _flip(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _drop(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.choice((1, 8, 100)) :]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    start, length = rng.randrange(len(data)), rng.choice((1, 8, 100))
    return data[: start + length] + data[start:]


def _overwrite(data: bytes, rng: random.Random) -> bytes:
    numbers = (0, 1, -1, 2**31 - 1, 2**31, 2**40, 2**62, -(2**63))
    floats = (np.inf, np.nan, 1e16, 1e300, -1e308, 1e-308, 0.0)
    if rng.random() < 0.5:
        raw = np.array(rng.choice(numbers), dtype=np.int64).tobytes()[: rng.choice((2, 4, 8))]
        raw = raw[::-1] if rng.random() < 0.5 else raw
    else:
        raw = np.array(rng.choice(floats), dtype=rng.choice(("<f8", ">f8", "<f4", ">f4"))).tobytes()
    # half of the time near the beginning, where headers are
    end = len(data) if rng.random() < 0.5 else min(len(data), 2048)
    start = rng.randrange(max(end - len(raw), 1))
    return data[:start] + raw + data[start + len(raw) :]


def _lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    action = rng.randrange(5)
    if action == 0:
        del lines[a]
    elif action == 1:
        lines.insert(b, lines[a])
    elif action == 2:
        lines[a], lines[b] = lines[b], lines[a]
    elif action == 3:
        lines[a] = lines[a] * rng.choice((2, 50))
    else:
        lines[min(a, b) : max(a, b)] = []
    return b"\n".join(lines)


def _word(data: bytes, rng: random.Random) -> bytes:
    spans = [match.span() for match in re.finditer(rb"[^\s,=\":]+", data)]
    if not spans:
        return data
    # half of the time in the first lines, where headers are
    few = spans if rng.random() < 0.5 else spans[: max(1, min(40, len(spans)))]
    start, stop = rng.choice(few)
    new = rng.choice(ABSURD).encode("utf-8", "surrogateescape")
    return data[:start] + new + data[stop:]


def _header(data: bytes, rng: random.Random) -> bytes:
    """Replace a word of a line ITEM, of the line after it, or of a comment line."""
    pattern = rb"(?m)^(?:ITEM:[^\n]*\n[^\n]*|[^\n]*(?:atoms|hi|types|xz yz|=)[^\n]*)$"
    found = list(re.finditer(pattern, data))
    if not found:
        return _word(data, rng)
    match = rng.choice(found)
    return data[: match.start()] + _word(match.group(), rng) + data[match.end() :]


def _insert(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    new = rng.choice(
        (
            *(b"\0", b"\0" * 100, b"\r", b"\n", b"\n\n", b"\t", b" ", b"\xff\xfe", b"\xe2\x80\xa8"),
            *(
                b"1 " * 3000,
                b"9" * 5000,
                b"x" * 300,
                b"ITEM: TIMESTEP\n",
                b"ITEM: ",
                b'"',
                b"=",
                b":",
            ),
            *(b"pos:R:999999999:", b"#", b"a:S:1:", b"ITEM: TIME\nnan\n"),
        )
    )
    return data[:start] + new + data[start:]


def _names(data: bytes, rng: random.Random) -> bytes:
    """Give a column another name."""
    found = list(re.finditer(rb"(?m)^ITEM: ATOMS ([^\n]*)$|Properties=(\S+)", data))
    if not found:
        return _insert(data, rng)
    match = rng.choice(found)
    names = (b"manifest", b"n" * 300, b"position", b"../../x", b"zarr.json", b"id", b"x", b"Mass")
    words = re.split(rb"([ :])", match.group())
    words[rng.randrange(len(words))] = rng.choice((*names, b"c", b"ix", b"xs", b"\xc3\xa9", b"\0"))
    return data[: match.start()] + b"".join(words) + data[match.end() :]


def _hdf5(data: bytes, rng: random.Random) -> bytes:
    """Replace a dataset, an attribute or a link of an HDF5 file that can be read."""
    try:
        return _replace(data, rng)
    except Exception:  # it was damaged before
        return data


def _replace(data: bytes, rng: random.Random) -> bytes:
    import h5py

    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        if not names:
            return data
        name = rng.choice(names)
        item, action = file[name], rng.randrange(6)
        if action == 0:
            del file[name]
        elif action == 1 and isinstance(item, h5py.Dataset):
            shape = tuple(rng.choice((0, 1, 3, n, n + 1, max(n - 1, 0))) for n in item.shape)
            kind = rng.choice(("f8", "f4", "i4", "i8", "S3", "?", item.dtype))
            try:
                values = np.resize(np.asarray(item[...]), shape).astype(kind)
            except (ValueError, TypeError):
                values = np.zeros(shape, dtype="f4")
            del file[name]
            file[name] = values
        elif action == 2:
            for key in list(item.attrs):
                if rng.random() < 0.5:
                    item.attrs[key] = rng.choice((b"\xff", "", "m", 5, [1.5, 2.5], "x" * 300))
        elif action == 3 and isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf":
            flat = np.asarray(item[...]).reshape(-1).copy()
            if flat.size:
                value = rng.choice((np.inf, np.nan, 1e16, 1e300, -1.0, 0.0, 2.0**40))
                with np.errstate(all="ignore"):
                    flat[rng.randrange(flat.size)] = np.array(value).astype(flat.dtype)
                item[...] = flat.reshape(item.shape)
        elif action == 4:
            del file[name]
            file[name] = rng.choice(
                (
                    h5py.ExternalLink("/etc/passwd", "/x"),
                    h5py.SoftLink(f"/{name}"),
                    h5py.SoftLink("/"),
                )
            )
        elif action == 5 and isinstance(item, h5py.Dataset) and item.ndim:
            shape = (rng.choice((10**6, 10**12)), *item.shape[1:])
            dtype = item.dtype
            del file[name]
            file.create_dataset(name, shape, dtype, chunks=(1, *shape[1:]))
    return buffer.getvalue()


ANY = (_flip, _cut, _drop, _repeat, _overwrite)
TEXT = (_flip, _cut, _drop, _repeat, _lines, _lines, _word, _word, _word, _header, _header, _header)
Mutation = Callable[[bytes, random.Random], bytes]


def mutated(dialect: str, seed: int, data: bytes) -> bytes:
    """Return the damaged bytes of a dialect; the same for the same seed."""
    rng = random.Random(f"{dialect} {seed}")
    is_binary = dialect.endswith((".h5md", ".nc", ".ncdf", "nc4", ".bin"))
    kinds: tuple[Mutation, ...] = ANY if is_binary else (*TEXT, _insert, _names)
    if dialect.endswith(".h5md") or dialect == "nc4":
        kinds = (*ANY, *(_hdf5,) * 5)
    packed = dialect in ("gz", "zst", "column.gz")
    inside = not packed or rng.random() < 0.5
    if inside:
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            data = rng.choice(kinds)(data, rng) if data else data
    if packed:
        data = _zst(data) if dialect == "zst" else _gz(data)
        data = data if inside else rng.choice(ANY)(data, rng)
    return data

"""Change values of a finished store as if mgdask had written the changed ones."""

from pathlib import Path

from mgdask.store import sources
from mgdask.store.manifest import Manifest
from mgdask.store.seals import read_seal
from mgdask.store.shards import chunks_per_shard, get_array, open_group


def reseal(store):
    """Let sizes and seals in the records fit the files; checksums and content stay."""
    manifest, group, store = Manifest(store), open_group(store), Path(store)
    for record in manifest.records().values():
        files, seals = {}, {}
        for file in record["files"]:
            path, array = store / file, get_array(group, file.split("/")[0])
            files[file] = path.stat().st_size if path.exists() else 0
            seals[file] = read_seal(path, chunks_per_shard(array)) if path.exists() else ""
        manifest.append({**record, "files": files, "seal": seals})
    sources._LOADED.clear()  # this process may have read the records of a second ago

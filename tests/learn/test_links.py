"""Connections between ranks refuse other callers, and sums have LightGBM's order."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from mgdask.errors import RunError
from mgdask.learn import train
from mgdask.learn.training import links, rank_host
from mgdask.learn.training.collectives import exchanging, sum_order
from mgdask.learn.training.links import connect, listen, new_identity
from mgdask.learn.training.rank_worker import read_small
from tests.learn.forked_rank import HOLD, ForkedRank
from tests.learn.test_training import client, files, rows_of, training_rank, wait_for  # noqa: F401

lightgbm = pytest.importorskip("lightgbm")
FORKED = multiprocessing.get_context("forkserver")


def connected(ranks, identity, listeners=None):
    """Links of ranks that are threads of this process."""
    listeners = listeners or [listen("127.0.0.1") for _ in range(ranks)]
    places = [listener.getsockname() for listener in listeners]
    with ThreadPoolExecutor(ranks) as pool:
        return list(
            pool.map(
                lambda k: connect(k, ranks, identity, listeners[k], places.__getitem__),
                range(ranks),
            )
        )


def exchanged(found):
    """Whether each rank gets from each other one what that one sent to it."""

    def swap(k):
        peers = [peer for peer in range(len(found)) if peer != k]
        into = {peer: bytearray(3_000_001) for peer in peers}
        out = {peer: bytes([k, peer, 7]) + bytes(2_999_998) for peer in peers}
        found[k].exchange(
            {peer: memoryview(data) for peer, data in out.items()},
            {peer: memoryview(data) for peer, data in into.items()},
        )
        return all(bytes(into[peer][:3]) == bytes([peer, k, 7]) for peer in peers)

    with ThreadPoolExecutor(len(found)) as pool:
        return all(pool.map(swap, range(len(found))))


def tls(place, identity=None, hello=b"\0\0\0\1"):
    """What a port answers to somebody who speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if identity is not None:
        with links._private_file(identity) as name:
            context.load_cert_chain(name)
    with socket.create_connection(place, 5) as plain, context.wrap_socket(plain) as link:
        link.sendall(hello)
        return link.recv(64)


def besiege(place, recorded, uid, said):
    """As another user: noise, a replay, no key, a wrong key, and connections that only wait."""
    wrong_key = new_identity()  # imports packages, which the other user may not read
    if os.getuid() == 0:
        os.setgroups([])
        os.setuid(uid)
    answers = []
    for noise in (b"", b"GET / HTTP/1.0\r\n\r\n", b"\0\0\0\1", os.urandom(4096), recorded):
        try:
            with socket.create_connection(place, 5) as link:
                link.sendall(noise)
                link.shutdown(socket.SHUT_WR)
                answers.append(link.recv(1))
        except OSError:  # it was cut off at once
            answers.append(b"")
    for identity in (None, wrong_key):
        try:
            answers.append(tls(place, identity))
        except OSError:
            answers.append(b"")
    waiting = [socket.create_connection(place, 5) for _ in range(20)]
    with contextlib.suppress(OSError):
        for link in waiting[::2]:
            link.sendall(b"\x16\x03\x01")  # the first bytes of TLS, and no more
    said.send(answers)
    said.recv()


@pytest.fixture
def siege():
    """Starts a stranger at a port; returns what the port answered to it. It stays there."""
    started = []

    def start(place, recorded=b""):
        here, there = FORKED.Pipe()
        process = FORKED.Process(target=besiege, args=(place, recorded, 65534, there))
        process.start()
        there.close()
        started.append((process, here))
        assert here.poll(60), "the stranger hangs"
        return here.recv()

    yield start
    for process, here in started:
        here.send(None)
        process.join(30)
        assert process.exitcode == 0


def recorded_handshake(identity):
    """What a true rank sends when it connects."""
    inner, outer = listen("127.0.0.1"), socket.create_server(("127.0.0.1", 0))
    said = []

    def relay():
        caller, _ = outer.accept()
        with caller, socket.create_connection(inner.getsockname()) as called:

            def copy(source, target, keep):
                while data := source.recv(65536):
                    if keep:
                        said.append(data)
                    target.sendall(data)

            back = threading.Thread(target=copy, args=(called, caller, False))
            back.start()
            copy(caller, called, True)
            called.shutdown(socket.SHUT_WR)
            back.join()

    thread = threading.Thread(target=relay)
    thread.start()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(connect, 0, 2, identity, inner, lambda k: None)
        second = pool.submit(
            connect, 1, 2, identity, listen("127.0.0.1"), lambda k: outer.getsockname()
        )
        second.result().close()
        first.result().close()
    thread.join()
    outer.close()
    return b"".join(said)


def test_ranks_connect_despite_other_callers(siege):
    identity = new_identity()
    replay = recorded_handshake(identity)
    assert len(replay) > 500
    listener, place_of = listen("127.0.0.1"), lambda k: place
    place = listener.getsockname()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(connect, 0, 2, identity, listener, place_of)
        answers = siege(place, replay)
        # of TLS, a refusal (a record of type 21) or a first answer (22), then the end
        assert all(answer in (b"", b"\x15", b"\x16") for answer in answers[:5])
        assert answers[5:] == [b"", b""]
        assert tls(place, identity, b"\0\0\0\7") == b""  # there is no such rank
        assert not first.done()
        second = connect(1, 2, identity, listen("127.0.0.1"), place_of)
        assert exchanged([first.result(), second])


def test_large_blocks_pass_all_ranks_at_once():
    assert exchanged(connected(3, new_identity()))


def test_a_lost_peer_ends_an_exchange_and_a_silent_one_too(monkeypatch):
    first, second = connected(2, new_identity())
    second.close()
    with pytest.raises(ConnectionError, match=r"the connection to rank 1 broke: it has ended"):
        first.exchange({}, {1: memoryview(bytearray(8))})
    third, fourth = connected(2, new_identity())
    monkeypatch.setattr(links, "MAX_WAIT", 0.05)
    with pytest.raises(ConnectionError, match=r"nothing came from rank 1 for"):
        third.exchange({}, {1: memoryview(bytearray(8))})
    fourth.close()
    place = ("127.0.0.1", listen("127.0.0.1").getsockname()[1])
    with pytest.raises(ConnectionError, match=r"no connection to rank 0 for"):
        connect(1, 2, new_identity(), listen("127.0.0.1"), lambda k: place)


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(RunError, match=r"cannot listen on 192\.0\.2\.1, the address of its worker"):
        listen("192.0.2.1")


def test_other_callers_do_not_change_a_model(files, client, siege, monkeypatch, tmp_path):  # noqa: F811
    options = {"objective": "regression", "num_boost_round": 20, "threads": 1, "progress": False}
    rows, stormed, found = rows_of(files, "y"), threading.Event(), {}

    def late(command, **streams):
        if command[6] == "1":  # the second rank lets the other callers come first
            assert stormed.wait(120)
        return ForkedRank(command, **streams)

    monkeypatch.setattr(
        rank_host,
        "subprocess",
        SimpleNamespace(Popen=late, TimeoutExpired=rank_host.subprocess.TimeoutExpired),
    )

    def storm():
        try:
            seen = wait_for(
                lambda: next(map(read_small, tmp_path.glob("attempt-*/port-0")), None), "a port"
            )
            rank = psutil.Process(read_small(next(tmp_path.glob("attempt-*/rank-0.json")))["pid"])
            found["listens"] = [
                c.laddr for c in rank.net_connections("inet") if c.status == "LISTEN"
            ]
            found["answers"] = siege(("127.0.0.1", seen["port"]))
        finally:
            stormed.set()

    thread = threading.Thread(target=storm)
    thread.start()
    model = train(rows, client=client, ranks=2, checkpoint=tmp_path, **options)
    thread.join()
    assert model.text == train(rows, **options).text
    assert not model.card["recovered"]
    assert [place.ip for place in found["listens"]] == ["127.0.0.1"]
    assert found["answers"][5:] == [b"", b""]


def test_nothing_listens_while_ranks_train(files, client, tmp_path):  # noqa: F811
    seen = []
    (tmp_path / HOLD).touch()

    def look():
        try:
            for rank in (0, 1):
                process = psutil.Process(training_rank(tmp_path, rank))
                seen.append({c.status for c in process.net_connections("inet")})
        finally:
            (tmp_path / HOLD).unlink()

    thread = threading.Thread(target=look)
    thread.start()
    options = {"objective": "regression", "num_boost_round": 100, "progress": False}
    train(rows_of(files, "y"), client=client, ranks=2, checkpoint=tmp_path, **options)
    thread.join()
    assert seen == [{"ESTABLISHED"}] * 2


def one_rank(own, rank, ports, identity, said):
    """Trains on a share of random rows over our connections, or over LightGBM's sockets."""
    ranks, rng = len(ports), np.random.default_rng(5)
    x = rng.normal(size=(900, 6))
    y = (x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(size=900) > 0).astype(float)
    bins = {"verbosity": -1, "num_threads": 1, "max_bin": 63}
    mine = slice(900 * rank // ranks, 900 * (rank + 1) // ranks)
    data = lightgbm.Dataset(x[mine], y[mine], reference=lightgbm.Dataset(x, params=bins))
    about = {**bins, "objective": "binary", "num_machines": ranks, "tree_learner": "data"}
    about |= {"pre_partition": True, "deterministic": True, "force_col_wise": True}
    if not own:
        about["machines"] = ",".join(f"127.0.0.1:{port}" for port in ports)
        about["local_listen_port"] = ports[rank]
        said.send(lightgbm.train(about, data, 8).model_to_string())
        return
    listener = listen("127.0.0.1")
    ports[rank] = listener.getsockname()[1]
    found = connect(
        rank, ranks, identity, listener, lambda k: ("127.0.0.1", ports[k]) if ports[k] else None
    )
    with exchanging(rank, ranks, found, lambda error: os._exit(1)):
        said.send(lightgbm.train(about, data, 8).model_to_string())


@pytest.mark.parametrize(
    "ranks", [3, *(pytest.param(k, marks=pytest.mark.slow) for k in (2, 4, 5, 6))]
)
def test_trees_have_the_bits_of_lightgbms_own_connections(ranks):
    texts = []
    for own in (True, False):
        # LightGBM does not say which ports it was given, so these have to be free by chance
        first = random.randrange(20_000, 30_000)
        ports = FORKED.Array("i", [0 if own else first + k for k in range(ranks)], lock=False)
        identity, pipes = new_identity(), [FORKED.Pipe() for _ in range(ranks)]
        processes = [
            FORKED.Process(target=one_rank, args=(own, k, ports, identity, pipes[k][1]))
            for k in range(ranks)
        ]
        for process in processes:
            process.start()
        assert all(here.poll(60) for here, _ in pipes)
        said = {here.recv().partition("\nparameters:")[0] for here, _ in pipes}
        for process in processes:
            process.join()
        assert len(said) == 1
        texts.append(said.pop())
    assert texts[0] == texts[1]


@pytest.mark.parametrize("ranks", range(2, 18))
def test_every_block_is_added_once(ranks):
    for rank in range(ranks):
        for is_ring in (False, True):
            sums = {k: {k} for k in range(ranks)}
            for source, target in sum_order(rank, ranks, is_ring):
                assert not sums[source] & sums[target]
                sums[target] |= sums.pop(source)
            assert sums[target] == set(range(ranks))

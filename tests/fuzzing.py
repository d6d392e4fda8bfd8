"""Files made wrong: bytes changed anywhere, and what a format can say but our files never do. All fixed by a seed."""

from __future__ import annotations

import contextlib
import copy
import gzip
import hashlib
import io
import json
import math
import struct
import tomllib
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import tomli_w
import torch

from deploy.certification.document import seal

Mutation = Callable[[np.random.Generator, Path], None]

DEEP = 3000
CONTROL = "\x1b[31mred\x1b[0m\x07\r\n\x00"
MARKUP = "[/a][bold]"


def choose(rng: np.random.Generator, options: Any) -> Any:
    """One of a sequence, as it is: numpy would make an array of it."""
    options = list(options)
    return options[int(rng.integers(len(options)))]


# bytes


def _bytes(rng: np.random.Generator, path: Path) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 8))):
        at = int(rng.integers(max(1, min(len(data), choose(rng, (64, 512, 1 << 30))))))
        kind = rng.integers(5)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[at : at + 4] = choose(rng, (b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00"))
        elif kind == 2:
            data[at:at] = bytes(rng.integers(0, 256, int(rng.integers(1, 40)), np.uint8))
        elif kind == 3:
            del data[at : at + int(rng.integers(1, 40))]
        else:
            data[at : at + 16] = bytes(rng.integers(0, 256, 16, np.uint8))
    path.write_bytes(data)


def _cut(rng: np.random.Generator, path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(len(data)))])


# values, for JSON, TOML and the dictionary in a checkpoint


def _nested(kind: int) -> Any:
    value: Any = 1
    for _ in range(200):
        value = [value] if kind else {"a": value}
    return value


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**12, 10**30, -(10**30), 0.5, -0.0, 1e300, math.inf, math.nan),
    *("", "a", CONTROL, MARKUP, "x" * 5000, "a" * 300 + ".pt", "../../../etc/passwd", "\udc80", "1e12"),
    *([], {}, [None], {"": None}, {CONTROL: MARKUP}, [[[]]], list(range(2000)), _nested(0), _nested(1)),
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside a value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def _changed(rng: np.random.Generator, value: Any, new: tuple[Any, ...] = VALUES) -> Any:
    value = copy.deepcopy(value)
    for _ in range(int(rng.integers(1, 3))):
        places = _places(value)
        if not places or rng.random() < 0.03:
            return choose(rng, new)
        container, key = choose(rng, places)
        kind = rng.random()
        if kind < 0.7:
            container[key] = copy.deepcopy(choose(rng, new))
        elif kind < 0.85 or isinstance(container, list):
            del container[key]
        else:
            container[choose(rng, ("new", CONTROL, MARKUP, "", "x" * 3000))] = container.pop(key)
    return value


RAW_JSON = ("[" * 100_000, '{"a":' * 5000, "1" * 6000, "\ufeff{}", "NaN", '{"a": Infinity}', "", "null", '"\\ud800"')


def _json(rng: np.random.Generator, path: Path) -> None:
    if rng.random() < 0.15:
        path.write_bytes(choose(rng, (*(text.encode() for text in RAW_JSON), b"\xff\xfe{}", b'{"\xff": 1}')))
        return
    value = _changed(rng, json.loads(path.read_text()))
    if isinstance(value, dict) and "seal" in value and rng.random() < 0.7:
        with contextlib.suppress(ValueError):  # of what no seal can be made
            sealed(path, value)
            return
    path.write_text(json.dumps(value), errors="replace")


def sealed(path: Path, value: dict[str, Any]) -> None:
    """Write a certificate as a liar does: whole by its own hash."""
    path.write_text(json.dumps(value | {"seal": seal(value)}, indent=1) + "\n", errors="replace")


def certify_again(path: Path) -> None:
    """The list of a certificate was made wrong: let the certificate say that this is the one."""
    value = json.loads(path.read_text())
    listed = path.parent / value["files"]["list"]["file"]
    value["files"]["list"]["sha256"] = hashlib.sha256(listed.read_bytes()).hexdigest()
    sealed(path, value)


def _lines(rng: np.random.Generator, path: Path) -> None:
    """Of lists, tables and journals: a line, or a word of it, is another."""
    lines = path.read_text().splitlines()
    odd = (*(str(value) for value in VALUES), "../../../etc/passwd", "/etc/passwd", ".", "a/" * 3000, *RAW_JSON)
    for _ in range(int(rng.integers(1, 4))):
        at, kind = int(rng.integers(len(lines))), rng.integers(4)
        if kind == 0:
            lines[at] = choose(rng, odd)
        elif kind == 1 and len(lines) > 1:
            del lines[at]
        elif kind == 2:
            lines.insert(at, choose(rng, lines))
        else:
            words = lines[at].split(" ")
            words[int(rng.integers(len(words)))] = choose(rng, odd)
            lines[at] = " ".join(words)
    path.write_text("\n".join(lines) + "\n", errors="replace")


# data sets: IDX, AEDAT, WAV


def _idx(rng: np.random.Generator, path: Path) -> None:
    zipped = path.suffix == ".gz"
    data = gzip.decompress(path.read_bytes()) if zipped else path.read_bytes()
    kind = rng.integers(5)
    if kind == 0:
        axes = choose(rng, (0, 1, 2, 3, 4, 70, 255))
        sizes = rng.choice([0, 1, 2, 28, 784, 1 << 16, (1 << 32) - 1], axes)
        data = struct.pack(f">BBBB{axes}I", 0, 0, 8, axes, *(int(size) for size in sizes)) + data[16:]
    elif kind == 1:
        data = struct.pack(">BBBB3I", 0, 0, 8, 3, choose(rng, (0, 1, 3)), 28, 28) + data[16:]
    elif kind == 2:
        data = data[:8] + bytes(rng.integers(0, 256, len(data) - 8, np.uint8))
    elif kind == 3:
        data = data[:2] + bytes([choose(rng, (0, 9, 13, 255))]) + data[3:]
    else:
        data = bytes(80_000_000) if zipped else b""
    path.write_bytes(gzip.compress(data, 1) if zipped else data)


def _aedat(rng: np.random.Generator, path: Path) -> None:
    data = path.read_bytes()
    at = data.index(b"#!END-HEADER\r\n") + 14
    fields = list(struct.unpack("<HHIIIIII", data[at : at + 28]))
    fields[int(rng.integers(len(fields)))] = choose(rng, (0, 1, 2, 8, 9, (1 << 16) - 1))
    wide = choose(rng, (0, 1, 1 << 31, (1 << 32) - 1))
    fields[int(rng.integers(2, len(fields)))] = wide
    events = data[at + 28 :] if rng.random() < 0.5 else bytes(rng.integers(0, 256, len(data) - at - 28, np.uint8))
    head = choose(rng, (data[:at], data[:at], b"#!AER-DAT3.1\r\n", b"#!AER-DAT2.0\r\n", b"#!AER-DAT3.1" + b"#" * 99))
    path.write_bytes(head + struct.pack("<HHIIIIII", *fields) + events)


def _wav(rng: np.random.Generator, path: Path) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 4))):
        at = int(choose(rng, (4, 16, 20, 22, 24, 28, 32, 34, 36, 40)))  # sizes, format, channels, rate, bits
        data[at : at + 2] = struct.pack("<H", choose(rng, (0, 1, 2, 3, 7, 8, 24, 65534, 65535)))
    path.write_bytes(data)


def _png(rng: np.random.Generator, path: Path) -> None:
    data = bytearray(path.read_bytes())
    wide, high = choose(rng, ((0, 0), (1 << 31, 1), (30_000, 30_000), (20_000, 20_000), (32, 33), (1, 1)))
    data[16:24] = struct.pack(">II", wide, high)
    if rng.random() < 0.7:
        data[24:26] = bytes(choose(rng, ((1, 0), (8, 2), (16, 0), (8, 3), (8, 6), (7, 9))))
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)


RAW_TOML = (
    "a = " + "[" * DEEP,
    "x = inf",
    "length = inf",
    "tau = nan",
    "layers = 1e12",
    "a = 1979-05-27",
    "a.b.c = {}",
)


def _toml(rng: np.random.Generator, path: Path) -> None:
    if rng.random() < 0.2:
        path.write_text(path.read_text() + "\n" + choose(rng, RAW_TOML))
        return
    new = tuple(value for value in VALUES if value is not None and not _holds_none(value) and value != "\udc80")
    value = _changed(rng, tomllib.loads(path.read_text()), new)
    try:
        path.write_text(tomli_w.dumps(value if isinstance(value, dict) else {"a": value}))
    except RecursionError:  # deeper than its writer goes
        path.write_text(RAW_TOML[0])


def _csv(rng: np.random.Generator, path: Path) -> None:
    rows = [line.split(",") for line in path.read_text().splitlines()]
    for _ in range(int(rng.integers(1, 4))):
        row = choose(rng, rows)
        new = choose(rng, (choose(rng, VALUES), '"', "1,2", "1\n2", "1e400", "0x1", "1_000", "\u0661"))
        row[int(rng.integers(len(row)))] = str(new)
    path.write_text("\n".join(",".join(row) for row in rows) + "\n", errors="replace")


def _holds_none(value: Any) -> bool:
    return any(container[key] is None for container, key in _places(value))


# .npy

SHAPES = (
    *("(2, 12, 2)", "(2, 12, 2", "()", "(-1, 12, 2)", "(0, 12, 2)", "(2.5,)", "(True, 12, 2)", "('2',)", "7", "None"),
    *("(99999999999999999999, 1)", "(1, " * 50 + "1" + ",)" * 50, f"({'1, ' * 70})", "(4611686018427387904, 4)"),
    *("(10**99,)", "[2, 12, 2]", "(2, 12, 1 << 60)", "(9223372036854775807, 0, 2)", "((((", '"""'),
)
DESCRS = (
    *("'<f4'", "'>f4'", "'<f8'", "'<c8'", "'|O'", "'<U3'", "'|V8'", "'<M8[s]'", "'<f2'", "'<f16'", "'|S0'", "'|b1'"),
    *("[('x', '<f4'), ('x', '<f4')]", "[('x', '<i4'), ('y', '<i4'), ('p', '<i4'), ('t', '<i8')]", "'<f4,<f4'", "None"),
    *("['<f4']", "('<f4', (2, 2))", "[('\\x1b[31m', '<i4')]", "'<U99999999999'", "[('a', 'O')]", "''", "{}", "[[]]"),
)


def _npy(rng: np.random.Generator, path: Path) -> None:
    data = path.read_bytes()
    body = data[data.index(b"\n") + 1 :]
    descr, order, shape = "'<f4'", "False", "(2, 12, 2)"
    kind = rng.integers(5)
    if kind in (0, 4):
        shape = choose(rng, SHAPES)
    if kind in (1, 4):
        descr = choose(rng, DESCRS)
    if kind == 2:
        order = choose(rng, ("True", "2", "None", "'no'", "[]"))
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    if kind == 3:
        odd = (
            "{",
            "",
            "{}",
            "(" * DEEP,
            "{'shape': (1,)}",
            header + "#",
            header[:-5],
            "\x00" * 9,
            header + "\n x",
            "é",
        )
        header = choose(rng, odd)
    text = header.encode("latin1", "replace") + b"\n"
    version = choose(rng, (1, 1, 1, 1, 2, 3, 9))
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    path.write_bytes(b"\x93NUMPY" + bytes((version, 0)) + size + text + body)


# HDF5


def _objects(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visit(names.append)
    return names


H5_VALUES: tuple[Callable[[], Any], ...] = (
    lambda: 1, lambda: -1, lambda: 2**63 - 1, lambda: math.nan, lambda: math.inf, lambda: True, lambda: 1j,
    lambda: "text", lambda: MARKUP, lambda: CONTROL.replace("\x00", ""), lambda: "x" * 5000,
    lambda: np.bytes_(b"\xff\xfe"),
    lambda: h5py.Empty("f4"), lambda: h5py.Empty("S3"), lambda: np.zeros(0), lambda: np.zeros((2, 0)),
    lambda: np.ones((2, 12)), lambda: np.ones((2, 12, 3), np.int8), lambda: np.ones(3, np.complex64),
    lambda: np.array([b"a", b"b"]), lambda: np.ones(2, [("a", "<i4"), ("b", "<f8")]), lambda: np.void(b"\x01\x02"),
    lambda: np.array([1, 2], np.uint64) << np.uint64(62), lambda: np.ones((1,) * 20), lambda: np.full((2, 12, 5), 7),
    lambda: np.array(1, h5py.enum_dtype({"A": 0, "B": 1}, "i")), lambda: np.ones(2, np.float16), lambda: np.bool_(True),
)  # fmt: skip


ODD: tuple[Callable[[h5py.File, str], Any], ...] = (
    lambda file, name: file.create_group(name),
    lambda file, name: file.create_dataset(name, data=file.ref, dtype=h5py.ref_dtype),
    lambda file, name: file.create_dataset(name, (3,), h5py.vlen_dtype(np.int32)),
    lambda file, name: file.create_dataset(name, (1 << 40,), "f4", chunks=True),
    lambda file, name: file.create_dataset(name, (4,), "u1", external=[("/etc/passwd", 0, 4)]),
    lambda file, name: file.__setitem__(name, np.dtype("f4")),
    lambda file, name: file.__setitem__(name, h5py.SoftLink("/nowhere")),
    lambda file, name: file.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/")),
)


def _hdf5(rng: np.random.Generator, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for _ in range(int(rng.integers(1, 3))):
            name = choose(rng, [*_objects(file), "new"])
            parent = file[name.rpartition("/")[0] or "/"]
            kind = rng.integers(12)
            if kind == 0:
                file.pop(name, None)
            elif kind <= 3:
                file.pop(name, None)
                file[name] = choose(rng, H5_VALUES)()
            elif kind <= 6:
                holders = [one for one in ("/", *_objects(file)) if len(file[one].attrs)] or ["/"]
                attrs = file[choose(rng, holders)].attrs
                attrs[choose(rng, [*attrs, "new"])] = choose(rng, (*H5_VALUES, lambda: file.ref))()
            elif kind == 7:
                file.pop(name, None)
                choose(rng, ODD)(file, name)
            elif kind == 8 and "zz_inner" not in file:
                _doubled(choose(rng, (file, parent)), int(rng.integers(2, 40)))
            elif kind == 9:
                parent["self"] = choose(rng, (parent, file["/"]))
            elif kind == 10 and name in file:
                new = choose(
                    rng, (MARKUP.replace("/", "|"), CONTROL.replace("\x00", ""), "x" * 2000, "n99_new", "é", ".")
                )
                if new not in parent and new != ".":
                    parent.move(name.rsplit("/", 1)[-1], new)
            elif name in file and "again" not in parent:
                parent["again"] = file[name]


def _doubled(group: h5py.Group, depth: int) -> None:
    """2^depth paths to one group, in a file of a few kB."""
    inner = group.file.create_group("zz_inner")
    for _ in range(depth):
        outer = group.file.create_group(None)
        outer["a"] = outer["b"] = inner
        inner = outer
    group["zz_doubled"] = inner


# checkpoints


def _tensors(like: torch.Tensor) -> tuple[Callable[[], Any], ...]:
    return (
        lambda: like.to_sparse(), lambda: like.to("meta"), lambda: like.to(torch.complex64), lambda: like.bool(),
        lambda: torch.quantize_per_tensor(like.float(), 0.1, 0, torch.qint8), lambda: like.to(torch.bfloat16),
        lambda: torch.zeros(1).expand(50_000, 50_000), lambda: torch.full_like(like.float(), math.nan),
        lambda: like.double() + 1e-12, lambda: torch.zeros(0), lambda: torch.tensor(1.0), lambda: like[..., :1],
        lambda: like.to(torch.float8_e4m3fn), lambda: torch.zeros(()).expand(like.shape),
        lambda: torch.nn.Parameter(like.float()),
        lambda: like.float().to_sparse_csr() if like.ndim == 2 else like.int(), lambda: torch.zeros((1,) * 30),
        lambda: torch.zeros(1 << 22).as_strided((4,), (1 << 20,)), lambda: {1: like},
        lambda: [like], lambda: like.numpy(),
    )  # fmt: skip


def _state(rng: np.random.Generator, path: Path) -> None:
    """Of what a run resumes from: tensors, and the values among them."""
    held = torch.load(path, weights_only=True)
    for _ in range(int(rng.integers(1, 3))):
        places = [
            (container, key)
            for container, key in _places(held)
            if rng.random() < 0.3 or container is held or isinstance(container[key], torch.Tensor)
        ]
        container, key = choose(rng, places)
        old = container[key]
        if isinstance(old, torch.Tensor) and rng.random() < 0.7:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                container[key] = choose(rng, _tensors(old if old.ndim else old.reshape(1)))()
        elif rng.random() < 0.7:
            container[key] = copy.deepcopy(choose(rng, VALUES))
        else:
            del container[key]
    torch.save(held, path)


def _checkpoint(rng: np.random.Generator, path: Path) -> None:
    held = {"state_dict": {}} | torch.load(path, weights_only=True)
    kind = rng.integers(6)
    if kind <= 1 and "config" in held:
        told = [name for name in ("scales", "task", "metrics") if name in held]
        part = choose(rng, told) if kind == 0 and told else "config"
        held[part] = _changed(rng, held[part])
    elif kind <= 2:
        held = _changed(rng, {key: value for key, value in held.items() if key != "state_dict"})
    else:
        name = choose(rng, held["state_dict"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            held["state_dict"][name] = choose(rng, _tensors(held["state_dict"][name]))()
        if kind == 3:
            key = choose(rng, (1, None, b"a", (1, 2), CONTROL, MARKUP, "x" * 3000, "", 1.5))
            held["state_dict"][key] = held["state_dict"].pop(name)
        if kind == 4:
            held = choose(rng, (held["state_dict"], [held], held["state_dict"][name], {1: 2}, {"model": held}, None))
    torch.save(held, path)


def _zip(rng: np.random.Generator, path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(made, "w") as new:
        chosen = choose(rng, old.namelist())
        kind = rng.integers(6)
        for name in old.namelist():
            data = old.read(name)
            if name == chosen or (kind == 5 and name.endswith("data.pkl")):
                if kind == 0:
                    continue
                data = (data, b"", data[: len(data) // 2], data * 2, b"\x80\x02}q\x00.", _nested_pickle())[kind]
            method = zipfile.ZIP_DEFLATED if rng.random() < 0.1 else zipfile.ZIP_STORED
            new.writestr(name, data, method)
        if rng.random() < 0.2:
            new.writestr(choose(rng, ("../../evil", CONTROL, "a/byteorder", "x" * 60000)), b"big")
    data = bytearray(made.getvalue())
    if rng.random() < 0.2:
        data[-18 : -18 + int(rng.integers(1, 5))] = bytes(rng.integers(0, 256, 4, np.uint8))  # disks, entries
    path.write_bytes(data)


def _nested_pickle() -> bytes:
    return b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."


def _described(rng: np.random.Generator, header: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint of ours says of its network."""
    ours = _changed(rng, json.loads(header["__metadata__"]["spikestrip"]))
    if isinstance(ours, dict) and rng.random() < 0.7:
        ours.pop("sha256", None)
    header["__metadata__"]["spikestrip"] = json.dumps(ours)
    return header


def _undescribed(rng: np.random.Generator, header: dict[str, Any]) -> dict[str, Any]:
    header["__metadata__"]["spikestrip"] = choose(rng, RAW_JSON)
    return header


def _renamed(rng: np.random.Generator, header: dict[str, Any]) -> dict[str, Any]:
    """A tensor of a run's shard by another name."""
    name = choose(rng, list(header))
    new = choose(rng, ("", "network.", "optimizer.0.step", "optimizer.99.step", "optimizer.9e9.step", CONTROL,
                       f"optimizer.{'9' * 5000}.step", "optimizer.0.a.b", "x" * 3000, name + "x"))  # fmt: skip
    header[new] = header.pop(name)
    return header


def _misplaced(rng: np.random.Generator, header: dict[str, Any]) -> dict[str, Any]:
    """A tensor of another type or shape, or that lies elsewhere."""
    entry = header[choose(rng, [name for name in header if name != "__metadata__"])]
    field = choose(rng, ("dtype", "shape", "data_offsets"))
    odd = ("F64", "I64", "BOOL", "F8_E4M3", "C64", [0], [-1], [1 << 62, 4], [], [1] * 40, [0, 1 << 62], [8, 0])
    entry[field] = choose(rng, odd)
    return header


def _header(*ways: Callable[[np.random.Generator, dict[str, Any]], Any]) -> Mutation:
    """The header of a safetensors file, changed in one of these ways."""

    def mutate(rng: np.random.Generator, path: Path) -> None:
        data = path.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
        header = ways[rng.integers(len(ways))](rng, header)
        text = json.dumps(header).encode()
        length = len(text) if rng.random() < 0.9 else int(choose(rng, (0, 1, len(text) - 1, 1 << 40, (1 << 64) - 1)))
        path.write_bytes(struct.pack("<Q", length) + text + body)

    return mutate


_safetensors = _header(_changed, _described, _undescribed, _misplaced)
_shard = _header(_changed, _renamed, _misplaced)


# ONNX


def _onnx(rng: np.random.Generator, path: Path) -> None:
    model = onnx.load(path)
    kind = rng.integers(5)
    if kind == 0:
        prop = choose(rng, model.metadata_props)
        prop.value = choose(rng, ("", CONTROL, "x" * 5000, "1e12", "[" * 50_000, "null", prop.value[:-5], "eJw=", "{}"))
    elif kind == 1:
        tensor = choose(rng, model.graph.initializer)
        tensor.dims[:] = choose(rng, ([1 << 40], [-1], [], [0], [1 << 62, 1 << 62]))
    elif kind == 2:
        tensor = choose(rng, model.graph.initializer)
        tensor.data_type = int(choose(rng, (0, 2, 8, 14, 16, 99)))
    elif kind == 3:
        tensor = choose(rng, model.graph.initializer)
        tensor.name = choose(rng, ("", CONTROL, "x" * 3000))
    else:
        node = choose(rng, model.graph.node)
        node.op_type = choose(rng, ("Loop", "Nothing", ""))
    path.write_bytes(model.SerializeToString())


MUTATIONS: dict[str, tuple[Mutation, ...]] = {
    ".npy": (_npy, _npy, _bytes, _cut),
    ".nir": (_hdf5, _hdf5, _hdf5, _bytes, _cut),
    ".net": (_hdf5, _hdf5, _hdf5, _bytes, _cut),
    ".h5": (_hdf5, _hdf5, _hdf5, _bytes, _cut),
    ".json": (_json, _json, _json, _bytes),
    ".toml": (_toml, _toml, _toml, _bytes),
    ".csv": (_csv, _csv, _csv, _bytes, _cut),
    ".pt": (_checkpoint, _checkpoint, _zip, _bytes, _cut),
    "last.pt": (_state, _state, _state, _zip, _bytes, _cut),
    ".ckpt": (_zip, _zip, _bytes, _cut),
    ".txt": (_lines, _lines, _bytes, _cut),
    ".jsonl": (_lines, _lines, _bytes, _cut),
    ".tokens": (_bytes, _cut),
    "": (_idx, _idx, _bytes, _cut),
    ".gz": (_idx, _idx, _bytes, _cut),
    ".aedat": (_aedat, _aedat, _bytes, _cut),
    ".wav": (_wav, _wav, _bytes, _cut),
    ".png": (_png, _png, _bytes, _cut),
    "last.1.0.safetensors": (_shard, _shard, _shard, _bytes, _cut),
    ".safetensors": (_safetensors, _safetensors, _bytes, _cut),
    ".onnx": (_onnx, _onnx, _bytes, _cut),
}


def mutate(path: Path, seed: int) -> None:
    """Change ``path`` in place, by what it is and ``seed``."""
    kind = ".txt" if path.parent.name == "metadata" else path.name if path.name in MUTATIONS else path.suffix
    rng = np.random.default_rng((seed, len(kind), *kind.encode()))
    choose(rng, MUTATIONS[kind])(rng, path)

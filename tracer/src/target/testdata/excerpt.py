#!/usr/bin/env python3
"""Cuts a Go program down to what vault-tracer reads of it: excerpt.py PROGRAM OUT [--compress|--strip]

PROGRAM is built with `go build -ldflags=-compressdwarf=false`. Its .go.buildinfo and .debug_abbrev
are kept whole; of .debug_info the first unit and, of the one that holds the types, the first entry
and that of runtime.g.
"""

import re
import struct
import subprocess
import sys
import zlib

program, out, *options = sys.argv[1:]
file = open(program, "rb").read()


def sections():
    offset, = struct.unpack_from("<Q", file, 40)
    size, count, names = struct.unpack_from("<HHH", file, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", file, offset + size * i) for i in range(count)]
    for header in headers:
        name = headers[names][4] + header[0]
        yield file[name:file.index(b"\0", name)].decode(), file[header[4]:header[4] + header[5]]


def excerpt(info):
    dump = subprocess.run(["readelf", "--debug-dump=info", program], capture_output=True, text=True)
    unit, entry, root_end, found = 0, 0, 0, None
    for line in dump.stdout.splitlines():
        if match := re.match(r"  Compilation Unit @ offset (\w+):", line):
            unit, root_end = int(match[1], 16), 0
        elif match := re.match(r" <1><(\w+)>:", line):
            entry = int(match[1], 16)
            root_end = root_end or entry
            if found:
                break
        elif re.search(r"DW_AT_name *: runtime\.g$", line):
            found = unit, root_end, entry
    unit, root_end, start = found
    body = info[unit + 4:root_end] + info[start:entry] + b"\0"
    first = 4 + struct.unpack_from("<I", info)[0]
    return info[:first] + struct.pack("<I", len(body)) + body


kept = {name: data for name, data in sections()}
wanted = {".go.buildinfo": kept[".go.buildinfo"]}
if "--strip" not in options:
    wanted[".debug_abbrev"] = kept[".debug_abbrev"]
    wanted[".debug_info"] = excerpt(kept[".debug_info"])

names, blob, headers = b"\0", bytearray(file[:64]), [bytes(64)]
for name, data in [*wanted.items(), (".shstrtab", b"")]:
    compress = "--compress" in options and name.startswith(".debug")
    if compress:
        data = struct.pack("<IIQQ", 1, 0, len(data), 1) + zlib.compress(data)
    at, names = len(names), names + name.encode() + b"\0"
    data = data or names
    kind, flags = (3 if name == ".shstrtab" else 1), (0x800 if compress else 0)
    headers.append(struct.pack("<IIQQQQIIQQ", at, kind, flags, 0, len(blob), len(data), 0, 0, 1, 0))
    blob += data
struct.pack_into("<Q", blob, 32, 0)  # no segments
struct.pack_into("<Q", blob, 40, len(blob))
struct.pack_into("<HHHHH", blob, 54, 0, 0, 64, len(headers), len(headers) - 1)
open(out, "wb").write(bytes(blob) + b"".join(headers))

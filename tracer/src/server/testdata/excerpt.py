#!/usr/bin/env python3
"""Cuts a Go program down to what vault-tracer reads of it: excerpt.py PROGRAM OUT [--compress|--strip|--parameters|--variables]

PROGRAM is built with `go build -ldflags=-compressdwarf=false`. Its .go.buildinfo and .debug_abbrev
are kept whole; of .debug_info the first unit and, of the one that holds the types, the first entry
and that of runtime.g. With --parameters instead: what describes the function LogRequest and the types
of its parameter, where it was in each section; the rest of those is zero, and all is compressed. With
--variables the same of sync.Mutex's lockSlow and its variable.
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
        elif re.search(r"DW_AT_name *: (?:\(string\) )?runtime\.g$", line):
            found = unit, root_end, entry
    unit, root_end, start = found
    body = info[unit + 4:root_end] + info[start:entry] + b"\0"
    first = 4 + struct.unpack_from("<I", info)[0]
    return info[:first] + struct.pack("<I", len(body)) + body


def entries():
    """Of all units: offset, depth, tag and attributes of each entry, in order."""
    dump = subprocess.run(["readelf", "-W", "--debug-dump=info", program], capture_output=True, text=True)
    found = []
    for line in dump.stdout.splitlines():
        if match := re.match(r" <(\w+)><(\w+)>: Abbrev Number: \d+ \((\w+)\)", line):
            found.append((int(match[2], 16), int(match[1], 16), match[3], {}))
        elif match := re.match(r" <(\w+)><(\w+)>: Abbrev Number: 0", line):
            found.append((int(match[2], 16), int(match[1], 16), "", {}))
        elif match := re.match(r" +<\w+> +(DW_AT_\w+) *: (?:\(\w+\) )?(?:<?0x)?([^ >,\t]*)", line):
            found[-1][3][match[1]] = match[2]
    return found


def locals_of(kept, function, tag_of_local, local):
    info, found = kept[".debug_info"], entries()
    wanted = {name: bytearray(len(data)) for name, data in kept.items() if name in LOCALS}
    ends = dict(zip([e[0] for e in found], [e[0] for e in found[1:]] + [len(info)]))

    def keep(name, start, end):
        wanted[name][start:end] = kept[name][start:end]

    def whole(i):
        """With all that is below it, and the mark behind that."""
        depth, last = found[i][1], i + 1
        while found[last][1] > depth and found[last][0] < len(info):
            last += 1
        keep(".debug_info", found[i][0], found[last][0])
        return found[i + 1:last]

    def index(offset):
        return next(i for i, entry in enumerate(found) if entry[0] == offset)

    def types(attributes):
        offset = int(attributes["DW_AT_type"], 16)
        entry = found[index(offset)]
        members = whole(index(offset)) if entry[2] == "DW_TAG_structure_type" else []
        keep(".debug_info", offset, ends[offset])
        if entry[2] in ("DW_TAG_pointer_type", "DW_TAG_typedef"):
            types(entry[3])
        for member in members:
            if member[3].get("DW_AT_name") == "Request":
                types(member[3])

    at, root = 0, None
    while at < len(info):
        # A unit's length and header.
        keep(".debug_info", at, at + (12 if info[4] == 5 else 11))
        at += 4 + struct.unpack_from("<I", info, at)[0]
    for i, (offset, depth, tag, attributes) in enumerate(found):
        if tag == "DW_TAG_compile_unit":
            root = found[i]
        elif tag == "DW_TAG_subprogram" and attributes.get("DW_AT_name", "").endswith(function):
            keep(".debug_info", root[0], ends[root[0]])
            for child in whole(i):
                if child[2] == tag_of_local and child[3].get("DW_AT_name") == local:
                    place = int(child[3]["DW_AT_location"], 16)
                    for name in (".debug_loc", ".debug_loclists"):
                        keep(name, place, place + 80) if name in wanted else None
                    types(child[3])
            if ".debug_addr" in wanted:
                base = int(root[3]["DW_AT_addr_base"], 16)
                keep(".debug_addr", base, base + 80)
            break
    wanted[".debug_abbrev"] = kept[".debug_abbrev"]
    return wanted


LOCALS = [".debug_info", ".debug_abbrev", ".debug_loc", ".debug_loclists", ".debug_addr"]
kept = {name: data for name, data in sections()}
wanted = {".go.buildinfo": kept[".go.buildinfo"]}
if "--parameters" in options:
    wanted = locals_of(kept, ".(*Broker).LogRequest", "DW_TAG_formal_parameter", "in")
elif "--variables" in options:
    wanted = locals_of(kept, "sync.(*Mutex).lockSlow", "DW_TAG_variable", "waitStartTime")
elif "--strip" not in options:
    wanted[".debug_abbrev"] = kept[".debug_abbrev"]
    wanted[".debug_info"] = excerpt(kept[".debug_info"])

names, blob, headers = b"\0", bytearray(file[:64]), [bytes(64)]
for name, data in [*wanted.items(), (".shstrtab", b"")]:
    compress = "--strip" not in options and options and name.startswith(".debug")
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

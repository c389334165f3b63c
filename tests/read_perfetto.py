"""Reads Perfetto traces by Perfetto's own definitions, those of its Python package, and checks what readers rely on.

Files as arguments. Prints for each its name and how many packets, slices and flows it holds; 77 without the package.
"""

import sys

try:
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as perfetto
    from google.protobuf.unknown_fields import UnknownFieldSet
except ImportError:
    sys.exit(77)

MONOTONIC, REALTIME = perfetto.BUILTIN_CLOCK_MONOTONIC, perfetto.BUILTIN_CLOCK_REALTIME
Event = perfetto.TrackEvent


def known(message):
    """No field, at any depth, that Perfetto does not know."""
    assert not len(UnknownFieldSet(message)), message
    for field, value in message.ListFields():
        if field.message_type:
            for part in value if field.is_repeated else [value]:
                known(part)


def check(path):
    trace = perfetto.Trace()
    with open(path, "rb") as file:
        data = file.read()
    assert trace.ParseFromString(data) == len(data)
    known(trace)

    first = trace.packet[0]
    assert first.first_packet_on_sequence and first.sequence_flags == perfetto.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    assert first.clock_snapshot.primary_trace_clock == MONOTONIC
    clocks = {clock.clock_id: clock.timestamp for clock in first.clock_snapshot.clocks}
    assert clocks.keys() == {MONOTONIC, REALTIME} and all(clocks.values()), clocks

    tracks, events = {}, []
    for packet in trace.packet:
        assert packet.trusted_packet_sequence_id == first.trusted_packet_sequence_id
        kind = packet.WhichOneof("data")
        if kind == "track_descriptor":
            track = packet.track_descriptor
            assert track.uuid and track.uuid not in tracks, track
            assert not track.parent_uuid or track.parent_uuid in tracks, track
            assert track.name or track.process.process_name and track.process.pid, track
            tracks[track.uuid] = track
        elif kind == "track_event":
            # Said before it is used, and of the right kind.
            track = tracks[packet.track_event.track_uuid]
            is_counter = packet.track_event.type == Event.TYPE_COUNTER
            assert is_counter == track.HasField("counter") == packet.track_event.HasField("counter_value"), packet
            assert packet.timestamp_clock_id == MONOTONIC and packet.timestamp, packet
            events.append(packet)
        else:
            assert packet is first, packet

    # As the trace processor does: by time, else as written.
    events.sort(key=lambda packet: packet.timestamp)
    open_slices, slices = {}, 0
    ends, begun = {}, {}
    for packet in events:
        event = packet.track_event
        stack = open_slices.setdefault(event.track_uuid, [])
        if event.type == Event.TYPE_SLICE_BEGIN:
            assert event.name, event
            stack.append((event.name, packet.timestamp))
            slices += 1
        elif event.type == Event.TYPE_SLICE_END:
            assert stack, ("ends, but never began", packet)
            stack.pop()
        elif event.type == Event.TYPE_INSTANT:
            assert event.name, event
        else:
            assert event.type == Event.TYPE_COUNTER, event
        for flow in event.flow_ids:
            assert flow and flow not in begun, ("begins twice", packet)
            begun[flow] = packet.timestamp
            # An arrow between slices, each by its instant if by nothing else.
            assert stack, ("leads from no slice", packet)
        for flow in event.terminating_flow_ids:
            assert flow in begun and flow not in ends, ("ends twice, or before it begins", packet)
            ends[flow] = packet.timestamp
            assert stack, ("leads to no slice", packet)
    assert not any(open_slices.values()), ("never end", open_slices)
    assert begun.keys() == ends.keys(), "flows without an end"
    print(path, len(trace.packet), slices, len(begun))


for path in sys.argv[1:]:
    check(path)

"""Reads OTLP/JSON from standard input with the protobuf runtime, strictly, and prints one JSON object a span.

Protobuf's own JSON has bytes in base64, OTLP's has ids in hex: those, and nothing else, are rewritten before.
"""

import base64
import json
import sys

try:
    from google.protobuf import json_format
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
except ImportError:
    sys.exit(77)

IDS = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


def rewrite(value):
    if isinstance(value, list):
        return [rewrite(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: in_base64(key, item) if key in IDS else rewrite(item) for key, item in value.items()}


def in_base64(key, digits):
    data = bytes.fromhex(digits)
    assert len(data) == IDS[key] and any(data) or key == "parentSpanId" and not data, (key, digits)
    return base64.b64encode(data).decode()


def requests(lines):
    """The requests in lines of OTLP/JSON."""
    for line in lines:
        yield json_format.ParseDict(rewrite(json.loads(line)), ExportTraceServiceRequest())


def main():
    for request in requests(sys.stdin):
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    tell(scope, span)


def tell(scope, span):
    assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano, span
    print(json.dumps({
        "scope": scope.scope.name,
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "name": span.name,
        "kind": span.kind,
        "status": span.status.code,
        "links": [link.trace_id.hex() + link.span_id.hex() for link in span.links],
        "attributes": {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes
                       if a.value.WhichOneof("value") != "array_value"},
    }))


if __name__ == "__main__":
    main()

"""A collector of gRPC's and protobuf's own Python: prints its ports, then each span that it gets, in hex.

`serve_otlp.py` serves gRPC and HTTP on loopback, on ports of the kernel's choice, until its standard input ends.
`serve_otlp.py read` prints the same lines of the OTLP/JSON on standard input.
"""

import json
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

try:
    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service
except ImportError:
    sys.exit(77)

import read_otlp

printing = threading.Lock()


def tell(request):
    with printing:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    parts = resource.resource, scope.scope, span
                    print(*(part.SerializeToString(deterministic=True).hex() for part in parts), flush=True)


class Grpc(service.TraceServiceServicer):
    def Export(self, request, context):
        tell(request)
        return messages.ExportTraceServiceResponse()


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        known = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
        if known:
            tell(messages.ExportTraceServiceRequest.FromString(body))
        answer = messages.ExportTraceServiceResponse().SerializeToString()
        self.send_response(200 if known else 404)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def serve():
    grpc_server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    service.add_TraceServiceServicer_to_server(Grpc(), grpc_server)
    grpc_port = grpc_server.add_insecure_port("127.0.0.1:0")
    grpc_server.start()
    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Http)
    threading.Thread(target=http_server.serve_forever, daemon=True).start()
    print(json.dumps({"grpc": grpc_port, "http/protobuf": http_server.server_port}), flush=True)
    sys.stdin.read()
    grpc_server.stop(None)


if sys.argv[1:] == ["read"]:
    for request in read_otlp.requests(sys.stdin):
        tell(request)
else:
    serve()

"""The OpenTelemetry SDK, unmodified, in an app that asks by tritonclient; and a collector that reads what it
and the workers tell by OpenTelemetry's own messages.

Says where the collector listens, reads `GRPC HTTP TASK WIDTH`, asks, and says what was well."""

import concurrent.futures
import sys
import time

import grpc
import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

TOLD = []


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans with the name of their service."""

    def Export(self, request, context):
        for of_process in request.resource_spans:
            known = {it.key: it.value.string_value for it in of_process.resource.attributes}
            for scope in of_process.scope_spans:
                TOLD.extend((known["service.name"], span) for span in scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Collector(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"http://127.0.0.1:{port}", flush=True)

GRPC, HTTP, TASK, WIDTH = sys.stdin.readline().split()
provider = TracerProvider(resource=Resource.create({"service.name": "app"}))
exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}", insecure=True)
provider.add_span_processor(BatchSpanProcessor(exporter))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("app")


def ask(module, address):
    """One question within a span of the app; the id of its trace and of the span."""
    features = module.InferInput("features", [1, int(WIDTH)], "FP32")
    features.set_data_from_numpy(np.zeros((1, int(WIDTH)), np.float32))
    with tracer.start_as_current_span("question") as span:
        headers = {}
        propagate.inject(headers)
        answer = module.InferenceServerClient(address).infer(TASK, [features], headers=headers)
        assert answer.as_numpy("label").shape == (1,)
        context = span.get_span_context()
        return context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")


def told_of(trace_id, spans_min):
    """What the collector knows of a trace, as soon as it is whole."""
    for _ in range(600):
        told = [(service, span) for service, span in TOLD if span.trace_id == trace_id]
        if any(span.name == "receipt" for _, span in told) and spans_min <= len(told):
            return told
        time.sleep(0.1)
    raise AssertionError(f"only {[(service, span.name) for service, span in told]}")


for name, module, address in (("gRPC", over_grpc, GRPC), ("HTTP", over_http, HTTP)):
    trace_id, span_id = ask(module, address)
    provider.force_flush()
    told = told_of(trace_id, 5)
    (app,) = [span for service, span in told if service == "app"]
    ours = [span for service, span in told if service == "sensemble-serving-worker"]
    (request,) = [span for span in ours if span.parent_span_id == span_id]
    assert app.span_id == span_id and request.kind == 2, told
    parts = [span for span in ours if span.parent_span_id == request.span_id]
    assert len(parts) == len(ours) - 1, told
    assert any(span.name.startswith("vote ") for span in parts), told
    for span in parts:
        assert request.start_time_unix_nano <= span.start_time_unix_nano, told
        assert span.end_time_unix_nano <= request.end_time_unix_nano, told
    # One machine has one clock; the app asked before it was heard.
    assert app.start_time_unix_nano <= request.start_time_unix_nano, told
    print(f"ok {name}", flush=True)

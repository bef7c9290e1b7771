"""Continues the caller's OpenTelemetry trace at the server, if there is one."""

import sys


def trace_headers() -> dict[str, str]:
    """Return the headers that name the current span (`traceparent`); none without a span.

    A program with a span has imported OpenTelemetry; in others it is not looked for.
    """
    headers: dict[str, str] = {}
    if "opentelemetry.trace" in sys.modules:
        from opentelemetry import propagate, trace

        if trace.get_current_span().get_span_context().is_valid:
            propagate.inject(headers)
    return headers

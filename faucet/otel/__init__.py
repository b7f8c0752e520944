"""Traces and metrics with OpenTelemetry, for services with `--otel-endpoint` or OTEL_* variables.

A finished request is appended to a queue; all other work happens in a thread, in batches. A service without telemetry
does not import this package, and only the thread imports the packages of OpenTelemetry. Imported by `service` and
`doctor`.
"""

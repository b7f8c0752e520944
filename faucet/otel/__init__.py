"""Traces and metrics by OpenTelemetry, for services with `--otel-endpoint` or OTEL_* variables.

A finished request is put into a list; everything else happens in a thread, in batches. Nothing here is imported by a
service that sends no telemetry, and the packages of OpenTelemetry only by that thread. Imported by `service` and
`doctor`.
"""

"""Kubernetes mode: the pods of a service as a fleet, each with one lock; `discovery` finds their endpoints.

Never starts or stops a pod by itself, and never gives a pod two requests at once, whatever discovery reports.
Imported by `status` and the floors above it.
"""

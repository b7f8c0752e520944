"""Which endpoints a service has: the pods behind a name, by DNS or from the Kubernetes API, and how that changes."""

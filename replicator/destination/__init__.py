"""Where replicas go: one interface, an adapter per kind of destination."""

"""MapRun: Distributed Map on Kubernetes."""

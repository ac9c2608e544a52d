"""Names, variables and metrics that deployments of before already have."""

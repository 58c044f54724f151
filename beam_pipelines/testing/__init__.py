"""What the tests of services and connectors need: a real PostgreSQL, runs that die on purpose."""

"""PostgreSQL by psycopg and ADBC."""

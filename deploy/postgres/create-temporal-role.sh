#!/bin/sh
# Runs once, when the data directory is made: the Temporal server gets a role that owns its own two databases and
# cannot see Durabill's.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$TEMPORAL_DB_PASSWORD" -U "$POSTGRES_USER" -d postgres <<'SQL'
CREATE ROLE temporal LOGIN CREATEDB PASSWORD :'password';
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;
REVOKE CONNECT ON DATABASE durabill FROM PUBLIC;
SQL

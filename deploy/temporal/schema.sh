#!/bin/sh
# Brings the Temporal server's two databases to the schema of this admin-tools version; safe to run again.
set -eu
for database in temporal temporal_visibility; do
  schema=${database#temporal_}
  tool="temporal-sql-tool --plugin postgres12 --endpoint postgres --port 5432 --user temporal --database $database"
  # A database that already has a version table refuses the first step; the second one then does the work.
  $tool setup-schema --version 0.0 || echo "$database already has a schema"
  $tool update-schema --schema-dir "/etc/temporal/schema/postgresql/v12/$schema/versioned"
done

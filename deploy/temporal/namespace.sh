#!/bin/sh
# Makes the namespace and the search attributes by which billing runs are found; safe to run again.
set -eu
attempt=0
until temporal operator cluster health; do
  attempt=$((attempt + 1))
  [ "$attempt" -lt 30 ] || { echo "the Temporal server did not become healthy"; exit 1; }
  sleep 2
done
temporal operator namespace describe --namespace default >/dev/null 2>&1 ||
  temporal operator namespace create --namespace default --retention 30d
for attribute in \
  DurabillProject=Keyword \
  DurabillCustomer=Keyword \
  DurabillPlan=Keyword \
  DurabillState=Keyword \
  DurabillPeriodEnd=Datetime \
  DurabillNeedsAttention=Bool; do
  name=${attribute%=*}
  temporal operator search-attribute list --namespace default | grep -qw "$name" ||
    temporal operator search-attribute create --namespace default --name "$name" --type "${attribute#*=}"
done

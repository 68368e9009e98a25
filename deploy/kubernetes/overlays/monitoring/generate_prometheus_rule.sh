#!/usr/bin/env bash
# Writes the PrometheusRule with the rules of deploy/prometheus/alerts.yml to standard output:
#   generate_prometheus_rule.sh > prometheus_rule.yaml
# tests/deploy/deploy_test.sh fails when the file there is not what this writes.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

cat <<'HEADER'
# Made from deploy/prometheus/alerts.yml by generate_prometheus_rule.sh; edit there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: tessera
  labels:
    app.kubernetes.io/name: tessera
spec:
HEADER
sed -e '/^#/d' -e 's/^\(.\)/  \1/' ../../../prometheus/alerts.yml

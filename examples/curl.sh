#!/bin/sh
# An agent without any client: who is there, an answer, an answer as it is written.
# OPENAI_BASE_URL, OPENAI_MODEL and OPENAI_API_KEY as `roundhouse client-config env` prints them.
set -eu
url=${OPENAI_BASE_URL:-http://127.0.0.1:8001/v1} model=${OPENAI_MODEL:-dev} key=${OPENAI_API_KEY:-not-needed}
ask() {
  curl --silent --show-error --fail --no-buffer \
    -H "Authorization: Bearer $key" -H 'Content-Type: application/json' "$@" && return
  status=$?
  echo "$url gives no answer: \`roundhouse status\` tells who serves, OPENAI_BASE_URL where." >&2
  exit "$status"
}
body() {
  printf '{"model": "%s", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": %s, "stream": %s}' \
    "$model" "${EXAMPLE_TOKENS:-256}" "$1"
}

ask "$url/models"
echo
ask "$url/chat/completions" -d "$(body false)"
echo
ask "$url/chat/completions" -d "$(body true)"

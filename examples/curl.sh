#!/bin/sh
# Use an agent with curl: list the models, request an answer, then request a streamed answer.
# `roundhouse client-config env` prints values for OPENAI_BASE_URL, OPENAI_MODEL and OPENAI_API_KEY.
set -eu
url=${OPENAI_BASE_URL:-http://127.0.0.1:8001/v1} model=${OPENAI_MODEL:-dev} key=${OPENAI_API_KEY:-not-needed}
ask() {
  curl --silent --show-error --fail --no-buffer \
    -H "Authorization: Bearer $key" -H 'Content-Type: application/json' "$@" && return
  status=$?
  echo "The request to $url failed. Check the agent with \`roundhouse status\`, and correct OPENAI_BASE_URL." >&2
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

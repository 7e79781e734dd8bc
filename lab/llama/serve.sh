#!/bin/sh
# Serve a Hugging Face folder of one of the lab's models with llama.cpp, under a name, on port 8080.
set -eu
to_gguf.py "$1" /tmp/model.gguf
exec llama-server --model /tmp/model.gguf --alias "$2" --host 0.0.0.0 --port 8080 --parallel 8 --ctx-size 16384 --jinja

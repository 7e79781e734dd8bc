"""Roundhouse: several specialised LLM agents, one vLLM engine on the track at a time.

Standard library only at import time, relative imports inside: the same package is run from a
checkout, from the folder that the `agents` role installs on a host, and from inside an Ansible
module (`ansible.module_utils.roundhouse`).
"""

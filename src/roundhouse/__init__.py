"""Roundhouse: several specialised LLM agents on one GPU, one vLLM engine active at a time.

Modules import only the standard library and, by relative imports, each other. So the same package runs from a
checkout, from the folder that the role `agents` installs on a host, and inside an Ansible module
(`ansible.module_utils.roundhouse`).
"""

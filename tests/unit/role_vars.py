"""Read a role's variables as Ansible reads and templates them."""

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar

from roundhouse.paths import CHECKOUT

# Without this call Ansible finds no plugin of ansible.builtin by its full name.
init_plugin_loader()


def template(role, name, **given):
    """Return a variable of the role; `given` are the host's."""
    loader = DataLoader()
    variables = dict(given)
    for file in sorted((CHECKOUT / "roles" / role / "vars/main").iterdir()):
        variables |= loader.load_from_file(str(file), trusted_as_template=True)
    return Templar(loader, variables=variables).template(variables[name])


def platforms(role, distribution):
    """Return the role's table for a distribution, by the releases' names."""
    facts = {"distribution": distribution, "os_family": "RedHat" if distribution == "RedHat" else "Debian"}
    # The defaults decide which repositories are refused.
    given = {f"{role}_repository_fingerprint": "", "ansible_facts": facts}
    return template(role, f"__{role}_platforms", **given)


def question(role, facts, **settings):
    """Return the role's settings for the decision and the apt repositories that it adds, with its defaults.

    `facts` are Ansible's facts of the host, `settings` those of an inventory.
    """
    loader = DataLoader()
    variables = loader.load_from_file(str(CHECKOUT / "roles" / role / "defaults/main.yml"), trusted_as_template=True)
    given = {**variables, **settings, "ansible_facts": facts}
    return template(role, f"{role}_question", **given), template(role, f"{role}_apt_sources", **given)

"""Ansible action: render a role's templates on the controller, for the module of the same name."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader
from ansible.utils.display import Display

from roundhouse.errors import RoundhouseError
from roundhouse.host import apt_get


class ActionModule(ActionBase):
    """One execution on the host, however many files there are."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if isinstance(arguments.get("files"), dict):
            arguments["files"] = {path: self._rendered(given, task_vars) for path, given in arguments["files"].items()}

        def write() -> dict[str, Any]:
            done: dict[str, Any] = self._execute_module("roundhouse_host_files", arguments, task_vars=task_vars)
            if done.get("code") in apt_get.LOCKED:
                raise RoundhouseError(done["code"], done["msg"], **done["fields"])
            return done

        def tell(line: str) -> None:
            Display().display(f"{task_vars['inventory_hostname']}: {line}")

        # The module returns at once if apt or dnf is locked: Ansible shows nothing of a module before its end.
        try:
            return result | apt_get.wait(write, tell)
        except RoundhouseError as error:
            return result | error.as_result()

    def _rendered(self, given: Any, task_vars: Any) -> Any:
        """Return a file's entry with its content in place of the template or the file of the role."""
        if not isinstance(given, dict) or not {"template", "source"} & given.keys():
            return given
        entry = {name: value for name, value in given.items() if name not in ("template", "vars", "source")}
        if "source" in given:
            path = self._find_needle("files", given["source"])
            return entry | {"content": self._loader.get_text_file_contents(path)}
        lookup = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
        (content,) = lookup.run([given["template"]], variables=task_vars, template_vars=given.get("vars", {}))
        return entry | {"content": content}

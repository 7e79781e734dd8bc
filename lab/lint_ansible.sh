#!/usr/bin/env bash
# Run ansible-lint on the roles and files that differ from the main branch. It checks everything if CI is set, if there
# is no main branch, or if a file with lint rules changed.
set -euo pipefail
cd "$(dirname "$0")/.."
everything=(ansible-lint --offline)
[[ -z ${CI:-} ]] || exec "${everything[@]}"
for main in origin/main main; do
    base=$(git merge-base HEAD "$main" 2>/dev/null) && break
done
[[ -n $base ]] || exec "${everything[@]}"

declare -A wanted=()
while read -r path; do
    case $path in
    .ansible-lint | .yamllint | ansible.cfg | requirements.yml | requirements/dev.txt | plugins/* | lab/lint_ansible.sh)
        exec "${everything[@]}"
        ;;
    roles/*/*) path=$(cut -d / -f 1-2 <<<"$path") ;;
    *.yml | *.yaml) ;;
    *) continue ;;
    esac
    [[ ! -e $path ]] || wanted[$path]=1
done < <(git diff --name-only "$base" && git ls-files --others --exclude-standard)
((${#wanted[@]})) || exit 0
printf 'ansible-lint: %s\n' "${!wanted[@]}" | sort
exec ansible-lint --offline "${!wanted[@]}"

"""Ansible inventories and files of variables in YAML form. Values of a vault are never read."""

from __future__ import annotations

from typing import Any

import yaml

from cockpit.inventory.ansible_tree import Hidden, Tree, Vars
from cockpit.inventory.found import BadSource, Place

_DEEPEST = 60


class _Loader(yaml.SafeLoader):
    """Every tag that is not YAML's own becomes Hidden; `!unsafe` is plain text."""


def _vault(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    return Hidden("in a vault")


def _unsafe(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    return node.value if isinstance(node, yaml.ScalarNode) else Hidden("unsafe and no text")


def _unknown(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    return Hidden("of a tag that is not known")


for _tag in ("!vault", "!vault-encrypted"):
    _Loader.add_constructor(_tag, _vault)
_Loader.add_constructor("!unsafe", _unsafe)
_Loader.add_multi_constructor("", _unknown)


def read_yaml(text: str, file: str, tree: Tree) -> None:
    """Adds the groups of a YAML inventory. Raises BadSource when it is not valid YAML."""
    loader, root = _composed(text, file)
    if root is None:
        return
    for name, node, place in _pairs(loader, root, file, tree):
        if name == "plugin":
            plugin = node.value if isinstance(node, yaml.ScalarNode) else "?"
            tree.remark(
                place, f"this configures the inventory plugin {plugin}, which is not run; "
                "give its result: ansible-inventory --list | cockpit import ansible -"
            )  # fmt: skip
            return
        _group(loader, name, node, file, tree, place, 1)


def read_vars(text: str, file: str, tree: Tree) -> Vars:
    """The variables of a file of group_vars or host_vars."""
    if text.startswith("$ANSIBLE_VAULT"):
        tree.remark(Place(file), "a vault: none of its values was read")
        return {}
    loader, root = _composed(text, file)
    return _variables(loader, root, file, tree) if root is not None else {}


def _composed(text: str, file: str) -> tuple[_Loader, yaml.Node | None]:
    try:
        loader = _Loader(text)
        return loader, loader.get_single_node()
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        raise BadSource(f"{Place(file, mark.line + 1 if mark else 0)}: not valid YAML: {e.problem}") from None
    except (yaml.YAMLError, RecursionError) as e:
        raise BadSource(f"{file}: not valid YAML: {type(e).__name__}") from None


def _pairs(loader: _Loader, node: yaml.Node, file: str, tree: Tree) -> list[tuple[str, yaml.Node, Place]]:
    """Key, value, place of a mapping; nothing at all is an empty one."""
    if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
        return []
    if not isinstance(node, yaml.MappingNode):
        tree.remark(Place(file, node.start_mark.line + 1), "a mapping was expected here")
        return []
    loader.flatten_mapping(node)
    out = []
    for key, value in node.value:
        place = Place(file, key.start_mark.line + 1)
        if isinstance(key, yaml.ScalarNode):
            out.append((str(key.value), value, place))
        else:
            tree.remark(place, "a key that is no text was left out")
    return out


def _group(
    loader: _Loader, name: str, node: yaml.Node, file: str, tree: Tree, place: Place, depth: int
) -> None:
    if depth > _DEEPEST:
        raise BadSource(f"{place}: groups nest deeper than {_DEEPEST}")
    group = tree.group(name)
    for key, value, at in _pairs(loader, node, file, tree):
        if key == "vars":
            group.vars.update(_variables(loader, value, file, tree))
        elif key == "children":
            for child, inner, spot in _pairs(loader, value, file, tree):
                if child not in group.children and child != name:
                    group.children.append(child)
                _group(loader, child, inner, file, tree, spot, depth + 1)
        elif key == "hosts":
            if isinstance(value, yaml.ScalarNode) and not value.tag.endswith(":null"):
                tree.add_hosts(str(value.value), name, {}, at)
                continue
            for pattern, inner, spot in _pairs(loader, value, file, tree):
                tree.add_hosts(pattern, name, _variables(loader, inner, file, tree), spot)
        else:
            tree.remark(at, f'"{key}" in group {name} is not understood: hosts, vars and children are')


def _variables(loader: _Loader, node: yaml.Node, file: str, tree: Tree) -> Vars:
    out: Vars = {}
    for key, value, place in _pairs(loader, node, file, tree):
        try:
            out[key] = (loader.construct_object(value, deep=True), place)
        except (yaml.YAMLError, ValueError, RecursionError):
            tree.remark(place, f"the value of {key} is not understood")
    return out

"""Whether the hooks' parameters are those that the manifest declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.executor.gate.btf import Btf, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.executor.gate.elf import ObjectFile, Symbol
    from shared.parameters import Parameter
    from shared.policies import Manifest


def about_parameters(
    manifest: Manifest, hooks: ObjectFile, types: Btf
) -> Iterator[tuple[str, str]]:
    """Rule and text of each difference, by name; contents and types have been looked at."""
    declared = {parameter.name: parameter for parameter in manifest.parameter}
    variables = {
        symbol.name: symbol
        for symbol in hooks.symbols
        if symbol.kind == "STT_OBJECT" and symbol.binding == "STB_GLOBAL"
    }
    data = hooks.content(".rodata")
    kinds = types.named(Kind.VAR)
    for name in sorted(variables.keys() | declared.keys()):
        text = ""
        if name not in declared:
            text = f"{name[:60]} is not in the manifest; make it static const if it is no parameter"
        elif name not in variables or not _is_integer(variables[name], kinds, types):
            text = f"{name} is declared in the manifest; define it as a const volatile integer"
        else:
            text = _about_value(declared[name], variables[name], data)
        if text:
            yield "parameter", text


def _is_integer(symbol: Symbol, kinds: dict[str, int], types: Btf) -> bool:
    number = kinds.get(symbol.name)
    if number is None or symbol.size not in {1, 2, 4, 8}:
        return False
    return types.integer_bytes(types.types[number].refers) == symbol.size


def _about_value(parameter: Parameter, symbol: Symbol, data: bytes) -> str:
    """What is wrong with the variable's size or first value; "" if nothing is."""
    signed = parameter.low < 0
    name, size = parameter.name, symbol.size
    try:
        default, _, _ = (
            value.to_bytes(size, "little", signed=signed)
            for value in (parameter.default, parameter.low, parameter.high)
        )
    except OverflowError:
        return f"{name}: its bounds do not fit {size} bytes"
    stored = data[symbol.offset : symbol.offset + size]
    if stored == default:
        return ""
    got = int.from_bytes(stored, "little", signed=signed)
    return f"{name}: the source says {got}, the manifest's default {parameter.default}"

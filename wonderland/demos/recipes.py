"""What to type next: code that sets up a method on a reader's model, ready to paste."""

from wonderland.maths.holding import Setting, unfreeze_ratio
from wonderland.maths.memory import Run, cost
from wonderland.maths.models import Model

PEFT = {
    "lora": "LoraConfig(r={rank}, lora_alpha={alpha}{conv}, target_modules={names})",
    "oft": "OFTConfig({oft}, target_modules={names})",
    "boft": "BOFTConfig(boft_block_size={boft_block}, boft_n_butterfly_factor={boft_factors}, target_modules={names})",
    "psoft": "PsoftConfig(r={psoft_rank}, target_modules={names})",
    "osft-peft": "OSFConfig(effective_rank={keep!r}, target_modules={names})",
}


def recipe(model: Model, method: str, setting: Setting, targets: str) -> str:
    """Python that sets a method up; ``model`` is the reader's, loaded.

    Raises
    ------
    ValueError
        If the method cannot be built on one of the layers.
    """
    trained = f"{cost(model, method, setting, targets, Run()).trained:,}"
    if method == "full":
        return f"model.requires_grad_(True)  # trains {trained} numbers\n"
    layers = model.targeted(targets)
    names = [layer.name for layer in layers]
    if method == "osft-core":
        ends = tuple(name if "." in name else f".{name}" for name in names)
        return (
            "from wonderland.backend.osft import constrain\n\n"
            f"ends = {_listed(ends, '()')}\n"
            'targets = [name for name, _ in model.named_modules() if f".{name}".endswith(ends)]\n'
            f"model = constrain(model, keep={setting.keep!r}, targets=targets)  # trains {trained} numbers\n"
        )
    if method == "osft-mini":
        ratio = unfreeze_ratio(setting.keep)
        return (
            "# mini_trainer trains by its own program; these are its arguments for OSFT.\n"
            f'osft = {{"osft": True, "osft_unfreeze_rank_ratio": {ratio!r}}}  # trains {trained} numbers\n'
        )
    call = PEFT[method].format(
        **vars(setting),
        alpha=2 * setting.rank,
        oft=f"r={setting.block}, oft_block_size=0" if setting.by_count else f"r=0, oft_block_size={setting.block}",
        conv=", fan_in_fan_out=True" if layers[0].conv1d else "",
        names='"all-linear"' if targets == "all linear" else _listed(names, "[]"),
    )
    kind = call.partition("(")[0]
    return (
        f"from peft import {kind}, get_peft_model\n\n"
        f"config = {call}\n"
        f"model = get_peft_model(model, config)  # trains {trained} numbers\n"
    )


def _listed(names: tuple[str, ...] | list[str], brackets: str) -> str:
    inside = ", ".join(f'"{name}"' for name in dict.fromkeys(names))
    return f"{brackets[0]}{inside}{',' * (brackets == '()' and len(names) == 1)}{brackets[1]}"

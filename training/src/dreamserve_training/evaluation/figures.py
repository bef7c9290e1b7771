"""How measurements are rounded."""


def rounded(value: float, decimals: int = 2) -> float:
    """Return `value` with so many `decimals`; below 1 with four digits, whatever its unit is."""
    return float(f"{value:.4g}") if abs(value) < 1 else round(value, decimals)

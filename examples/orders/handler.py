"""Values a batch of orders in euros: the work of one child execution of orders.yaml.

Rule 1: the input is the JSON file $MAPRUN_INPUT: {"BatchInput": {"rates": {currency: euros for one}}, "Items":
        [{"order", "quantity", "price", "currency"}]}. All of it are strings, as cells of a CSV file are.
Rule 2: the output is the last line that is written: a list with an answer for each order, in their order.
Rule 3: a batch fails as a whole. So an order that is wrong is an answer, {"order", "problem"}, and no failure: the
        other forty-nine are not lost with it.
"""

import json
import os
import sys
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

CENT = Decimal("0.01")


class Wrong(Exception):
    """What is wrong with an order."""


def value(order: dict[str, str], rates: dict[str, str]) -> Decimal:
    """What an order is worth in euros. `Wrong` when nobody can know."""
    if order["currency"] not in rates:
        raise Wrong(f"no rate for {order['currency']}")
    numbers = f"{order['quantity']} x {order['price']} are no numbers"
    try:
        quantity, price = int(order["quantity"]), Decimal(order["price"])
    except (ValueError, InvalidOperation) as error:
        raise Wrong(numbers) from error
    if not price.is_finite():
        raise Wrong(numbers)
    if quantity < 1:
        raise Wrong("nothing was ordered")
    return (quantity * price * Decimal(rates[order["currency"]])).quantize(CENT, ROUND_HALF_UP)


def answer(order: dict[str, str], rates: dict[str, str]) -> dict[str, str]:
    """The line of the result for one order."""
    try:
        return {"order": order["order"], "euros": str(value(order, rates))}
    except Wrong as wrong:
        return {"order": order["order"], "problem": str(wrong)}


def main() -> None:
    """Run once."""
    with open(os.environ["MAPRUN_INPUT"], encoding="utf-8") as file:
        event = json.load(file)
    rates = event["BatchInput"]["rates"]
    sys.stdout.write(json.dumps([answer(order, rates) for order in event["Items"]]) + "\n")


if __name__ == "__main__":
    main()

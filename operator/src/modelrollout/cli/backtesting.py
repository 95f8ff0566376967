import click


@click.command()
def backtest() -> None:
    """x"""

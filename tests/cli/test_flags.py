"""Shared flags become one value, whatever stands beside them."""

from __future__ import annotations

import click
import pytest

from confiture.cli.flags import ALL_INSTALLED, Flags, run_options


def parsed(*arguments: str) -> Flags:
    @click.command()
    @run_options
    def command(flags: Flags) -> Flags:
        return flags

    with command.make_context("run", list(arguments)) as context:
        flags: Flags = command.invoke(context)
    return flags


def test_without_flags_nothing_is_given():
    assert parsed() == Flags()


@pytest.mark.parametrize(
    "arguments, plugins, to",
    [
        (["--plugins"], ALL_INSTALLED, None),
        (["--plugins", "--to", "5"], ALL_INSTALLED, "5"),
        (["--to", "5", "--plugins"], ALL_INSTALLED, "5"),
        (["--plugins", "-v"], ALL_INSTALLED, None),
        (["--plugins", "a,b"], "a,b", None),
        (["--plugins=a,b", "--to=5"], "a,b", "5"),
        (["--plugins", ""], "", None),
        (["--plugins="], "", None),
        ([], None, None),
    ],
)
def test_plugins_may_have_names_or_none(arguments, plugins, to):
    flags = parsed(*arguments)

    assert (flags.plugins, flags.to) == (plugins, to)


def test_every_shared_flag_is_understood():
    flags = parsed(
        *("--url", "u", "--migrations", "m", "--env", "e", "--wait", "5", "--output", "json=f", "-v", "-q"),
        *("--no-plugins", "--locked", "--lock-wait", "2min", "--wait-concurrently", "250ms"),
        *("--allow-out-of-order", "--output", "text"),
    )

    assert flags == Flags(
        url="u",
        migrations="m",
        env="e",
        wait_s=5.0,
        lock_wait_s=120.0,
        wait_concurrently="250ms",
        allow_out_of_order=True,
        no_plugins=True,
        locked=True,
        output=("json=f", "text"),
        verbose=True,
        quiet=True,
    )


def test_flags_are_given_to_the_settings():
    given = parsed("--url", "u", "--wait", "1", "--lock-wait", "2", "--env", "e")

    assert (given.url, given.wait_s, given.lock_wait_s, given.env) == ("u", 1.0, 2.0, "e")
    assert given.allow_out_of_order is None

"""`longtake completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import argparse

NAME = "completion"
SUMMARY = "print what lets a shell complete commands and options"
DESCRIPTION = """\
Prints a script for your shell. Evaluate it where the shell starts, and <Tab> completes commands, options and their
values."""
EXAMPLES = """\
examples:
  eval "$(longtake completion bash)"                       in ~/.bashrc
  eval "$(longtake completion zsh)"                        in ~/.zshrc, after compinit
  longtake completion fish | source                        in ~/.config/fish/config.fish
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(args: argparse.Namespace) -> int:
    from argcomplete.shell_integration import shellcode

    print(shellcode(["longtake"], shell=args.shell))
    return 0

"""`lm-probe tasks`: lists the tasks, or prints the folder that lm-eval's `--include_path` wants."""

import argparse

NAME = "tasks"
HELP = "list the tasks that this package adds to lm-eval"
EXAMPLE = 'lm_eval run --include_path "$(lm-probe tasks --path)" --tasks count_query_m5 --model_args pretrained=gpt2'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--path", action="store_true", help="print only the folder of the tasks, for lm-eval")


def run(args: argparse.Namespace) -> int:
    """Print the list, or the folder."""
    from lm_probe.eval_tasks import listing, tasks_path

    if args.path:
        print(tasks_path())
        return 0
    width = max(len(name) for rows in listing().values() for name, _ in rows)
    for heading, rows in listing().items():
        print(f"{heading}:")
        for name, what in rows:
            print(f"  {name:<{width}}  {what}")
    return 0

"""`python -m ms_plm_ascend.launch RECIPE ...`: a recipe on all devices of one or many machines, by msrun."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from ms_plm.common.errors import UsageError, UserError
from ms_plm.config.loading import ResolvedRecipe, resolve_recipe
from ms_plm.config.model import ModelConfig
from ms_plm.config.places import place
from ms_plm.config.recipe import Recipe
from ms_plm.training.throughput import parameter_count
from ms_plm_ascend.launch.checks import problems
from ms_plm_ascend.launch.cores import allowed_cores, bind, physical_devices
from ms_plm_ascend.launch.fusion import fusion_mb
from ms_plm_ascend.launch.job import PORT, Job, command, environment, python_folder, run_folder
from ms_plm_ascend.launch.supervise import Supervisor, refuse

PROGRAM = "python -m ms_plm_ascend.launch"
USUAL_VOCABULARY = 21128
"""Entries where the vocabulary cannot be read yet: that of the Chinese BERT and NEZHA."""
EPILOG = f"""\
examples:
  {PROGRAM} nezha_base_pretrain_ascend data.corpus=prepared/zh --dry-run
  {PROGRAM} nezha_base_pretrain_ascend data.corpus=prepared/zh --devices 8
  {PROGRAM} nezha_large_pretrain_ascend data.corpus=/shared/zh --nodes a01,a02     the same on a01 and on a02
  {PROGRAM} nezha_large_pretrain_ascend data.corpus=/shared/zh --nnodes 2 --node-rank 1 --master-addr 10.0.0.1
  {PROGRAM} quickstart --device cpu --devices 2

After a loss (a process killed, a machine gone) it starts the job again with --resume, up to --relaunch times, as long
as each attempt wrote a checkpoint beyond the last one's. What a user has to mend is not tried again. Ctrl-C or SIGTERM:
the processes write a checkpoint and end. Exit codes: 0 done, 1 failed, 2 used wrongly.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Start a recipe on all devices of one or many machines, by msrun.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="name of a shipped recipe, a file, or a run folder")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to change")
    parser.add_argument("--devices", type=int, default=8, help="processes of each machine (default 8)")
    parser.add_argument("--device", choices=("ascend", "cpu"), default="ascend", help="default: ascend")
    many = parser.add_argument_group("several machines: the same command on each, --node-rank excepted")
    many.add_argument("--nodes", metavar="HOSTS", help="names or addresses, a comma between; the first is the master")
    many.add_argument("--nnodes", type=int, metavar="N", help="number of machines")
    many.add_argument("--node-rank", type=int, metavar="R", help="number of this one, from 0")
    many.add_argument("--master-addr", metavar="A", help="address of machine 0 (default on one machine: 127.0.0.1)")
    many.add_argument("--master-port", type=int, default=PORT, metavar="PORT", help=f"default {PORT}")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="continue the run in the existing folder")
    again.add_argument("--overwrite", action="store_true", help="remove the existing run folder and start anew")
    parser.add_argument("--relaunch", type=int, default=3, metavar="N", help="starts after a loss (default 3)")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="default: beside the run folder, NAME.logs")
    parser.add_argument("--bind", choices=("numa", "msrun", "none"), help="cores; default: numa on ascend, none on cpu")
    hccl = parser.add_argument_group("communication on Ascend; variables of the environment count too")
    hccl.add_argument("--ifname", metavar="NAME", help="HCCL_SOCKET_IFNAME: network interfaces for the first contact")
    hccl.add_argument("--if-ip", metavar="IP", help="HCCL_IF_IP: address of this machine for the first contact")
    hccl.add_argument("--lccl", choices=("on", "off"), help="MS_ENABLE_LCCL: on one machine; needs impl.jit_level=O0")
    parser.add_argument("--dry-run", action="store_true", help="print environment and commands, start nothing")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code. (argparse itself leaves with 2 by SystemExit.)"""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if strays := [item for item in rest if item.startswith("-") or "=" not in item]:
        parser.error(f"unrecognized arguments: {' '.join(strays)}")
    args.overrides = [*args.overrides, *rest]
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format="launch: %(message)s", stream=sys.stderr)
    try:
        job = job_of(args)
        if args.dry_run:
            print("\n".join(describe(job, args)))
            return 0
        refuse(problems(job, args.resume, args.overwrite))
        flags = tuple(flag for flag, given in (("--resume", args.resume), ("--overwrite", args.overwrite)) if given)
        return Supervisor(job, args.relaunch).run(flags)
    except UserError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


def job_of(args: argparse.Namespace, rank: int | None = None) -> Job:
    """What the command line asks this machine to start; `rank` overrides which machine this is.

    Raises:
        UserError: the recipe is not right, or the options do not fit each other.
    """
    if args.devices < 1 or args.relaunch < 0 or (args.nnodes is not None and args.nnodes < 1):
        raise UsageError("expected --devices and --nnodes of at least 1, and --relaunch of at least 0.")
    nodes, own, master = machines(args)
    overrides = [*args.overrides, f"impl.device={args.device}"]
    if any(item.partition("=")[0].strip() == "impl.device" for item in args.overrides):
        raise UsageError("impl.device is set by --device here; leave it out of the overrides.")
    resolved = resolve_recipe(args.recipe, overrides)
    if resolved.recipe.several:
        raise UsageError(
            f"{resolved.recipe.name} is made of several runs (train.repeats, grid or a suite). Make their folders with "
            "`ms-plm run ... --plan`, launch each folder with --resume, then `ms-plm run` the whole with --resume."
        )
    folder, recipe = run_folder(resolved.recipe), resolved.recipe
    return Job(
        name=args.recipe,
        overrides=tuple(overrides),
        recipe=recipe,
        device=args.device,
        devices=args.devices,
        nodes=nodes,
        rank=own if rank is None else rank,
        master=master,
        port=args.master_port,
        logs=args.logs or folder.with_name(f"{folder.name}.logs"),
        hccl=_hccl(args, nodes, recipe),
        binding=_binding(args),
        msrun=_msrun(),
        added=_fusion(resolved, nodes, nodes * args.devices) if args.device == "ascend" else {},
    )


def machines(args: argparse.Namespace) -> tuple[int, int, str]:
    """How many there are, which one this is, and the address of the first.

    Raises:
        UsageError: the options do not say it.
    """
    if not args.nodes:
        nodes = args.nnodes or 1
        if nodes > 1 and (args.node_rank is None or not args.master_addr):
            raise UsageError(f"--nnodes {nodes} needs --node-rank and --master-addr (or give --nodes HOSTS instead).")
        rank = args.node_rank or 0
        if not 0 <= rank < nodes:
            raise UsageError(f"--node-rank {rank}: expected 0 to {nodes - 1}.")
        return nodes, rank, args.master_addr or "127.0.0.1"
    hosts = _hosts(args)
    if args.nnodes not in (None, len(hosts)):
        raise UsageError(f"--nodes names {len(hosts)} machines, --nnodes {args.nnodes}. Give one of them.")
    if len(set(hosts)) != len(hosts):
        raise UsageError(f"--nodes {args.nodes}: a machine is named twice.")
    master = args.master_addr or hosts[0]
    if args.node_rank is not None:
        if not 0 <= args.node_rank < len(hosts):
            raise UsageError(f"--node-rank {args.node_rank}: expected 0 to {len(hosts) - 1}.")
        return len(hosts), args.node_rank, master
    own = [number for number, host in enumerate(hosts) if is_this_machine(host)]
    if len(own) != 1:
        which = "none of them is" if not own else "more than one is"
        if args.dry_run:
            return len(hosts), 0, master
        raise UsageError(f"--nodes {args.nodes}: {which} this machine, by its names and addresses. Add --node-rank.")
    return len(hosts), own[0], master


def _hosts(args: argparse.Namespace) -> list[str]:
    return [host.strip() for host in args.nodes.split(",") if host.strip()]


def is_this_machine(host: str) -> bool:
    """Whether a name or an address is of this machine: one can only listen at addresses of one's own."""
    if host in (socket.gethostname(), socket.gethostname().partition(".")[0]):
        return True
    try:
        address = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _msrun() -> str:
    """msrun on PATH, else beside this Python."""
    beside = Path(sys.executable).parent / "msrun"
    return shutil.which("msrun") or (str(beside) if beside.is_file() else "msrun")


def _hccl(args: argparse.Namespace, nodes: int, recipe: Recipe) -> dict[str, str]:
    asked = {"HCCL_SOCKET_IFNAME": args.ifname, "HCCL_IF_IP": args.if_ip, "MS_ENABLE_LCCL": args.lccl}
    if args.lccl == "on" and (nodes > 1 or recipe.impl.jit_level != "O0"):
        raise UsageError("--lccl on is for one machine and graphs of level O0: add impl.jit_level=O0, or leave it out.")
    return {name: value for name, value in asked.items() if value}


def _binding(args: argparse.Namespace) -> str:
    """msrun's `--bind_core`."""
    how = args.bind or ("numa" if args.device == "ascend" else "none")
    if how != "numa":
        return "True" if how == "msrun" else ""
    visible = os.environ.get("ASCEND_RT_VISIBLE_DEVICES") if args.device == "ascend" else None
    bound = bind(physical_devices(args.devices, visible), allowed_cores())
    return json.dumps(bound, separators=(",", ":")) if bound else ""


def _fusion(resolved: ResolvedRecipe, nodes: int, processes: int) -> dict[str, str]:
    """`impl.parallel.fusion_mb` from the model's size, unless the recipe or the command line sets it."""
    if ("impl", "parallel", "fusion_mb") in resolved.origins or processes == 1:
        return {}
    recipe = resolved.recipe
    micro_batch = recipe.impl.micro_batch or recipe.train.batch // processes
    size, reason = fusion_mb(parameter_count(model_of(recipe)), nodes, recipe.train.batch > micro_batch * processes)
    return {f"impl.parallel.fusion_mb={size}": reason}


def model_of(recipe: Recipe) -> ModelConfig:
    """The model of a recipe; its vocabulary is as large as usual where neither recipe nor parent gives a size."""
    parent = place(recipe.model.from_) if recipe.model.from_ else None
    if parent and (parent / "config.json").is_file():
        return ModelConfig.load(parent)
    return recipe.model.build(USUAL_VOCABULARY)


def describe(job: Job, args: argparse.Namespace) -> list[str]:
    """Environment and command of each machine as a shell would take them, and what this machine lacks."""
    lines = [f"# {job.nodes} machine{'s' if job.nodes > 1 else ''} x {job.devices} processes on {job.device}"]
    lines += [f"# run folder {job.folder.absolute()}", f"# logs {job.logs.absolute()}"]
    lines += [f"# {override}: {reason}" for override, reason in job.added.items()]
    flags = tuple(flag for flag, given in (("--resume", args.resume), ("--overwrite", args.overwrite)) if given)
    everyone = range(job.nodes) if args.nodes else [job.rank]
    for rank in everyone:
        one = job_of(args, rank) if args.nodes else job
        host = f" ({_hosts(args)[rank]})" if args.nodes else ""
        lines += ["", f"# machine {rank}{host}"]
        path = python_folder(os.environ.get("PATH", ""))
        lines += [f'export PATH={shlex.quote(path)}:"$PATH"'] if path else []
        chosen = environment(one, os.environ)
        lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(chosen.items())]
        lines.append(shlex.join(command(one, 1, flags)))
    lines += ["", f"# after a loss, up to {args.relaunch} times: the same with --resume"]
    found = problems(job, args.resume, args.overwrite)
    lines += [f"# on this machine, this would be refused: {text}" for text in found]
    return lines


if __name__ == "__main__":
    sys.exit(main())

"""Compiling a training step for Ascend on a machine that has neither the device nor CANN.

`stubs` makes libraries that export the names which MindSpore's Ascend plugin asks for, `worker` compiles a recipe's
step on them in a process of its own, `reading` counts what MindSpore wrote about it, `dry_run` puts it together for
`ms-plm run RECIPE --dry-run-ascend`. `python -m ms_plm_ascend.simulate` makes tables over several settings.

What this tells and what not: `ascend/README.md`.
"""

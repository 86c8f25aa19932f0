#!/usr/bin/env python3
"""Measures deeplpf beside PyTorch and ONNX Runtime and writes docs/benchmarks.md.

Standard library only; --python names an interpreter that has the packages of requirements.txt.
Every measurement is a process of its own; the sides take turns in each of several rounds. Before
anything is timed, the peers must compute what deeplpf computes.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from comparing import environment, page, plan  # noqa: E402
from comparing.processes import PEERS, ROOT, Runner, Stop, checked  # noqa: E402

PLOTS = ("growth-time", "growth-memory")


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", help="interpreter with the peers' packages")
    parser.add_argument(
        "--groups", default=",".join(plan.GROUPS), metavar="LIST",
        help=f"what to measure, of {', '.join(plan.GROUPS)}; the others keep their numbers",
    )
    parser.add_argument("--rounds", type=int, help="rounds of each measurement (3; quick: 1)")
    parser.add_argument(
        "--budget", type=float, help="seconds of repetitions in each process (3; quick: 1)"
    )
    parser.add_argument(
        "--largest", type=float, metavar="MP",
        help="leave out photographs above so many megapixels (quick: 2)",
    )
    parser.add_argument(
        "--quick", action="store_true",
        help="a trial in a few minutes, whose page goes to target/peers/quick",
    )
    parser.add_argument(
        "--weights", type=Path, help="weights of the release's network; random ones by default"
    )
    parser.add_argument(
        "--golden", type=Path, default=os.environ.get("DEEPLPF_GOLDEN"),
        help="vectors of the authors' program to check the twin with (DEEPLPF_GOLDEN)",
    )
    parser.add_argument("--output", type=Path, help="the folder of the page (docs)")
    parser.add_argument(
        "--render-only", action="store_true", help="write the page anew from the numbers there are"
    )
    args = parser.parse_args()
    args.groups = [name.strip() for name in args.groups.split(",") if name.strip()]
    for name in args.groups:
        if name not in plan.GROUPS:
            parser.error(f"--groups: `{name}` is none of {', '.join(plan.GROUPS)}")
    args.rounds = args.rounds if args.rounds is not None else 1 if args.quick else 3
    args.budget = args.budget if args.budget is not None else 1.0 if args.quick else 3.0
    largest = args.largest if args.largest is not None else 2 if args.quick else 1000
    if args.rounds < 1 or args.budget <= 0 or largest <= 0:
        parser.error("--rounds, --budget and --largest must be above 0")
    args.largest_pixels = largest * 1e6
    quick = ROOT / "target" / "peers" / "quick"
    args.output = args.output or (quick if args.quick else ROOT / "docs")
    if not (args.render_only or args.python):
        parser.error("name the interpreter with --python; see benches/peers/README.md")
    return args


def write_whole(path, text):
    """Through a temporary in the same folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


def read_documents(folder):
    """The groups' files; None for those that are not there."""
    documents = {}
    for name in plan.GROUPS:
        path = folder / f"{name}.json"
        try:
            documents[name] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            documents[name] = None
        except ValueError as error:
            raise Stop(f"{path} is damaged ({error}); measure its group again") from error
    return documents


def build():
    """Both programs, in release mode."""
    say("building deeplpf")
    packages = ["-p", "deeplpf-benches", "-p", "deeplpf-cli"]
    checked(["cargo", "build", "--release", "--quiet", *packages], "the build")


def prepare(args, work):
    """Weights and the check of the peers; returns the weights' file."""
    measure = ROOT / "target" / "release" / "measure"
    weights = args.weights
    if weights is None:
        weights = work / "random.safetensors"
        checked([measure, "weights", weights], "writing random weights")
    elif not weights.is_file():
        raise Stop(f"{weights}: there is no such file")
    weights = weights.resolve()
    say("checking that the peers compute the same")
    size = "x".join(map(str, plan.SMALL))
    results = work / "results.safetensors"
    checked([measure, "results", results, "--weights", weights, "--size", size],
            "computing deeplpf's results")
    command = [args.python, PEERS / "check.py", "--results", results, "--weights", weights]
    command += ["--size", size, "--graphs", work]
    if args.golden:
        command += ["--golden", args.golden.resolve()]
    else:
        say("without --golden the twin is checked against deeplpf only")
    print(checked(command, "the check of the peers"), end="")
    return weights


def measure_group(name, args, runner, folder):
    """Runs a group and keeps its file up to date after every process."""
    steps = plan.measurements(name, args.rounds, args.largest_pixels)
    document = {
        "group": name,
        "environment": environment.describe(args.python),
        "weights": "given" if args.weights else "random",
        "budget_s": args.budget,
        "quick": args.quick,
        "complete": False,
        "measurements": [],
    }
    for index, step in enumerate(steps):
        record = runner.run(step)
        document["measurements"].append(record)
        document["environment"]["load_at_end"] = environment.load()
        document["complete"] = index + 1 == len(steps)
        write_whole(folder / f"{name}.json", compact(document))
        found = record.get("median_s")
        result = f"{found:.4g} s" if found else record.get("skipped") or record.get("failed")
        say(f"{name} {index + 1}/{len(steps)}, round {step.round + 1}: {step}: {result}")


def compact(document):
    """JSON with one measurement per line."""
    rows = [json.dumps(row, sort_keys=True) for row in document["measurements"]]
    head = {key: value for key, value in document.items() if key != "measurements"}
    text = json.dumps(head, indent=1, sort_keys=True)
    return text[:-2] + ',\n "measurements": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n"


def render(args, folder):
    documents = read_documents(folder)
    if not any(documents.values()):
        raise Stop(f"{folder} holds no measurements; measure first")
    if documents["growth"]:
        measure = ROOT / "target" / "release" / "measure"
        if not measure.exists():
            build()
        records = [folder / f"{name}.json" for name in ("growth", "inference") if documents[name]]
        checked([measure, "plot", *records, "--folder", folder], "drawing the plots")
        # The book shows pictures of its own source folder only.
        if (args.output / "src").is_dir():
            pictures = args.output / "src" / "benchmarks"
            pictures.mkdir(exist_ok=True)
            for plot in PLOTS:
                shutil.copyfile(folder / f"{plot}.svg", pictures / f"{plot}.svg")
    template = (PEERS / "page.md").read_text(encoding="utf-8")
    write_whole(args.output / "benchmarks.md", page.render(template, documents))
    say(f"wrote {args.output / 'benchmarks.md'}")


def say(text):
    print(text, file=sys.stderr, flush=True)


def main():
    args = arguments()
    folder = args.output / "benchmarks"
    try:
        if not args.render_only:
            build()
            work = ROOT / "target" / "peers"
            work.mkdir(parents=True, exist_ok=True)
            runner = Runner(args.python, prepare(args, work), work, args.budget)
            for name in args.groups:
                measure_group(name, args, runner, folder)
        render(args, folder)
    except Stop as stop:
        raise SystemExit(f"error: {stop}") from None
    except KeyboardInterrupt:
        raise SystemExit("\ninterrupted; what was measured is kept: see --render-only") from None


if __name__ == "__main__":
    main()

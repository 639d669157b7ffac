"""Compare every network with its original implementation: `python -m bench.parity`, from the repository's root.

Prints a Markdown table; the exit code is 1 if an error is above its tolerance.
"""

import sys

from tests.nets.reference import CASES, compute, load, relative_errors


def main() -> int:
    """Print the table row by row; return the exit code."""
    failed = False
    print("| net | output | relative error | tolerance |")
    print("| --- | --- | --- | --- |")
    for name, case in CASES.items():
        for output, error in relative_errors(name, compute(name, load(name))).items():
            failed |= not error <= case.tolerance  # NaN fails too
            print(f"| {name} | {output} | {error:.1e} | {case.tolerance:.0e} |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
